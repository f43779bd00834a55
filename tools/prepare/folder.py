"""Your own images and label maps: checked pair by pair, then listed and split by patient."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from tqdm import tqdm

from common.data.datalist import Case, split_by_patient
from common.data.label_maps import read_label_map
from common.data.volumes import Volume, read_volume
from common.errors import InputError
from common.text.prompts import MAX_LABEL

from ._layout import write_datalist

PLAUSIBLE_MM = (0.05, 20.0)  # voxel sizes: a micro-CT has less, no clinical series more
SOFT_TISSUE_HU = (-200.0, 300.0)  # CT of a body has voxels on both sides


@dataclass(frozen=True)
class Options:
    """What `prepare` is told.

    Attributes:
        images, labels: patterns below the source with one "*" each; what it stands for is the case's name.
        names: {label number: its names}; several where one structure lies in another, such as a tumour.
        ignore: label numbers that become background.
        patient: regular expression whose first group, in a case's name, is the patient; None: the case.
        validation, test: shares of the patients.
        seed: of the split.
    """

    names: Mapping[int, Sequence[str]]
    images: str = "images/*.nii.gz"
    labels: str = "labels/*.nii.gz"
    ignore: frozenset[int] = frozenset()
    patient: str | None = None
    validation: Fraction = Fraction(15, 100)
    test: Fraction = Fraction(15, 100)
    seed: int = 0


def prepare(source: Path, out: Path, options: Options) -> list[str]:
    """Check all pairs below `source` and write `out`/datalist.json with those that are sound.

    Returns:
        What is wrong with the others, a sentence each.

    Raises:
        InputError: no pair, unusable options, or no sound pair.
    """
    pairs = find_pairs(source, options)
    for number, names in options.names.items():
        if len(names) > 1:
            print(f"note: voxels of label {number} belong to all of {', '.join(names)}")
    sound, faults = [], []
    for case in tqdm(pairs, desc="checking", unit="case"):
        try:
            notes = check(case, options)
        except InputError as error:
            faults.append(str(error))
            continue
        sound.append(case)
        for note in notes:
            tqdm.write(f"note: {case.case}: {note}")
    if not sound:
        raise InputError(f"{source}: none of the {len(pairs)} pairs can be used; the first one: {faults[0]}")
    shares = {
        "training": 1 - options.validation - options.test,
        "validation": options.validation,
        "test": options.test,
    }
    sections = split_by_patient(sound, shares, options.seed)
    empty = [name for name, cases in sections.items() if not cases and shares[name] > 0]
    if empty:
        patients = len({case.patient for case in sound})
        raise InputError(
            f"{source}: {patients} patients are too few for a share in {', '.join(empty)}; add patients or "
            f"change --validation and --test."
        )
    write_datalist(out, {"name": source.resolve().name}, options.names, sections)
    return faults


def find_pairs(source: Path, options: Options) -> list[Case]:
    """Cases whose image and label map both are there.

    Raises:
        InputError: a pattern without one "*", no pair, or images and label maps without a partner.
    """
    images, labels = (
        _matches(source, options.images, "--images"),
        _matches(source, options.labels, "--labels"),
    )
    alone = sorted(images.keys() ^ labels.keys())
    if not images or alone:
        found = f"{len(images)} images ({options.images}) and {len(labels)} label maps ({options.labels})"
        without = f"; without a partner: {', '.join(alone[:10])}" if alone else ""
        more = f" and {len(alone) - 10} more" if len(alone) > 10 else ""
        raise InputError(
            f"{source}: found {found}{without}{more}; expected one label map for each image: give patterns "
            f"in which the * stands for the same text, such as --images 'images/*_0000.nii.gz' --labels "
            "'labels/*.nii.gz'."
        )
    names = _targets(options)
    return [
        Case(_identifier(key), images[key], labels[key], _patient(key, options.patient), names)
        for key in sorted(images)
    ]


def _targets(options: Options) -> tuple[str, ...]:
    """All names, each once."""
    return tuple(dict.fromkeys(name for names in options.names.values() for name in names))


def check(case: Case, options: Options) -> list[str]:
    """Read a case and return what is odd about it.

    Raises:
        InputError: unreadable files, image and labels on different grids, no finite voxel, label numbers
            without a name, or voxel sizes that cannot be.
    """
    assert case.label is not None
    image = read_volume(case.image)
    labels = read_label_map(case.label, like=image)
    _check_spacing(case, image)
    present = set(np.unique(labels.slices).tolist()) - {0}
    if unnamed := sorted(present - options.names.keys() - options.ignore):
        raise InputError(
            f"{case.label}: has the label numbers {', '.join(map(str, unnamed))} without a name; add "
            f"--name {unnamed[0]}=NAME, or --ignore {unnamed[0]}."
        )
    there = {name for number in present & options.names.keys() for name in options.names[number]}
    notes = [f"no voxel of {name}" for name in _targets(options) if name not in there]
    low, high = float(image.slices.min()), float(image.slices.max())
    if low > SOFT_TISSUE_HU[0] or high < SOFT_TISSUE_HU[1]:
        notes.append(
            f"grey values from {low:g} to {high:g} do not look like Hounsfield units, which training expects"
        )
    return notes


def _check_spacing(case: Case, image: Volume) -> None:
    lowest, highest = PLAUSIBLE_MM
    if not all(lowest <= size <= highest for size in image.spacing_mm):
        sizes = " x ".join(f"{size:g}" for size in image.spacing_mm)
        raise InputError(
            f"{case.image}: voxels of {sizes} mm (slices, rows, columns), expected {lowest:g} to "
            f"{highest:g} mm each; correct the header's spacing or unit."
        )


def _matches(source: Path, pattern: str, flag: str) -> dict[str, Path]:
    """{what the "*" stands for: file}."""
    if pattern.count("*") != 1 or pattern.startswith("/") or ".." in pattern:
        raise InputError(
            f"{flag}: found '{pattern}', expected a pattern below --source with one *, such as "
            f"images/*.nii.gz."
        )
    before, after = (re.escape(part) for part in pattern.split("*"))
    files = (path for path in source.glob(pattern) if path.is_file())
    found = (
        (re.fullmatch(f"{before}(.+){after}", path.relative_to(source).as_posix()), path) for path in files
    )
    return {match[1]: path for match, path in found if match is not None}


def _patient(key: str, pattern: str | None) -> str:
    if pattern is None:
        return _identifier(key)
    match = re.search(pattern, key)
    if match is None or not match.groups() or not match[1]:
        raise InputError(
            f"--patient: '{pattern}' has no group that matches in the case '{key}'; give one such as "
            f"'^([^_]+)_'."
        )
    return _identifier(match[1])


def _identifier(key: str) -> str:
    return key.replace("/", "_")


def parse_names(entries: Sequence[str]) -> dict[int, list[str]]:
    """["1=liver", "2=liver", "2=liver tumour"] -> {1: ["liver"], 2: ["liver", "liver tumour"]}.

    Raises:
        InputError: another form, an entry twice, or a number out of 1 to 255.
    """
    names: dict[int, list[str]] = {}
    for entry in entries:
        number, _, name = entry.partition("=")
        sound = number.isdecimal() and 1 <= int(number) <= MAX_LABEL and name.strip()
        if not sound or name.strip() in names.get(int(number), []):
            raise InputError(
                f"--name: found '{entry}', expected NUMBER=NAME, a number from 1 to {MAX_LABEL}, and each "
                "entry once."
            )
        names.setdefault(int(number), []).append(name.strip())
    return names

"""What is wrong or odd about a user's cases, one by one and together."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from common.data.datalist import Case
from common.data.framing import contradiction
from common.data.labelled import LabelledImage
from common.data.slices import ABDOMEN_WINDOW_HU
from common.data.volumes import Volume
from common.errors import InputError
from common.text.vocabulary import Vocabulary

PLAUSIBLE_MM = (0.05, 20.0)  # voxel sizes: a micro-CT has less, no clinical series more
SCAN = re.compile(r"(.*\d.*?)[_\-. ]+[^_\-. ]*\d+")  # "pat0" of "pat0_scan1"


@dataclass(frozen=True)
class Checked:
    """A sound case.

    Attributes:
        case: for the datalist.
        content: hash of the image's voxels.
        notes: what is odd about it.
        empty: no voxel of its label map has a name.
    """

    case: Case
    content: str
    notes: Sequence[str]
    empty: bool


def check_spacing(image: Volume) -> None:
    """Refuse voxel sizes that cannot be."""
    lowest, highest = PLAUSIBLE_MM
    if image.in_mm and not all(lowest <= size <= highest for size in image.spacing_mm):
        sizes = " x ".join(f"{size:g}" for size in image.spacing_mm)
        raise InputError(
            f"{image.grid.path}: voxels of {sizes} mm (slices, rows, columns), expected {lowest:g} to "
            f"{highest:g} mm each; correct the header's spacing or unit."
        )


def check(
    case: Case, image: Volume, labels: np.ndarray, names: Mapping[int, Sequence[str]], ignore: frozenset[int]
) -> Checked:
    """Check a case that was read.

    Args:
        case: whose targets are all names that are annotated.
        labels: (D, H, W) label map.
        names: {label number: its names}; empty for sentences.

    Raises:
        InputError: label numbers without a name, or a lesion that is not there.
    """
    notes: list[str] = []
    present = set(np.unique(labels).tolist()) - {0}
    if case.prompts:
        LabelledImage(image, labels).meant(case)
        if case.lesions == ():
            notes.append("its mask is empty, so its sentences mean nothing in it")
    elif unnamed := sorted(present - names.keys() - ignore):
        raise InputError(
            f"{case.label}: has the label numbers {', '.join(map(str, unnamed))} without a name; add "
            f"--name {unnamed[0]}=NAME, or --ignore {unnamed[0]}."
        )
    there = {name for number in present & names.keys() for name in names[number]}
    notes += [f"no voxel of {name}" for name in case.targets if name not in there]
    low, high = float(image.slices.min()), float(image.slices.max())
    if image.in_mm and contradiction(low, high, ABDOMEN_WINDOW_HU):
        notes.append(
            f"grey values from {low:g} to {high:g} do not look like Hounsfield units, which training expects"
        )
    content = hashlib.sha256(np.ascontiguousarray(image.slices).tobytes()).hexdigest()
    return Checked(case, content, notes, empty=not (present if case.prompts else there))


def check_names(names: Iterable[str]) -> None:
    """Refuse two spellings of one organ: they would be two targets.

    Raises:
        InputError: names such as "liver" and "Liver", or "esophagus" and "oesophagus".
    """
    vocabulary = Vocabulary.load()
    for one, other in combinations(dict.fromkeys(names), 2):
        if _plain(one) == _plain(other) or vocabulary.same(one, other):
            raise InputError(
                f"--name: found '{one}' and '{other}', which mean the same, expected one spelling; write "
                f"'{one}' for both, or rename the files."
            )


def warnings_of(sections: Mapping[str, Sequence[Case]], checked: Sequence[Checked]) -> Iterator[str]:
    """What may put one patient into two sections: copies of an image, and names that are alike."""
    place = {(case.case, case.image): section for section, cases in sections.items() for case in cases}
    copies: dict[str, dict[str, Case]] = {}
    for one in checked:
        copies.setdefault(one.content, {}).setdefault(one.case.patient, one.case)
    for same in copies.values():
        where = sorted({place[case.case, case.image] for case in same.values()})
        if len(same) > 1:
            files = " and ".join(str(case.image) for case in list(same.values())[:3])
            yield (
                f"{files} hold the same image, but count as {len(same)} patients (now in "
                f"{', '.join(where)}); remove the copies, or say with --patient that they belong to one "
                "patient."
            )
    yield from _alike(sections)


def _alike(sections: Mapping[str, Sequence[Case]]) -> Iterator[str]:
    """Patients such as "pat0_scan0" and "pat0_scan1", where many names begin so."""
    begin: dict[str, dict[str, str]] = {}
    for section, cases in sections.items():
        for case in cases:
            if match := SCAN.fullmatch(case.patient):
                begin.setdefault(match[1], {})[case.patient] = section
    patients = {case.patient for cases in sections.values() for case in cases}
    apart = {name: of for name, of in begin.items() if len(set(of.values())) > 1}
    if apart and all(2 * len(of) <= len(patients) for of in begin.values()):
        name, of = next(iter(apart.items()))
        one, other = next(pair for pair in combinations(of, 2) if of[pair[0]] != of[pair[1]])
        yield (
            f"'{one}' ({of[one]}) and '{other}' ({of[other]}) may be scans of one patient, '{name}', and "
            f"{len(apart)} names are in several sections like that; say which patient each belongs to, such "
            "as with --patient "
            r"'^(.*\d.*?)[_\-. ]'."
        )


def _plain(name: str) -> str:
    return " ".join(name.casefold().split())

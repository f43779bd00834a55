"""Which cases there are and how they are split: MONAI's decathlon JSON, read with checks.

    {"labels": {"1": "liver", "2": ["liver", "liver tumour"], "3": "spleen"},
     "training": [{"image": "images/a.nii.gz", "label": "labels/a.nii.gz", "patient": "a",
                   "targets": ["liver"], "absent": ["prostate"]},
                  {"image": "images/b.png", "label": "labels/b.png", "lesion": 2, "case": "b-2",
                   "prompts": ["the largest lesion", "a round lesion in the left lung"], "patient": "b"},
                  {"image": "images/c.nii.gz", "label": "labels/c.nii.gz", "slice": 41, "lesion": [1, 3],
                   "prompts": ["all cysts", "the round lesions"], "orientation_free": true, "patient": "c"},
                  {"image": "images/c.nii.gz", "slice": 41, "lesion": [], "prompts": ["a square lesion"],
                   "patient": "c"},
                  {"image": "images/d.jpg", "label": "labels/d.png", "dataset": "kvasir",
                   "attributes": {"shape": "round"},
                   "levels": {"p0": [""], "p1": ["polyp"], "p2": ["round polyp"]}}],
     "validation": [...], "test": [...]}

Paths are absolute or relative to the JSON file. Every field but `image` is optional, and an item may be the
image path alone.
    label: a label map in the image's grid: integers of a NIfTI, NRRD or MetaImage file, or grey values of a
        PNG.
    case: the item's id; default: the image's file name, and behind it the slice and the lesions, where the
        item has them. Two items about the same lesions need a `case` each.
    patient: whom the image shows; default: the case without slice and lesions. No patient is in two sections.

Organs are items of one kind: `labels` names the numbers of their label maps (see `labels`), 0 is background
and need not be named.
    targets: organs annotated in this case; default: all labels but those that are absent.
    absent: structures that are certainly not in the image, such as the prostate in a scan of the head: their
        words then mean an empty mask. None of them, under any name, may be in `targets` too.

Sentences about a 2D image, or about a slice of a volume, are items of the other kind, one for each lesion, or
several lesions, that sentences mean; where all items are of this kind, `labels` may be left out.
    prompts: the sentences, at least one, which all mean the same.
    lesion: its value in the label map, or a list of several; without it, all that is not 0. The empty list:
        the sentences mean nothing in this image, their mask is empty and no label map is needed.
    slice: which axial slice of a NIfTI file, 0 the most inferior one, as in `Volume.slices`. An item of
        organs may have it too: training and evaluation then use that slice alone.
    orientation_free: true where no sentence speaks of a place or a side, so that training may turn the
        image. `rotatable`, its former name, is read too.
    levels: sentences of several levels that mean the same, {"p0": [""], "p1": ["polyp"], ...}, from "p0",
        which has no words, to "p9" (see `common.text.levels`). Training and evaluation ask by those of one
        level, where they are told which, and else by `prompts`. Here alone a text may be empty.
    attributes: what is known of the lesion, by name, such as {"shape": "round"}; words are made of it.
Any item may say of which data set it is:
    dataset: its name; reports of evaluations have means for each.
Other fields are ignored, but one that is spelt nearly like a field above is refused.
"""

import hashlib
import json
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..user_text import read_user_text
from .faults import Faults
from .item_levels import at_level
from .items import Case as Case  # what this module gives
from .items import parse_item
from .labels import label_values

SECTIONS = ("training", "validation", "test")

_log = logging.getLogger(__name__)


def load_datalist(path: str | os.PathLike[str], section: str) -> list[Case]:
    """Items of one section ("training", "validation" or "test") of the datalist at `path`.

    Raises:
        InputError: the file is missing or malformed, it has no such section, a file that an item names does
            not exist, two items of the section share an id, or a patient is in two sections.
    """
    path = Path(path)
    content = load_json(path)
    sections = parse_sections(path, content)
    if section not in sections:
        found = ", ".join(name for name, value in content.items() if isinstance(value, list)) or "none"
        raise InputError(
            f'{path}: the section "{section}" is missing (lists found: {found}); '
            f"use one of {', '.join(SECTIONS)}, or add it."
        )
    check_patients(sections, path)
    faults = Faults(f"{section} cases of {path}")
    for case in sections[section]:
        with faults.collected():
            _check_files(path, section, case)
    faults.check()
    return sections[section]


def load_referring(
    path: str | os.PathLike[str], section: str, *, level: str | Sequence[str] | None = None
) -> list[Case]:
    """As `load_datalist`, for a training that learns from sentences.

    Args:
        level: whose texts the cases' prompts are: "p0" to "p9", or for training "random" (see `at_level`).
            Of several levels, to evaluate them in one go, each gives a case of every item. None: the prompts
            that items have as such.

    Raises:
        InputError: as there, or an item has no sentence, or none of the level, or no label map though its
            sentences mean something.
    """
    cases = load_datalist(path, section)
    for index, case in enumerate(cases):
        place = f"{path}: {section}[{index}]"
        if level is None and not case.prompts:
            raise InputError(
                f'{place} has no "prompts", expected sentences in every item, as this training learns from '
                f"sentences; add one, {_hint(case)}or leave the item out."
            )
        if case.label is None and case.lesions != ():
            raise InputError(
                f'{place} has no label map, expected "label": "PATH" ("lesion": [] needs none); add it.'
            )
    if level is not None:
        levels = [level] if isinstance(level, str) or not isinstance(level, Sequence) else level
        cases = [at_level(case, one, where=f"{path}: {section}") for one in levels for case in cases]
    _warn_of_shared_sentences(path, section, cases)
    return cases


def _hint(case: Case) -> str:
    """What else to do where an item without prompts has levels."""
    return f"ask for a level that all have ({', '.join(case.levels)} here), " if case.levels else ""


def _warn_of_shared_sentences(path: str | os.PathLike[str], section: str, cases: Sequence[Case]) -> None:
    """Say which sentences mean different lesions of one image: no network can tell these apart."""
    meant: dict[tuple[object, ...], list[Case]] = {}
    for case in cases:
        for prompt in case.prompts:
            said = " ".join(prompt.casefold().split()).rstrip(".")
            meant.setdefault((case.image, case.slice_index, said), []).append(case)
    shared = [items for items in meant.values() if len({case.lesions for case in items}) > 1]
    if shared:
        first, other = shared[0][0], next(c for c in shared[0] if c.lesions != shared[0][0].lesions)
        _log.warning(
            '%s: %d sentences of "%s" mean different lesions of one image, as in the cases "%s" and "%s"; '
            'make them differ, or give the lesions one item with "lesion": [1, 2].',
            path,
            len(shared),
            section,
            first.case,
            other.case,
        )


def load_label_values(
    path: str | os.PathLike[str], *, organs: Sequence[str] | None = None
) -> dict[str, tuple[int, ...]]:
    """Names and label values of the datalist at `path`, such as {"liver": (1, 2), "liver tumour": (2,)}.

    A voxel belongs to a name if it has one of its values. Background is left out; names stand in the order
    in which the file has them first.

    Args:
        path: of the datalist.
        organs: keep only these names; None keeps all.

    Raises:
        InputError: the file is missing, its "labels" are malformed, or they have no such organ.
    """
    values = label_values(Path(path), load_json(Path(path)).get("labels"))
    for organ in organs or ():
        if organ not in values:
            raise InputError(
                f"organs: '{organ}' is not among the labels of {path} ({', '.join(values)}); use these names."
            )
    return {name: numbers for name, numbers in values.items() if organs is None or name in organs}


def parse_sections(path: Path, content: Mapping[str, Any]) -> dict[str, list[Case]]:
    """The items of every section that a datalist's content has; files are not looked at.

    Raises:
        InputError: an item or "labels" is malformed, or two items of a section share an id.
    """
    listed = {name: content[name] for name in SECTIONS if name in content}
    for name, items in listed.items():
        if not isinstance(items, list):
            raise InputError(f'{path}: "{name}" is a JSON {type(items).__name__}, expected a list of items.')
    every = [item for items in listed.values() for item in items]
    of_sentences = all(isinstance(item, dict) and ("prompts" in item or "levels" in item) for item in every)
    unnamed = of_sentences and "labels" not in content
    names = () if unnamed else tuple(label_values(path, content.get("labels")))
    return {name: _parse(path, name, items, names) for name, items in listed.items()}


def _parse(path: Path, section: str, items: Sequence[Any], names: Sequence[str]) -> list[Case]:
    cases: dict[str, Case] = {}
    for index, item in enumerate(items):
        case = parse_item(path, f"{section}[{index}]", item, names=names)
        if case.case in cases:
            raise InputError(
                f'{path}: {section}[{index}] has the case id "{case.case}" of an earlier item '
                f"({cases[case.case].image}), expected a different one for each item; give both items their "
                'own "case".'
            )
        cases[case.case] = case
    return list(cases.values())


def load_json(path: Path) -> dict[str, Any]:
    """The content of a datalist; InputError when it is missing or no JSON object."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; give a datalist (JSON).")
    try:
        content = json.loads(read_user_text(path, what="datalist (JSON)"))
    except InputError:  # which is a ValueError too
        raise
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{path}: not JSON ({error}); give a datalist in MONAI's decathlon layout."
        ) from error
    if not isinstance(content, dict):
        raise InputError(
            f'{path}: holds a JSON {type(content).__name__}, expected an object with "labels" and '
            '"training"; give a datalist in MONAI\'s decathlon layout.'
        )
    return content


def check_patients(sections: Mapping[str, Sequence[Case]], source: str | os.PathLike[str]) -> None:
    """Check that no patient and no file is in two sections; the message names `source`.

    Raises:
        InputError: a patient, an image or a label map is in two sections.
    """
    seen: dict[str, str] = {}
    for section, cases in sections.items():
        for case in cases:
            files = [f'file "{path}"' for path in (case.image, case.label) if path is not None]
            for what in (f'patient "{case.patient}"', *files):
                if seen.setdefault(what, section) != section:
                    raise InputError(
                        f'{source}: {what} is in both "{seen[what]}" and "{section}", '
                        "expected in one split only; move all images of the patient to one of them."
                    )


def split_by_patient(
    cases: Iterable[Case], fractions: Mapping[str, float | Fraction], seed: int
) -> dict[str, list[Case]]:
    """Split cases so that each patient is in one split.

    Patients are ordered by SHA-256 of "seed:patient", so the split depends on neither the order of `cases`
    nor the version of a random number generator.

    Args:
        cases: the cases, in any order.
        fractions: share of the patients for each split, sum 1; patients are counted by largest remainder.
        seed: another seed gives another split.

    Returns:
        For each split its cases, sorted by id.

    Raises:
        InputError: a fraction is negative, or they do not sum to 1.
    """
    if any(share < 0 for share in fractions.values()) or abs(float(sum(fractions.values())) - 1) > 1e-6:
        raise InputError(f"fractions: found {dict(fractions)}, expected shares of 0 or more that sum to 1.")
    cases = sorted(cases, key=lambda case: case.case)
    patients = sorted(
        {case.patient for case in cases}, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest()
    )
    split_of = {}
    for name, count in _counts(len(patients), fractions).items():
        split_of.update(dict.fromkeys(patients[:count], name))
        patients = patients[count:]
    return {name: [case for case in cases if split_of[case.patient] == name] for name in fractions}


def _counts(total: int, fractions: Mapping[str, float | Fraction]) -> dict[str, int]:
    # Rounded first: 0.1875 * 64 written as a float sum must not fall just below 12.
    exact = {name: round(float(share * total), 6) for name, share in fractions.items()}
    counts = {name: int(value) for name, value in exact.items()}
    by_remainder = sorted(exact, key=lambda name: counts[name] - exact[name])
    for name in by_remainder[: total - sum(counts.values())]:
        counts[name] += 1
    return counts


def _check_files(path: Path, section: str, case: Case) -> None:
    for kind, file in (("image", case.image), ("label", case.label)):
        if file is not None and not os.path.exists(file):  # whatever its name: too long, with NUL
            raise InputError(
                f'{path}: {section} case "{case.case}" names the {kind} {file}, which does not exist; '
                "correct the path (absolute, or relative to the datalist) or remove the item."
            )

"""Which cases there are and how they are split: MONAI's decathlon JSON, read with checks.

    {"labels": {"1": "liver", "2": "spleen"},
     "training": [{"image": "images/a.nii.gz", "label": "labels/a.nii.gz", "patient": "a",
                   "targets": ["liver"], "absent": ["prostate"]}],
     "validation": [...], "test": [...]}

Paths are absolute or relative to the JSON file. `case` (default: the image's file name), `patient`
(default: the case), `targets` (organs annotated in this case; default: all labels) and `label` are
optional, and an item may be the image path alone. `absent` lists structures that are surely not in the
image, such as the prostate in a scan of the head: their words then mean an empty mask. Label 0 is background
and need not be named.
"""

import difflib
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

from ..errors import InputError

SECTIONS = ("training", "validation", "test")
FIELDS = ("image", "label", "patient", "case", "targets", "absent")  # of items
LIKE = 0.8  # how alike a slip and the right name are: "lession", "prompt", "patient_id" (difflib)


@dataclass(frozen=True)
class Case:
    """One image of the datalist.

    Attributes:
        case: id, unique within its section; outputs are named after it.
        image: path of the image.
        label: path of the label map, or None.
        patient: whom the image shows. Where the datalist does not say, the case id stands for the patient.
        targets: names of the organs annotated here; one that is not listed may be in the image, unmarked.
            Empty without a label map.
        absent: names of structures that are surely not in the image.
    """

    case: str
    image: Path
    label: Path | None
    patient: str
    targets: tuple[str, ...]
    absent: tuple[str, ...] = field(default=(), kw_only=True)


def load_datalist(path: str | os.PathLike[str], section: str) -> list[Case]:
    """Cases of one section ("training", "validation" or "test") of the datalist at `path`.

    Raises:
        InputError: the file is missing or malformed, it has no such section, a file that an item names does
            not exist, two cases of the section share an id, or a patient is in two sections.
    """
    path = Path(path)
    content = load_json(path)
    names = tuple(label_names(path, content).values())
    return read_section(
        path, content, section, lambda place, item: parse_item(path, place, item, names=names)
    )


AnyCase = TypeVar("AnyCase", bound=Case)


def read_section(
    path: Path, content: Mapping[str, Any], section: str, parse: Callable[[str, Any], AnyCase]
) -> list[AnyCase]:
    """Cases of one section of a datalist's content, whatever kind of item it has.

    Args:
        path: of the datalist, for messages.
        content: of the datalist.
        section: "training", "validation" or "test".
        parse: makes a case of an item's place, such as "training[0]", and the item.

    Raises:
        InputError: see `load_datalist`, or from `parse`.
    """
    sections = {name: _parse(path, content, name, parse) for name in SECTIONS if name in content}
    if section not in sections:
        found = ", ".join(name for name, value in content.items() if isinstance(value, list)) or "none"
        raise InputError(
            f'{path}: the section "{section}" is missing (lists found: {found}); '
            f"use one of {', '.join(SECTIONS)}, or add it."
        )
    check_patients(sections, path)
    for case in sections[section]:
        _check_files(path, section, case)
    return sections[section]


def load_label_names(path: str | os.PathLike[str], *, organs: Sequence[str] | None = None) -> dict[int, str]:
    """Label values and names of the datalist at `path`, such as {1: "liver"}, without background.

    Args:
        path: of the datalist.
        organs: keep only these names; None keeps all.

    Raises:
        InputError: the file is missing, its "labels" are malformed, or they have no such organ.
    """
    names = label_names(Path(path), load_json(Path(path)))
    for organ in organs or ():
        if organ not in names.values():
            raise InputError(
                f"organs: '{organ}' is not among the labels of {path} ({', '.join(names.values())}); "
                "use these names."
            )
    return {number: name for number, name in names.items() if organs is None or name in organs}


def check_patients(sections: Mapping[str, Sequence[Case]], source: str | os.PathLike[str]) -> None:
    """Check that nobody and no file is in two sections; `source` is named in the message.

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
        raise InputError(f"fractions: {dict(fractions)} was given, expected shares from 0 up that sum to 1.")
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


def load_json(path: Path) -> dict[str, Any]:
    """The content of a datalist; InputError when it is missing or no JSON object."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; give a datalist (JSON).")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
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


def label_names(path: Path, content: dict[str, Any]) -> dict[int, str]:
    labels = content.get("labels")
    expected = 'expected {"1": "liver", ...}: whole numbers from 1 to 255, each with its own name'
    if not isinstance(labels, dict) or not labels:
        raise InputError(f'{path}: "labels" is {json.dumps(labels)}, {expected}; correct it.')
    names: dict[int, str] = {}
    for key, name in labels.items():
        value = int(key) if key.isdecimal() and str(int(key)) == key else -1
        if not 0 <= value <= 255 or not isinstance(name, str) or not name.strip() or name in names.values():
            raise InputError(
                f'{path}: "labels" has the entry {json.dumps({key: name})}, {expected}; correct it.'
            )
        if value > 0:
            names[value] = name
    return names


def _parse(
    path: Path, content: Mapping[str, Any], section: str, parse: Callable[[str, Any], AnyCase]
) -> list[AnyCase]:
    items = content[section]
    if not isinstance(items, list):
        raise InputError(
            f'{path}: "{section}" is a JSON {type(items).__name__}, expected a list of items; correct it.'
        )
    cases: dict[str, AnyCase] = {}
    for index, item in enumerate(items):
        case = parse(f"{section}[{index}]", item)
        if case.case in cases:
            raise InputError(
                f'{path}: {section}[{index}] has the case id "{case.case}" of an earlier item '
                f'({cases[case.case].image}), expected each once; give both items their own "case".'
            )
        cases[case.case] = case
    return list(cases.values())


def parse_item(
    path: Path, place: str, item: Any, *, names: Sequence[str] = (), fields: Sequence[str] = FIELDS
) -> Case:
    """Make a case of an item of the datalist at `path`.

    Args:
        path, place: for messages.
        item: of the datalist.
        names: of its labels.
        fields: that items of this kind may have. Others are left to whom they are for, unless their names
            look like slips.

    Raises:
        InputError: a field is missing, misspelt or malformed; the message says `place`.
    """
    if isinstance(item, str):
        item = {"image": item}
    if isinstance(item, dict):
        _check_slips(path, place, item, fields)
    image = item.get("image") if isinstance(item, dict) else None
    if not isinstance(image, str) or not image:
        raise InputError(f'{path}: {place} has no image, expected "image": "PATH"; add it.')
    label = item.get("label")
    if label is not None and not isinstance(label, str):
        raise InputError(
            f'{path}: {place} has the label {json.dumps(label)}, expected "label": "PATH"; correct it.'
        )
    case = _identifier(path, place, "case", item.get("case", _stem(image)))
    return Case(
        case=case,
        image=path.parent / image,
        label=None if label is None else path.parent / label,
        patient=_identifier(path, place, "patient", item.get("patient", case)),
        targets=() if label is None else _targets(path, place, item.get("targets", list(names)), names),
        absent=_absent(path, place, item.get("absent", [])),
    )


def _check_slips(path: Path, place: str, item: Mapping[str, Any], fields: Sequence[str]) -> None:
    """A misspelt "lesion" would mean all lesions, and a misspelt "patient" a patient of its own."""
    absent = [name for name in fields if name not in item]
    for found in (name for name in item if name not in fields):
        if near := difflib.get_close_matches(found.lower(), absent, n=1, cutoff=LIKE):
            raise InputError(
                f'{path}: {place} has the field "{found}" and no "{near[0]}", expected one of '
                f"{', '.join(fields)}; did you mean {near[0]}? Correct it, or name it otherwise."
            )


def _targets(path: Path, place: str, targets: Any, names: Sequence[str]) -> tuple[str, ...]:
    unknown = [name for name in targets if name not in names] if isinstance(targets, list) else [targets]
    if unknown:
        raise InputError(
            f'{path}: {place} has {json.dumps(unknown[0])} in "targets", expected a list of names from '
            f'"labels" ({", ".join(names)}); correct it.'
        )
    return tuple(targets)


def _absent(path: Path, place: str, absent: Any) -> tuple[str, ...]:
    if not isinstance(absent, list) or not all(isinstance(name, str) and name.strip() for name in absent):
        raise InputError(
            f'{path}: {place} has {json.dumps(absent)} as "absent", expected a list of names; correct it.'
        )
    return tuple(absent)


def _identifier(path: Path, place: str, field: str, value: Any) -> str:
    # An id names files later on: a separator in it would lead out of the output folder.
    if isinstance(value, bool) or not isinstance(value, str | int) or not str(value) or "/" in str(value):
        raise InputError(
            f'{path}: {place} has {json.dumps(value)} as "{field}", expected a name without "/"; correct it.'
        )
    return str(value)


def _stem(image: str) -> str:
    name = Path(image).name
    for ending in (".gz", ".nii", ".png", ".jpg", ".jpeg"):
        name = name.removesuffix(ending)
    return name


def _check_files(path: Path, section: str, case: Case) -> None:
    for kind, file in (("image", case.image), ("label", case.label)):
        if file is not None and not file.exists():
            raise InputError(
                f'{path}: {section} case "{case.case}" names the {kind} {file}, which does not exist; '
                "correct the path (absolute, or relative to the datalist) or remove the item."
            )

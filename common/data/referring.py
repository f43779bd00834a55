"""Which lesion of which picture a sentence refers to: a datalist whose items have sentences.

    {"training": [{"image": "images/a.png", "label": "labels/a.png", "lesion": 2, "case": "a-2",
                   "prompts": ["the largest lesion", "a round lesion in the left lung"], "patient": "p1"},
                  {"image": "images/b.nii.gz", "label": "labels/b.nii.gz", "slice": 41, "lesion": [1, 3],
                   "prompts": ["all cysts", "the round lesions"], "rotatable": true, "patient": "p2"}],
     "validation": [...], "test": [...]}

The layout is that of `datalist`, an item for each lesion, or several, that sentences of a picture mean.
`label` is a label map: grey values of a PNG, or integers of a NIfTI file.
    prompts: sentences, at least one, which all mean the same.
    lesion: its value in the label map, or a list of several; without it, all that is not 0.
    slice: which axial slice of a NIfTI file, 0 the most inferior one, as in `Volume.slices`.
    rotatable: true where no sentence speaks of a place or a side, so that training may turn the picture.
`case` is optional as ever: the image's file name, and behind it the slice and the lesions. Two items about
the same lesions, a rotatable and another one, need a `case` each.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..text.prompts import check_prompt
from ..text.vocabulary import mentions_side
from .datalist import FIELDS as FIELDS_OF_CASES
from .datalist import Case, label_names, load_json, parse_item, read_section
from .pictures import ENDINGS as PICTURE_ENDINGS
from .readers import NIFTI_ENDINGS, ending_of

FIELDS = (*FIELDS_OF_CASES, "lesion", "slice", "prompts", "rotatable")


@dataclass(frozen=True)
class ReferringItem(Case):
    """One or more lesions of a picture and what may be said of them, beside the fields of a case.

    Attributes:
        prompts: sentences, any of which means these lesions.
        lesions: their values in the label map, rising; empty for all that is not 0.
        slice_index: axial slice of a NIfTI file; None for a picture.
        rotatable: whether all sentences stay true where the picture is turned or mirrored.
    """

    prompts: tuple[str, ...]
    lesions: tuple[int, ...]
    slice_index: int | None
    rotatable: bool = False

    def shares_a_lesion(self, other: "ReferringItem") -> bool:
        """Whether a lesion is meant by both, which are items of one picture."""
        same_map, all_of_it = self.label == other.label, not self.lesions or not other.lesions
        return same_map and (all_of_it or not set(self.lesions).isdisjoint(other.lesions))


def load_referring(path: str | os.PathLike[str], section: str) -> list[ReferringItem]:
    """Items of one section ("training", "validation" or "test") of the datalist at `path`.

    Raises:
        InputError: as `load_datalist`, or an item has no sentence, no label map, or a NIfTI file without
            its slice.
    """
    path = Path(path)
    content = load_json(path)
    names = tuple(label_names(path, content).values()) if "labels" in content else ()
    return read_section(path, content, section, lambda place, item: _parse(path, place, item, names))


def is_picture(path: Path) -> bool:
    """Whether a file is a picture (PNG, JPEG) and no volume."""
    return ending_of(path, PICTURE_ENDINGS) is not None


def parse_lesion(path: Path, place: str, item: Any, *, names: Sequence[str] = ()) -> Case:
    """As `parse_item`; an id that is not given has the slice and the lesions behind the image's name.

    Raises:
        InputError: a field is missing or malformed; the message says `place`.
    """
    fields = item if isinstance(item, dict) else {}
    slice_index, lesions = _numbers(path, place, fields)
    numbers = [str(number) for number in (slice_index, *lesions) if number is not None]
    case = parse_item(path, place, item, names=names, fields=FIELDS)
    return case if "case" in fields else replace(case, case="-".join([case.case, *numbers]))


def _parse(path: Path, place: str, item: Any, names: tuple[str, ...]) -> ReferringItem:
    fields = item if isinstance(item, dict) else {}
    slice_index, lesions = _numbers(path, place, fields)
    case = parse_lesion(path, place, item, names=names)
    if case.label is None:
        raise InputError(f'{path}: {place} has no label map, expected "label": "PATH"; add it.')
    _check_slice(path, place, case.image, slice_index)
    prompts = _prompts(path, place, fields.get("prompts"))
    return ReferringItem(
        **vars(case),
        prompts=prompts,
        lesions=lesions,
        slice_index=slice_index,
        rotatable=_rotatable(path, place, fields.get("rotatable", False), prompts),
    )


def _numbers(path: Path, place: str, fields: dict[str, Any]) -> tuple[int | None, tuple[int, ...]]:
    """Slice and lesions."""
    slice_index, lesion = fields.get("slice"), fields.get("lesion")
    if slice_index is not None and not _counts(slice_index, lowest=0):
        raise InputError(
            f'{path}: {place} has {json.dumps(slice_index)} as "slice", expected a whole number from 0 up; '
            "correct it."
        )
    lesions = [] if lesion is None else lesion if isinstance(lesion, list) else [lesion]
    clean = all(_counts(number, lowest=1) for number in lesions) and len(set(lesions)) == len(lesions)
    if not clean or lesion == []:
        raise InputError(
            f'{path}: {place} has {json.dumps(lesion)} as "lesion", expected a whole number from 1 up or a '
            "list of different ones; correct it."
        )
    return slice_index, tuple(sorted(lesions))


def _counts(value: Any, *, lowest: int) -> bool:
    """Whether it is a whole number from `lowest` up."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= lowest


def _rotatable(path: Path, place: str, value: Any, prompts: Sequence[str]) -> bool:
    if not isinstance(value, bool):
        raise InputError(
            f'{path}: {place} has {json.dumps(value)} as "rotatable", expected true or false; correct it.'
        )
    if value and (sided := [prompt for prompt in prompts if mentions_side(prompt)]):
        raise InputError(
            f'{path}: {place} is "rotatable" and has the prompt "{sided[0]}", expected none that names a '
            "side or a segment, which turning moves; remove one of the two."
        )
    return value


def _check_slice(path: Path, place: str, image: Path, slice_index: int | None) -> None:
    picture = is_picture(image)
    if not picture and ending_of(image, NIFTI_ENDINGS) is None:
        raise InputError(
            f"{path}: {place} names the image {image}, expected a picture ({', '.join(PICTURE_ENDINGS)}) or "
            f"a NIfTI file ({', '.join(NIFTI_ENDINGS)}); convert it."
        )
    if picture == (slice_index is not None):
        found, wanted = ("a picture with", "none") if picture else ("a volume without", '"slice": NUMBER')
        raise InputError(f'{path}: {place} is {found} "slice", expected {wanted}; correct it.')


def _prompts(path: Path, place: str, prompts: Any) -> tuple[str, ...]:
    if not isinstance(prompts, list) or not prompts:
        raise InputError(
            f'{path}: {place} has {json.dumps(prompts)} as "prompts", expected a list of sentences that '
            "refer to the lesion; add one."
        )
    field = f"{path}: {place}, prompts"
    return tuple(check_prompt(prompt, field=field) for prompt in prompts)

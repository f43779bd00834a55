"""Which lesion of which picture a sentence refers to: a datalist whose items have sentences.

    {"training": [{"image": "images/a.png", "label": "labels/a.png", "lesion": 2, "case": "a-2",
                   "prompts": ["the largest lesion", "a round lesion in the left lung"], "patient": "p1"},
                  {"image": "images/b.nii.gz", "label": "labels/b.nii.gz", "slice": 41, "lesion": 1,
                   "prompts": ["the lesion in segment VIII"], "patient": "p2"}],
     "validation": [...], "test": [...]}

The layout is that of `datalist`, one item for each lesion of each picture. `label` is a label map: grey
values of a PNG, or integers of a NIfTI file.
    prompts: sentences that refer to the lesion, at least one.
    lesion: its value in the label map; without it, all that is not 0.
    slice: which axial slice of a NIfTI file, 0 the most inferior one, as in `Volume.slices`.
`case` is optional as ever: the image's file name, and behind it the slice and the lesion.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..text.prompts import check_prompt
from .datalist import FIELDS as FIELDS_OF_CASES
from .datalist import Case, label_names, load_json, parse_item, read_section
from .pictures import ENDINGS as PICTURE_ENDINGS
from .readers import NIFTI_ENDINGS, ending_of

FIELDS = (*FIELDS_OF_CASES, "lesion", "slice", "prompts")


@dataclass(frozen=True)
class ReferringItem(Case):
    """A lesion in a picture and what may be said of it, beside the fields of a case.

    Attributes:
        prompts: sentences, any of which means this lesion.
        lesion: its value in the label map; None for all that is not 0.
        slice_index: axial slice of a NIfTI file; None for a picture.
    """

    prompts: tuple[str, ...]
    lesion: int | None
    slice_index: int | None


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
    """As `parse_item`; an id that is not given has the slice and the lesion behind the image's name.

    Raises:
        InputError: a field is missing or malformed; the message says `place`.
    """
    fields = item if isinstance(item, dict) else {}
    numbers = [str(number) for number in _numbers(path, place, fields) if number is not None]
    case = parse_item(path, place, item, names=names, fields=FIELDS)
    return case if "case" in fields else replace(case, case="-".join([case.case, *numbers]))


def _parse(path: Path, place: str, item: Any, names: tuple[str, ...]) -> ReferringItem:
    fields = item if isinstance(item, dict) else {}
    slice_index, lesion = _numbers(path, place, fields)
    case = parse_lesion(path, place, item, names=names)
    if case.label is None:
        raise InputError(f'{path}: {place} has no label map, expected "label": "PATH"; add it.')
    _check_slice(path, place, case.image, slice_index)
    prompts = _prompts(path, place, fields.get("prompts"))
    return ReferringItem(**vars(case), prompts=prompts, lesion=lesion, slice_index=slice_index)


def _numbers(path: Path, place: str, fields: dict[str, Any]) -> tuple[int | None, int | None]:
    """Slice and lesion."""
    return (
        _number(path, place, "slice", fields.get("slice"), lowest=0),
        _number(path, place, "lesion", fields.get("lesion"), lowest=1),
    )


def _number(path: Path, place: str, field: str, value: Any, *, lowest: int) -> int | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < lowest):
        raise InputError(
            f'{path}: {place} has {json.dumps(value)} as "{field}", expected a whole number from {lowest} '
            "up; correct it."
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

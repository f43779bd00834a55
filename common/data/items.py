"""One item of a datalist: an image, what is annotated or said of it, and whom it shows.

The format is that of `datalist`.
"""

import json
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..text.prompts import check_prompt
from ..text.vocabulary import Vocabulary, mentions_side
from .images import ENDINGS as IMAGE_2D_ENDINGS
from .item_fields import check_slips, with_present_names
from .item_levels import parse_levels
from .readers import NIFTI_ENDINGS, ending_of

LONGEST = 200  # bytes of an id: file systems allow 255, and outputs add their endings
NONE = "none"  # stands in an id where lesions would, for sentences that mean nothing


@dataclass(frozen=True)
class Case:
    """One item of the datalist: an image with organs, or a 2D image or slice that sentences speak of.

    Attributes:
        case: id, unique within its section; outputs are named after it.
        image: path of the image.
        label: path of the label map, or None.
        patient: whom the image shows. Where the datalist does not say, the image's name stands for the
            patient.
        targets: names of the organs annotated here; one that is not listed may be in the image, unmarked.
            Empty without a label map.
        absent: names of structures that are surely not in the image.
        prompts: sentences, which all mean the same lesions; empty where organs are asked for. One that is
            empty itself, of level p0, says nothing.
        lesions: what the sentences mean, values of the label map, rising; None: all that is not 0; empty:
            nothing in this image.
        slice_index: the axial slice of a NIfTI file, 0 the most inferior one; None for all of it.
        orientation_free: whether all sentences stay true where the image is turned or mirrored.
        attributes: what is known of the lesions beside, by name; None of it is looked at here.
        dataset: the data set that the item is of, for reports; None where the datalist does not say.
        levels: sentences of several levels, {"p0": ("",), "p1": ("polyp",), ...}, lowest first; they mean
            what `prompts` do.
        level: whose texts the prompts are, see `at_level`; None: those that the datalist has as such.
    """

    case: str
    image: Path
    label: Path | None
    patient: str
    targets: tuple[str, ...]
    _: KW_ONLY
    absent: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ()
    lesions: tuple[int, ...] | None = None
    slice_index: int | None = None
    orientation_free: bool = False
    attributes: Mapping[str, Any] = field(default_factory=dict, hash=False)
    dataset: str | None = None
    levels: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    level: str | None = None

    def shares_a_lesion(self, other: "Case") -> bool:
        """Whether a lesion is meant by both, which are items of one image."""
        if self.label != other.label or () in (self.lesions, other.lesions):
            return False
        if self.lesions is None or other.lesions is None:
            return True
        return not set(self.lesions).isdisjoint(other.lesions)


def parse_item(path: Path, place: str, item: Any, *, names: Sequence[str] = ()) -> Case:
    """Make a case of an item of the datalist at `path`; whether its files are there is not looked at.

    Args:
        path, place: for messages; paths of the item are relative to the datalist's folder.
        item: of the datalist: an object, or the path of an image.
        names: of the datalist's labels.

    Raises:
        InputError: a field is missing, misspelt or malformed; the message says `place`.
    """
    if isinstance(item, str):
        item = {"image": item}
    if isinstance(item, dict):
        item = with_present_names(path, item)
        check_slips(f"{path}: {place}", item)
    image = item.get("image") if isinstance(item, dict) else None
    if not isinstance(image, str) or not image:
        raise InputError(f'{path}: {place} has no image, expected "image": "PATH"; add it.')
    label = item.get("label")
    if label is not None and not isinstance(label, str):
        raise InputError(f'{path}: {place} has the label {json.dumps(label)}, expected "label": "PATH".')
    slice_index = _slice(path, place, _from_table(item.get("slice")))
    lesions = _lesions(path, place, _from_table(item["lesion"])) if item.get("lesion") is not None else None
    prompts = _prompts(path, place, item["prompts"]) if "prompts" in item else ()
    levels = parse_levels(f"{path}: {place}", item["levels"]) if item.get("levels") is not None else {}
    said = [*prompts, *(text for texts in levels.values() for text in texts)]
    _check_slice(path, place, path.parent / image, slice_index, sentences=bool(said))
    absent = _absent(path, place, item.get("absent", []))
    dataset = item.get("dataset")
    name = _stem(image)
    return Case(
        case=_identifier(path, place, "case", item.get("case", name + suffix(slice_index, lesions))),
        image=path.parent / image,
        label=None if label is None else path.parent / label,
        patient=_identifier(path, place, "patient", item.get("patient", item.get("case", name))),
        targets=() if label is None else _targets(path, place, item, names, absent),
        absent=absent,
        prompts=prompts,
        lesions=lesions,
        slice_index=slice_index,
        orientation_free=_orientation_free(path, place, item.get("orientation_free", False), said),
        attributes=_attributes(path, place, item.get("attributes")),
        dataset=None if dataset is None else _identifier(path, place, "dataset", dataset),
        levels=levels,
    )


def is_image_2d(path: Path) -> bool:
    """Whether a file is a 2D image (PNG, JPEG) and no volume."""
    return ending_of(path, IMAGE_2D_ENDINGS) is not None


def suffix(slice_index: int | None, lesions: Sequence[int] | None) -> str:
    """What tells an item from others of its image in an id: "-41-1-3" for slice 41, lesions 1 and 3."""
    meant = [NONE] if lesions is not None and not lesions else lesions or ()
    return "".join(f"-{part}" for part in (slice_index, *meant) if part is not None)


def _targets(
    path: Path, place: str, item: Mapping[str, Any], names: Sequence[str], absent: Sequence[str]
) -> tuple[str, ...]:
    """What the item says is annotated; where it says nothing, all names but those of what is absent."""
    if "targets" not in item:
        return tuple(name for name in names if _also(name, absent) is None)
    targets = item["targets"]
    unknown = [name for name in targets if name not in names] if isinstance(targets, list) else [targets]
    if unknown:
        raise InputError(
            f'{path}: {place} has {json.dumps(unknown[0])} in "targets", expected a list of names from '
            f'"labels" ({", ".join(names)}).'
        )
    for name in targets:
        if (other := _also(name, absent)) is not None:
            raise InputError(
                f'{path}: {place} has {json.dumps(name)} in "targets" and {json.dumps(other)} in "absent", '
                "expected an organ in only one of them, since it is either annotated or absent; remove one."
            )
    return tuple(targets)


def _also(name: str, among: Sequence[str]) -> str | None:
    """The first name that means the same organ, in whatever words."""
    return next((other for other in among if _vocabulary().same(name, other)), None)


@cache
def _vocabulary() -> Vocabulary:
    return Vocabulary.load()  # takes 0.1 s, and datalists have thousands of items


def _absent(path: Path, place: str, absent: Any) -> tuple[str, ...]:
    if not isinstance(absent, list) or not all(isinstance(name, str) and name.strip() for name in absent):
        raise InputError(f'{path}: {place} has {json.dumps(absent)} as "absent", expected a list of names.')
    return tuple(absent)


def _prompts(path: Path, place: str, prompts: Any) -> tuple[str, ...]:
    if not isinstance(prompts, list) or not prompts:
        raise InputError(
            f'{path}: {place} has {json.dumps(prompts)} as "prompts", expected a list of sentences that '
            "refer to the lesion; add one."
        )
    field = f"{path}: {place}, prompts"
    return tuple(check_prompt(prompt, field=field) for prompt in prompts)


def _slice(path: Path, place: str, value: Any) -> int | None:
    if value is not None and not _counts(value, lowest=0):
        raise InputError(
            f'{path}: {place} has {json.dumps(value)} as "slice", expected a whole number from 0 up.'
        )
    return value


def _lesions(path: Path, place: str, value: Any) -> tuple[int, ...]:
    lesions = value if isinstance(value, list) else [value]
    if not all(_counts(number, lowest=1) for number in lesions) or len(set(lesions)) < len(lesions):
        raise InputError(
            f'{path}: {place} has {json.dumps(value)} as "lesion", expected a whole number from 1 up or a '
            "list of different ones (empty: nothing is meant)."
        )
    return tuple(sorted(lesions))


def _from_table(value: Any) -> Any:
    """41 for the 41.0 of a table with empty cells, in a list too."""
    if isinstance(value, list):
        return [_from_table(part) for part in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _counts(value: Any, *, lowest: int) -> bool:
    """Whether it is a whole number from `lowest` up."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= lowest


def _check_slice(path: Path, place: str, image: Path, slice_index: int | None, *, sentences: bool) -> None:
    flat = is_image_2d(image)
    if sentences and not flat and ending_of(image, NIFTI_ENDINGS) is None:
        raise InputError(
            f"{path}: {place} names the image {image}, expected a 2D image ({', '.join(IMAGE_2D_ENDINGS)}) "
            f"or a NIfTI file ({', '.join(NIFTI_ENDINGS)}); convert it."
        )
    if flat and slice_index is not None:
        raise InputError(f'{path}: {place} is a 2D image with "slice", expected none.')
    if sentences and not flat and slice_index is None:
        raise InputError(f'{path}: {place} is a volume without "slice", expected "slice": NUMBER.')


def _orientation_free(path: Path, place: str, value: Any, prompts: Sequence[str]) -> bool:
    if not isinstance(value, bool):
        raise InputError(
            f'{path}: {place} has {json.dumps(value)} as "orientation_free", expected true or false.'
        )
    if value and (sided := [prompt for prompt in prompts if mentions_side(prompt)]):
        raise InputError(
            f'{path}: {place} is "orientation_free" and has the prompt "{sided[0]}", expected none that '
            "names a side or a segment, which turning moves; remove one of the two."
        )
    return value


def _attributes(path: Path, place: str, value: Any) -> dict[str, Any]:
    if value is not None and not isinstance(value, dict):
        raise InputError(
            f'{path}: {place} has {json.dumps(value)} as "attributes", expected an object such as '
            '{"shape": "round"}.'
        )
    return value or {}


def _identifier(path: Path, place: str, field: str, value: Any) -> str:
    # An id names files later on: a separator in it would lead out of the output folder.
    sound = isinstance(value, str | int) and not isinstance(value, bool) and _names_files(str(value))
    if not sound:
        raise InputError(
            f'{path}: {place} has {json.dumps(value)} as "{field}", expected a name without "/", backslash, '
            f"control characters and a dot in front, of at most {LONGEST} bytes."
        )
    return str(value)


def _names_files(name: str) -> bool:
    """Whether files can be called so."""
    odd = any(letter in "/\\" or unicodedata.category(letter) in ("Cc", "Cs") for letter in name)
    return bool(name.strip()) and not name.startswith(".") and not odd and len(name.encode()) <= LONGEST


def _stem(image: str) -> str:
    name = Path(image).name
    for ending in (".gz", ".nii", ".png", ".jpg", ".jpeg"):
        name = name.removesuffix(ending)
    return name

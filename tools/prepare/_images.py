"""What preparers of single images share: reading images and masks, and items with words of all levels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from tqdm import tqdm

from common.data.datalist import SECTIONS, Case, check_patients
from common.data.images import ENDINGS, read_image_2d
from common.errors import InputError
from common.files import atomic_path
from common.text.levels import LEVELS, level_texts, levels_of, words_of
from common.text.mask_attributes import FOREGROUND, mask_attributes, number_word

from ._layout import item_of, write_items

PROMPT_LEVELS = LEVELS[1:7]  # what the mask shows; P7 to P9 add descriptions of the class

Texts = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Pair:
    """An image with the mask of one structure.

    Attributes:
        name: of the case, unique in its section.
        image, mask: files; the mask is inside where it is above 127.
        section: of the datalist.
        patient: whom it shows.
        target: name of the structure.
        metadata: words that the mask does not tell, such as "view".
        texts: of each level, as the authors wrote them; None to write them from the mask.
    """

    name: str
    image: Path
    mask: Path
    section: str
    patient: str
    target: str
    metadata: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
    texts: Texts | None = None


def images_in(folder: Path) -> dict[str, Path]:
    """{name without ending: file} of the images directly in `folder`, sorted.

    Raises:
        InputError: two images of one name.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.glob("*")):
        if path.suffix.lower() not in ENDINGS:
            continue
        if path.stem in found:
            raise InputError(
                f"{path}: found {found[path.stem].name} beside it, expected one image of a name; remove one."
            )
        found[path.stem] = path
    return found


def read_mask(path: Path) -> np.ndarray:
    """Grey values (H, W), uint8, upright; JPEG leaves others beside 0 and 255.

    Raises:
        InputError: no such image, or a broken one.
    """
    try:
        with Image.open(path, formats=("PNG", "JPEG")) as image:
            return np.asarray(ImageOps.exif_transpose(image).convert("L"))
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(
            f"{path}: cannot be read as a mask ({error}), expected a PNG or JPEG; fetch it again."
        ) from error


def read_colours(path: Path) -> np.ndarray:
    """(H, W, 3) uint8, or (H, W) of a grey image, upright."""
    image = read_image_2d(path)
    shown: np.ndarray = image.shown(0)
    return shown


def write_label_map(inside: np.ndarray, value: int, path: Path) -> None:
    """Write (H, W) bool as a PNG with `value` inside and 0 elsewhere."""
    with atomic_path(path) as temporary:
        Image.fromarray(inside.astype(np.uint8) * np.uint8(value)).save(temporary)


def words_for(
    mask: np.ndarray, image: np.ndarray, family: str, known: Mapping[str, Any], rule: str
) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """Attributes of a mask (H, W) of 0 to 255, with what is `known` beside, and the texts of all levels."""
    attributes = {**known, **words_of(mask_attributes(mask, image, rule=rule))}
    return attributes, level_texts(family, attributes)


def prompts_of(levels: Texts) -> tuple[str, ...]:
    """The different texts of P1 to P6, in their order."""
    texts = (text.strip() for level in PROMPT_LEVELS for text in levels.get(level, ()))
    return tuple(dict.fromkeys(texts))


def write_pairs(
    pairs: Sequence[Pair],
    out: Path,
    head: Mapping[str, Any],
    *,
    dataset: str,
    family: str,
    labels: Mapping[str, int],
    rule: str,
) -> Path:
    """Write label maps to `out`/labels and `out`/datalist.json; the images stay where they are.

    Args:
        pairs: of all sections.
        head: first keys of the JSON.
        dataset: goes into every item.
        family: of the levels' templates.
        labels: {target: its value in label maps}.
        rule: for attributes, see `mask_attributes`; pairs with texts of their own need none.

    Returns:
        The datalist's path.

    Raises:
        InputError: a patient or image in two sections, or files that cannot be read or do not fit.
    """
    _check_sections(pairs, out)
    items: dict[str, list[dict[str, Any]]] = {section: [] for section in SECTIONS}
    for pair in tqdm(pairs, desc=dataset, unit="image"):
        items[pair.section].append(_item(pair, out, dataset, family, labels[pair.target], rule))
    names = {value: target for target, value in labels.items()}
    path = write_items(out, head, names, items)
    say_left_out(family, [item["levels"] for listed in items.values() for item in listed])
    return path


def say_left_out(family: str, levels: Sequence[Texts]) -> None:
    """Print how many items lack which levels, since what these need is not known."""
    counts = {level: sum(level not in texts for texts in levels) for level in levels_of(family)}
    if missing := [f"{level} {count}" for level, count in counts.items() if count]:
        print(f"levels left out for want of metadata, of {len(levels)} items: {', '.join(missing)}")


def _check_sections(pairs: Sequence[Pair], out: Path) -> None:
    cases: dict[str, list[Case]] = {}
    for pair in pairs:
        cases.setdefault(pair.section, []).append(Case(pair.name, pair.image, pair.mask, pair.patient, ()))
    check_patients(cases, out / "datalist.json")


def _item(pair: Pair, out: Path, dataset: str, family: str, value: int, rule: str) -> dict[str, Any]:
    mask = read_mask(pair.mask)
    attributes: Mapping[str, Any] = {"class": pair.target, **pair.metadata}
    levels: Texts
    if pair.texts is None:
        attributes, levels = words_for(mask, read_colours(pair.image), family, attributes, rule)
        nothing = attributes["number"] == number_word(0)
    else:
        levels, nothing = pair.texts, not (mask > FOREGROUND).any()
    label = out / "labels" / pair.section / f"{pair.name}.png"
    write_label_map(mask > FOREGROUND, value, label)
    case = Case(
        pair.name,
        pair.image.absolute(),
        label,
        pair.patient,
        (pair.target,),
        prompts=prompts_of(levels),
        lesions=() if nothing else None,
    )
    return {**item_of(case, out), "dataset": dataset, "attributes": attributes, "levels": levels}

"""Prompts of ten levels, P0 (no words) to P9, from what is known of a structure in an image.

The levels and their templates are those of Poudel et al. (MIDL 2024, Section 3.2) with the wording of the
prompts that they published; the descriptions of classes are ours. `levels.json` holds the templates of each
family of images.
"""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from string import Formatter
from typing import Any

from ..errors import InputError
from .mask_attributes import MaskAttributes, number_word

LEVELS = tuple(f"p{number}" for number in range(10))
RANDOM = "random"  # any level from p1 upwards
NO_TUMOR = "No tumor in the breast ultrasound image."
BORDER = {"benign": "regular", "malignant": "irregular"}

Attributes = Mapping[str, str | Sequence[str]]


def families() -> tuple[str, ...]:
    """Kinds of images that have templates: photograph, chest_xray, heart_ultrasound, breast_ultrasound."""
    return tuple(_read("levels.json"))


def levels_of(family: str) -> tuple[str, ...]:
    """The levels that a family has, "p0" first.

    Raises:
        InputError: another family.
    """
    return tuple(_templates(family))


def level_texts(family: str, attributes: Attributes) -> dict[str, list[str]]:
    """The texts of every level that the attributes suffice for.

    Args:
        family: one of `families()`.
        attributes: words by name: class, number, size, location, shape, colour, and what only metadata say:
            view, pathology, cycle, gender, age, quality, tumor_type, description. Several words of one name
            are joined by commas; several descriptions are a text each. Without `description`, those of the
            class are taken, where there are some.

    Returns:
        {level: texts of one meaning}; a level that needs an attribute that is absent or empty is left out.

    Raises:
        InputError: another family.
    """
    templates = _templates(family)
    if family == "photograph" and attributes.get("number") == number_word(0):
        return _absent(templates, f"no {attributes['class']}")
    if family == "breast_ultrasound" and attributes.get("number") == number_word(0):
        return _absent(templates, NO_TUMOR)
    words = {
        name: value if isinstance(value, str) else ", ".join(value) for name, value in attributes.items()
    }
    if family == "breast_ultrasound":
        words |= _of_breast(words)
    descriptions = attributes.get("description") or _read("descriptions.json").get(words.get("class", ""), ())
    if isinstance(descriptions, str):
        descriptions = [descriptions]
    texts = {level: _filled(listed, words, descriptions) for level, listed in templates.items()}
    return {level: listed for level, listed in texts.items() if listed}


def words_of(attributes: MaskAttributes) -> dict[str, str | list[str]]:
    """What a mask shows under the names that templates have; what is unknown is left out."""
    words: dict[str, str | list[str]] = {"number": attributes.number}
    if attributes.sizes:
        words["size"] = list(attributes.sizes)
    if attributes.locations:
        words["location"] = list(attributes.locations)
    if attributes.shape:
        words["shape"] = attributes.shape
    if attributes.colour:
        words["colour"] = attributes.colour
    return words


def _filled(templates: Sequence[str], words: Mapping[str, str], descriptions: Sequence[str]) -> list[str]:
    """Templates with their words, one for each description; nothing where a word is missing."""
    texts = []
    for template in templates:
        needed = {name for _, name, _, _ in Formatter().parse(template) if name}
        for description in descriptions if "description" in needed else [""]:
            have = {**words, "description": description}
            if all(have.get(name) for name in needed):
                texts.append(template.format_map(have))
    return texts


def _of_breast(words: Mapping[str, str]) -> dict[str, str]:
    """What the templates of breast ultrasound need beside: borders, capitals, and a noun in its number."""
    border = BORDER.get(words.get("tumor_type", ""), "")
    return {
        "border": border,
        "Border": border.capitalize(),
        "Tumor_type": words.get("tumor_type", "").capitalize(),
        "Number": words.get("number", "").capitalize(),
        "noun": "tumor" if words.get("number") == number_word(1) else "tumors",
    }


def _absent(templates: Mapping[str, Any], text: str) -> dict[str, list[str]]:
    return {level: [""] if level == LEVELS[0] else [text] for level in templates}


def _templates(family: str) -> dict[str, list[str]]:
    templates: dict[str, dict[str, list[str]]] = _read("levels.json")
    if family not in templates:
        raise InputError(f"family: found {family!r}, expected one of {', '.join(templates)}; choose one.")
    return templates[family]


@cache
def _read(name: str) -> dict[str, Any]:
    return json.loads((Path(__file__).parent / name).read_text(encoding="utf-8"))

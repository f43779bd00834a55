"""Levels of an item's sentences, from no words (P0) to many (P9): what it lists, and which one is asked.

How the texts come about stands in `common.text.levels`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..text.levels import LEVELS, RANDOM
from ..text.prompts import check_prompt

if TYPE_CHECKING:
    from .items import Case

WORDLESS = LEVELS[0]  # the only level whose text is empty, and the only place where one may be


def parse_levels(where: str, value: Any) -> dict[str, tuple[str, ...]]:
    """The levels of an item and their texts, lowest level first.

    Args:
        where: file and item, for the message.
        value: {level: texts of one meaning}; the text of "p0" is empty.

    Raises:
        InputError: of another shape, another level, or a text that breaks `check_prompt`.
    """
    if not isinstance(value, dict):
        raise InputError(
            f'{where} has {json.dumps(value)} as "levels", expected an object such as '
            '{"p0": [""], "p1": ["polyp"]}.'
        )
    if unknown := [level for level in value if level not in LEVELS]:
        raise InputError(
            f'{where} has the level {json.dumps(unknown[0])} in "levels", expected {LEVELS[0]} to '
            f"{LEVELS[-1]}."
        )
    return {level: _texts(where, level, value[level]) for level in LEVELS if level in value}


def _texts(where: str, level: str, texts: Any) -> tuple[str, ...]:
    if not isinstance(texts, list) or not texts:
        raise InputError(
            f'{where} has {json.dumps(texts)} as "{level}" in "levels", expected a list of texts; add one.'
        )
    if level != WORDLESS:
        return tuple(check_prompt(text, field=f"{where}, levels, {level}") for text in texts)
    if any(text != "" for text in texts):
        raise InputError(
            f'{where} has {json.dumps(texts)} as "{level}" in "levels", expected [""], as this level has no '
            "words; move them to another level."
        )
    return ("",)


def at_level(item: "Case", level: str, *, where: str) -> "Case":
    """The item with the texts of a level as its prompts.

    Args:
        level: one of `LEVELS`, or "random": the prompts are then those of all levels from p1 up, of which
            `any_text` draws.
        where: the datalist's section, for the message.

    Raises:
        InputError: no such level, or the item lacks it.
    """
    if level not in (*LEVELS, RANDOM):
        raise InputError(
            f"level: found {level!r}, expected {LEVELS[0]} to {LEVELS[-1]} or {RANDOM}; choose one."
        )
    texts = [text for one in _drawn(item.levels, level) for text in item.levels[one]]
    if not texts:
        wanted = f"a level from {LEVELS[1]} up ({RANDOM})" if level == RANDOM else f"the level {level}"
        raise InputError(
            f'{where}: the case "{item.case}" lacks {wanted} (levels found: '
            f'{", ".join(item.levels) or "none"}), expected it in every item; add it to its "levels", ask '
            "for another level, or leave the item out."
        )
    return replace(item, prompts=tuple(dict.fromkeys(texts)), level=level)


def any_text(item: "Case", rng: np.random.Generator) -> str:
    """A prompt of an item. At the level "random" a level is drawn first: one of many texts counts no more."""
    texts: Sequence[str] = item.prompts
    if item.level == RANDOM:
        levels = _drawn(item.levels, RANDOM)
        texts = item.levels[levels[int(rng.integers(len(levels)))]]
    return texts[int(rng.integers(len(texts)))]


def _drawn(levels: Mapping[str, Sequence[str]], level: str) -> list[str]:
    """Those of an item's levels that a level stands for."""
    return [one for one in levels if (one != WORDLESS if level == RANDOM else one == level)]

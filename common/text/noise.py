"""Prompts as people type them, with slips of the finger.

Used on training prompts only. The same text and the same state of the generator give the same result. Left
never turns into right: words that name a side are never edited.
"""

import re

import numpy as np

from ..errors import InputError
from .vocabulary import mentions_side

_WORD = re.compile(r"\w+")
_MIN_TYPO_LETTERS = 4  # a slip in a shorter word (of, the, CT) often makes another word of it
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def add_typos(text: str, rng: np.random.Generator, *, rate: float) -> str:
    """Change, drop or add one letter in about `rate` of the words of four letters or more.

    Words with a digit and words that name a side, or would after the slip (light to right, "segment" to
    "segmenti", a segment of the liver), stay as they are.

    Raises:
        InputError: `rate` is outside 0 to 1.
    """
    if not 0.0 <= rate <= 1.0:
        raise InputError(f"rate of typos: found {rate}, expected a share from 0 to 1.")

    def slip(match: re.Match[str]) -> str:
        word = match.group()
        if len(word) < _MIN_TYPO_LETTERS or not word.isalpha() or rng.random() >= rate:
            return word
        return _if_unsided(word, _edit(word, rng))

    return _WORD.sub(slip, text)


def _edit(word: str, rng: np.random.Generator) -> str:
    """`word` with one letter changed, dropped or added: Levenshtein distance 1, or 0 by chance."""
    place = int(rng.integers(len(word)))
    letter = _LETTERS[rng.integers(len(_LETTERS))]
    middle = (letter, "", word[place] + letter)[rng.integers(3)]
    return word[:place] + middle + word[place + 1 :]


def _if_unsided(word: str, edited: str) -> str:
    return word if mentions_side(word) or mentions_side(edited) else edited

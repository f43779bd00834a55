"""Less of a sentence: what a network does with part of what it was told."""

import math
from fractions import Fraction

from ..errors import InputError


def part_of(text: str, share: float | Fraction) -> str:
    """The first words of `text`, as many as `share` of all, rounded up; at least one.

    LSMS's paper asks with 1/4 and 1/2 of the text. A comma or the like at the cut is left out.

    Args:
        text: one sentence or several, words with spaces between.
        share: above 0, up to 1; with 1 the text stays as it is.

    Raises:
        InputError: another share.
    """
    if not 0 < share <= 1:
        raise InputError(f"share: found {share}, expected more than 0 and at most 1.")
    words = text.split()
    kept = math.ceil(round(len(words) * share, 6))  # rounded first: 0.1 * 30 is a little above 3
    return text if kept == len(words) else " ".join(words[:kept]).rstrip(",;:") or words[0]

"""A datalist whose sentences are cut: how much of the text does a network need?"""

import math
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from common.data.datalist import Case
from common.errors import InputError

from ._carry import carried, read_listed
from ._layout import write_items


def cut(datalist: Path, share: Fraction, out: Path) -> Path:
    """Write `out`/datalist.json, in which each sentence is the first `share` of its words (see `part_of`).

    Everything else stays as it is, and no file is copied. A network that learned from whole sentences is
    evaluated with it, or one learns from it.

    Returns:
        The datalist's path.

    Raises:
        InputError: an unreadable datalist, or an item without sentences.
    """
    listed = read_listed(datalist, out)
    if silent := [case.case for case in listed.every_case if not case.prompts]:
        raise InputError(
            f'{datalist}: the case "{silent[0]}" has no "prompts", expected sentences to cut in every item; '
            "give a datalist with sentences."
        )
    sections = {
        name: carried(listed.items[name], [_cut(case, share) for case in cases], out)
        for name, cases in listed.cases.items()
    }
    return write_items(out, {**listed.head, "share_of_text": float(share)}, listed.labels, sections)


def _cut(case: Case, share: Fraction) -> Case:
    return replace(case, prompts=tuple(dict.fromkeys(part_of(text, share) for text in case.prompts)))


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

"""A datalist whose sentences are cut: how much of the text does a network need?"""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from common.data.datalist import Case
from common.errors import InputError
from common.text.partial import part_of

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

"""What the scans of a datalist surely do not show, by the region of the body that they are of."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from common.data.datalist import Case
from common.errors import InputError
from common.text.regions import surely_absent
from common.text.vocabulary import Vocabulary

from ._carry import carried, read_listed
from ._layout import write_items


def add_absent(datalist: Path, out: Path, regions: Sequence[str]) -> Path:
    """Write `out`/datalist.json, in which each item has in "absent" what no scan of `regions` shows.

    What an item says is absent already stays so, as do all other fields; no file is copied.

    Args:
        datalist: its scans are all of the same regions.
        out: folder to write to.
        regions: see `common.text.regions.REGIONS`.

    Returns:
        The new datalist's path.

    Raises:
        InputError: an unreadable datalist, an unknown region, or an annotated organ that does not lie there.
    """
    listed = read_listed(datalist, out)
    sections = {
        section: carried(listed.items[section], without(cases, regions, place=str(datalist)), out)
        for section, cases in listed.cases.items()
    }
    return write_items(out, listed.head, listed.labels, sections)


def without(cases: Sequence[Case], regions: Collection[str], *, place: str) -> list[Case]:
    """The cases with all that no scan of `regions` shows added to what is absent.

    Args:
        cases: all of scans of the same regions.
        regions: choices of `common.text.regions.REGIONS`.
        place: where the cases are from, for errors.

    Raises:
        InputError: an unknown region, or an organ that is annotated in a case but never lies there.
    """
    vocabulary = Vocabulary.load()
    never = surely_absent(regions, vocabulary)
    for case in cases:
        for target in case.targets:
            organ = vocabulary.find(target)
            if organ is not None and organ.name in never:
                raise InputError(
                    f'{place}: the case "{case.case}" has "{target}" annotated, which no scan of '
                    f"{' and '.join(regions)} shows, expected organs of that region and those next to it; "
                    "give all of the scan's regions, or remove it from the item's targets."
                )
    return [replace(case, absent=_joined(case.absent, never, vocabulary)) for case in cases]


def _joined(before: tuple[str, ...], more: tuple[str, ...], vocabulary: Vocabulary) -> tuple[str, ...]:
    known = {organ.name for name in before if (organ := vocabulary.find(name)) is not None}
    return (*before, *(name for name in more if name not in known))

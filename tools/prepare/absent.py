"""Which organs scans surely do not show, by the region of the body that they are of."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from common.data.datalist import Case
from common.text.vocabulary import Vocabulary

from ._carry import carried, read_listed
from ._layout import write_items


def add_absent(datalist: Path, out: Path, *, regions: Sequence[str]) -> Path:
    """Write `out`/datalist.json, in which each item's "absent" has all organs that its region rules out.

    What stands there already is kept, and so are all other fields. No file is copied.

    Args:
        datalist: scans of these regions with label maps.
        out: folder to write to.
        regions: see `Vocabulary.absent_from`.

    Raises:
        InputError: an unreadable datalist, or another region.
    """
    listed = read_listed(datalist, out)
    sections = {
        section: carried(listed.items[section], with_absent(cases, regions), out)
        for section, cases in listed.cases.items()
    }
    return write_items(out, listed.head, listed.labels, sections)


def with_absent(cases: Sequence[Case], regions: Sequence[str]) -> list[Case]:
    """Cases that also list what a scan of these regions does not show, but for their own targets.

    An organ that a case has as a target or as absent already, under any of its names, is not added.

    Raises:
        InputError: no region, or another one.
    """
    vocabulary = Vocabulary.load()
    names = [organ.name for organ in vocabulary.absent_from(regions)]
    return [replace(case, absent=(*case.absent, *_new(names, case, vocabulary))) for case in cases]


def _new(names: Sequence[str], case: Case, vocabulary: Vocabulary) -> list[str]:
    known = {vocabulary.find(name) for name in (*case.targets, *case.absent)}
    return [name for name in names if vocabulary.find(name) not in known]

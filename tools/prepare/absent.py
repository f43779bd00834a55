"""A datalist whose items also say which organs their scans surely do not show."""

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
        section: carried(listed.items[section], [with_absent(case, regions) for case in cases], out)
        for section, cases in listed.cases.items()
    }
    return write_items(out, listed.head, listed.labels, sections)


def with_absent(case: Case, regions: Sequence[str]) -> Case:
    """A case that also lists what a scan of these regions does not show, but for its own targets."""
    names = [organ.name for organ in Vocabulary.load().absent_from(regions)]
    new = [name for name in names if name not in (*case.absent, *case.targets)]
    return replace(case, absent=(*case.absent, *new))

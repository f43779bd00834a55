"""Several datalists as one: every item keeps its files, its fields and what its labels mean."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

from tqdm import tqdm

from common.data.datalist import SECTIONS, Case, check_patients
from common.errors import InputError
from common.text.prompts import MAX_LABEL

from ._carry import carried, read_listed
from ._layout import with_own_ids, write_items
from ._renumber import Renumbering

Names = tuple[str, ...]


def join(datalists: Sequence[Path], out: Path) -> Path:
    """Write `out`/datalist.json with the items of all `datalists`, section by section.

    What a number means, its name or names, has one number: the one of the first datalist that has it, or the
    next free one. Label maps whose numbers change, or would mean something else in the whole, are written
    anew to `out`/labels (see `Renumbering`); nothing else is copied. Cases and patients are named after their
    datalist's folder too, so that equal ids of two data sets stay apart. All other fields of an item stay as
    they are, and the heads of the datalists stand under "joined".

    Returns:
        The datalist's path.

    Raises:
        InputError: an unreadable datalist or label map, two of one folder name, more than 255 labels, or a
            patient (or file) in two sections.
    """
    folders = [path.resolve().parent.name for path in datalists]
    if len(set(folders)) < len(folders):
        raise InputError(
            f"datalists: found {', '.join(folders)}, expected a different folder name for each, since "
            "cases are named after it; rename a folder."
        )
    sources = [read_listed(path, out) for path in datalists]
    labels, changes = joint_numbers([source.labels for source in sources])
    if max(labels, default=0) > MAX_LABEL:
        raise InputError(f"datalists: found {len(labels)} labels, expected at most {MAX_LABEL}; join fewer.")
    cases: dict[str, list[Case]] = {section: [] for section in SECTIONS}
    items: dict[str, list[Any]] = {section: [] for section in SECTIONS}
    for folder, source, change in zip(folders, sources, changes, strict=True):
        renumbered = Renumbering(change, labels, source.every_case, out / "labels" / folder)
        for section, of_section in source.cases.items():
            cases[section] += [
                replace(renumbered(case), case=f"{folder}-{case.case}", patient=f"{folder}-{case.patient}")
                for case in tqdm(of_section, desc=f"{folder} {section}", unit="item")
            ]
            items[section] += source.items[section]
    check_patients(cases, out / "datalist.json")
    head = {"name": " + ".join(folders), "joined": [source.head for source in sources]}
    sections = {name: carried(items[name], with_own_ids(cases[name]), out) for name in SECTIONS}
    return write_items(out, head, labels, sections)


def joint_numbers(labels: Sequence[Mapping[int, Names]]) -> tuple[dict[int, Names], list[dict[int, int]]]:
    """What the numbers of all datalists are together.

    Args:
        labels: of each datalist, {number: its names}. Two numbers of one that mean the same stay two.

    Returns:
        {number: its names} of the whole, and for each datalist {its number: the number in the whole}.
    """
    whole: dict[int, Names] = {}
    changes: list[dict[int, int]] = []
    for named in labels:
        change: dict[int, int] = {}
        for number, names in named.items():
            taken = change.values()
            same = (known for known, its in whole.items() if set(its) == set(names) and known not in taken)
            free = number if number not in whole else next(n for n in count(1) if n not in whole)
            change[number] = next(same, free)
            whole.setdefault(change[number], names)
        changes.append(change)
    return whole, changes

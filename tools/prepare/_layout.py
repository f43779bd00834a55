"""What the preparers share: refusing half of a download, and writing the datalist."""

import itertools
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from common.data.datalist import Case
from common.errors import InputError
from common.files import atomic_path


@dataclass(frozen=True)
class Source:
    """A public data set.

    Attributes:
        name: as its authors write it.
        description: one line.
        reference: what to cite.
        licence: of the data.
        where: how a user gets it; nothing here downloads it.
        layout: the files that are expected below --source, in one line.
    """

    name: str
    description: str
    reference: str
    licence: str
    where: str
    layout: str

    def check_complete(self, source: Path, wanted: Iterable[Path]) -> None:
        """Refuse a folder that lacks files.

        Raises:
            InputError: nothing is wanted, or files are missing; the first ten are named.
        """
        files = list(wanted)
        missing = [file.relative_to(source).as_posix() for file in files if not file.exists()]
        if files and not missing:
            return
        if not files:
            found = "no case of it found"
        else:
            more = f" and {len(missing) - 10} more" if len(missing) > 10 else ""
            found = f"{len(missing)} of {len(files)} files are missing ({', '.join(missing[:10])}{more})"
        raise InputError(
            f"{source}: {found}, expected {self.name} as its authors give it: {self.layout}; the download is "
            f"incomplete or of another layout. Get it: {self.where} Licence: {self.licence}."
        )

    def notes(self) -> dict[str, str]:
        """For the head of the datalist."""
        return {
            "name": self.name,
            "description": self.description,
            "reference": self.reference,
            "licence": self.licence,
        }


def write_datalist(
    out: Path,
    head: Mapping[str, Any],
    labels: Mapping[int, str | Sequence[str]],
    sections: Mapping[str, Sequence[Case]],
) -> Path:
    """Write `out`/datalist.json and print how many cases and patients there are.

    Files below `out` are named relative to it, others absolutely: nothing is copied.

    Args:
        head: first keys of the JSON.
        labels: {label number: its name, or several}.
        sections: cases by split; an id that is there twice gets a number.

    Returns:
        The datalist's path.
    """
    items = {name: [item_of(case, out) for case in with_own_ids(cases)] for name, cases in sections.items()}
    return write_items(out, head, labels, items)


def write_items(
    out: Path,
    head: Mapping[str, Any],
    labels: Mapping[int, str | Sequence[str]],
    sections: Mapping[str, Sequence[Mapping[str, Any]]],
) -> Path:
    """As `write_datalist`, with items as they stand in the JSON; no labels are left out of it."""
    named = {str(number): _one_or_more(names) for number, names in labels.items()}
    content = {**head, **({"labels": named} if named else {}), **sections}
    path = out / "datalist.json"
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    counts = ", ".join(
        f"{len(items)} {name} ({len({item['patient'] for item in items})} patients)"
        for name, items in sections.items()
    )
    print(f"{path}: {counts}")
    return path


def _one_or_more(names: str | Sequence[str]) -> str | list[str]:
    if isinstance(names, str):
        return names
    return names[0] if len(names) == 1 else list(names)


def with_own_ids(cases: Iterable[Case]) -> list[Case]:
    """The cases of a section, of which the second of an id becomes "id-2", the third "id-3"."""
    found: dict[str, Case] = {}
    for case in cases:
        numbers = itertools.count(2)
        name = case.case
        while name in found:
            name = f"{case.case}-{next(numbers)}"
        found[name] = replace(case, case=name)
    return list(found.values())


def patients_in_two(sections: Mapping[str, Sequence[Case]]) -> dict[str, list[str]]:
    """{patient: the splits that have images of it}, for those that are in more than one."""
    found: dict[str, list[str]] = {}
    for name, cases in sections.items():
        for patient in sorted({case.patient for case in cases}):
            found.setdefault(patient, []).append(name)
    return {patient: names for patient, names in found.items() if len(names) > 1}


def folders_below(source: Path) -> list[Path]:
    """All folders below `source`, through links too; each one's content is listed once, so that loops end."""
    found: list[Path] = []
    open_, listed = [source], set()
    while open_:
        folder = open_.pop()
        if (real := os.path.realpath(folder)) in listed:
            continue
        listed.add(real)
        inside = sorted(path for path in folder.iterdir() if path.is_dir())
        found += inside
        open_ += inside
    return found


def item_of(case: Case, out: Path) -> dict[str, Any]:
    """All that a case holds as an item of the datalist `out`/datalist.json, what is left out where it may."""
    item: dict[str, Any] = {"case": case.case, "image": _place(case.image, out)}
    if case.label is not None:
        item |= {"label": _place(case.label, out), "targets": list(case.targets)}
    if case.absent:
        item["absent"] = list(case.absent)
    item["patient"] = case.patient
    if case.slice_index is not None:
        item["slice"] = case.slice_index
    if case.lesions is not None:
        item["lesion"] = case.lesions[0] if len(case.lesions) == 1 else list(case.lesions)
    if case.prompts:
        item["prompts"] = list(case.prompts)
    if case.orientation_free:
        item["orientation_free"] = True
    return item


def _place(file: Path, out: Path) -> str:
    absolute, folder = file.absolute(), out.absolute()
    return (absolute.relative_to(folder) if absolute.is_relative_to(folder) else absolute).as_posix()

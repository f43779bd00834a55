"""What the preparers share: refusing half of a download, and writing the datalist."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
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
    labels: Mapping[int, str],
    sections: Mapping[str, Sequence[Case]],
    prompts: Mapping[str, Sequence[str]] | None = None,
) -> Path:
    """Write `out`/datalist.json and print how many cases and patients there are.

    Files below `out` are named relative to it, others absolutely: nothing is copied.

    Args:
        head: first keys of the JSON.
        labels: {label number: name}.
        sections: cases by split.
        prompts: sentences by case id.
    """
    content: dict[str, Any] = {**head, "labels": {str(number): name for number, name in labels.items()}}
    for name, cases in sections.items():
        content[name] = [_item(case, out, prompts) for case in cases]
    path = out / "datalist.json"
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    counts = ", ".join(
        f"{len(cases)} {name} ({len({case.patient for case in cases})} patients)"
        for name, cases in sections.items()
    )
    print(f"{path}: {counts}")
    return path


def patients_in_two(sections: Mapping[str, Sequence[Case]]) -> dict[str, list[str]]:
    """{patient: the splits that have images of it}, for those that are in more than one."""
    found: dict[str, list[str]] = {}
    for name, cases in sections.items():
        for patient in sorted({case.patient for case in cases}):
            found.setdefault(patient, []).append(name)
    return {patient: names for patient, names in found.items() if len(names) > 1}


def _item(case: Case, out: Path, prompts: Mapping[str, Sequence[str]] | None) -> dict[str, Any]:
    item: dict[str, Any] = {"case": case.case, "image": _place(case.image, out)}
    if case.label is not None:
        item |= {"label": _place(case.label, out), "targets": list(case.targets)}
    if case.absent:
        item["absent"] = list(case.absent)
    item["patient"] = case.patient
    if prompts is not None:
        item["prompts"] = list(prompts[case.case])
    return item


def _place(file: Path, out: Path) -> str:
    absolute, folder = file.absolute(), out.absolute()
    return (absolute.relative_to(folder) if absolute.is_relative_to(folder) else absolute).as_posix()

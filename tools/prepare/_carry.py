"""Items of a datalist that is there already, carried into another one with all of their fields."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.data.datalist import SECTIONS, Case, load_datalist, load_json
from common.data.labels import label_values, names_of_numbers
from common.errors import InputError

from ._layout import item_of


@dataclass(frozen=True)
class Listed:
    """A datalist: what its JSON holds, and its items as `load_datalist` reads them.

    Attributes:
        head: all but labels and sections.
        labels: {number: its names}; empty where there are none.
        items, cases: of each section that there is, in the same order.
    """

    head: Mapping[str, Any]
    labels: Mapping[int, tuple[str, ...]]
    items: Mapping[str, Sequence[Any]]
    cases: Mapping[str, Sequence[Case]]

    @property
    def every_case(self) -> Iterator[Case]:
        return (case for cases in self.cases.values() for case in cases)


def read_listed(path: Path, out: Path) -> Listed:
    """The datalist at `path`, to be written anew to `out`/datalist.json.

    Raises:
        InputError: see `load_datalist`, or that is the same file.
    """
    if (out / "datalist.json").resolve() == path.resolve():
        raise InputError(f"--out {out}: would overwrite {path}, expected another folder; choose one.")
    content = load_json(path)
    cases = {section: load_datalist(path, section) for section in SECTIONS if section in content}
    return Listed(
        {key: value for key, value in content.items() if key not in (*SECTIONS, "labels")},
        names_of_numbers(label_values(path, content["labels"])) if "labels" in content else {},
        {section: content[section] for section in cases},
        cases,
    )


def carried(items: Sequence[Any], cases: Sequence[Case], out: Path) -> list[dict[str, Any]]:
    """Items as they were, unknown fields too, with what `cases` say in `out`/datalist.json.

    Args:
        items: of the older datalist.
        cases: the same ones, perhaps changed.
        out: folder of the new datalist.
    """
    return [
        {**(item if isinstance(item, dict) else {}), **item_of(case, out)}
        for item, case in zip(items, cases, strict=True)
    ]

"""Lists of inputs in a file, each with its own prompts and slice if it has them.

    image,prompt,slice                                 a .csv: rows of one image are one case
    a.png,the largest lesion,
    a.png,"the leftmost lesion, near the edge",
    b.nii.gz,the round lesion,41

    ["a.png",                                          a .json
     {"image": "b.nii.gz", "slice": 41, "prompts": ["the round lesion", "the largest lesion"]}]

A datalist (see `common.data.datalist`) is read too, one section of it. All sentences of an item mean the
same, which is asked for by the first, as in evaluation.
"""

import csv
import json
import reprlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..data.datalist import SECTIONS
from ..data.item_fields import FIELDS, check_slips, with_present_names
from ..data.items import suffix
from ..errors import InputError
from ..text.prompts import Prompt, number_prompts
from ..user_text import read_rows, read_user_text, whole

ENDINGS = (".csv", ".json")
ONE_PROMPT = "prompt"  # what lists have beside the fields of datalists
READ = ("image", ONE_PROMPT, "prompts", "slice", "case", "lesion")  # the others say nothing to inference

MOST_DIGITS = 9  # of a number in a cell


@dataclass
class Entry:
    """An input of a list.

    Attributes:
        where: list file and item, for messages.
        image: path as it stands there.
        slice_index: the only slice to segment, 0 the most inferior one; None = as the run says.
        name: of its outputs; None = the image's file name and the suffix.
        suffix: slice and lesions, as in the ids of datalists.
        asked: its own prompts, each with its place in the file.
    """

    where: str
    image: str
    slice_index: int | None
    name: str | None
    suffix: str
    asked: list[tuple[str, object]] = field(default_factory=list)

    @property
    def prompts(self) -> tuple[Prompt, ...]:
        """Its own prompts, numbered from 1; empty = those of the run.

        Raises:
            InputError: one of them cannot be used, or is there twice.
        """
        return tuple(number_prompts(self.asked)) if self.asked else ()


def read_list(path: Path, section: str | None = None) -> list[Entry]:
    """Entries of a list; those that differ in their prompts alone are one.

    Args:
        path: `.csv` or `.json`.
        section: of a datalist: "training", "validation" or "test"; None where it has one alone.

    Raises:
        InputError: another shape, an entry without a path, or a field that is unknown or malformed.
    """
    try:
        text = read_user_text(path, what="list of inputs")
        content: Any = json.loads(text) if path.suffix.lower() == ".json" else read_rows(text)
    except InputError:  # which is a ValueError too
        raise
    except (ValueError, RecursionError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as a list of inputs ({error}).") from error
    place, of_datalist = str(path), isinstance(content, dict)
    if section is not None and not of_datalist:
        raise InputError(
            f"{path}: found a list without sections, expected a datalist for the section {section!r}; leave "
            "section out, and give lists and datalists in separate runs."
        )
    if of_datalist:
        section = _section(path, content, section)
        place, content = f"{path}, {section}", content[section]
    if not isinstance(content, list) or not content:
        raise InputError(f"{place}: found no inputs, expected a list of at least one; write paths into it.")
    items = [with_present_names(path, item) if isinstance(item, dict) else item for item in content]
    entries = [
        _entry(item, f"{place}, item {number}", of_datalist=of_datalist)
        for number, item in enumerate(items, start=1)
    ]
    return _merged(entries)


def _section(path: Path, content: dict[str, Any], asked: str | None) -> str:
    """The section of a datalist that is meant."""
    found = [name for name in SECTIONS if name in content]
    if not found:
        raise InputError(f"{path}: found no inputs, expected a list of at least one; write paths into it.")
    if asked is None and len(found) == 1:
        return found[0]
    if asked not in found:
        which = "no section" if asked is None else f"the section {asked!r}"
        raise InputError(
            f"{path}: found {which} for a datalist, expected one of {', '.join(found)}; give section."
        )
    return asked


def _entry(item: Any, where: str, *, of_datalist: bool) -> Entry:
    fields = {"image": item} if isinstance(item, str) else item
    image = fields.get("image") if isinstance(fields, dict) else None
    if not isinstance(image, str) or not image.strip():
        named = isinstance(fields, dict) and fields
        found = f"the fields {', '.join(map(str, fields))}" if named else "no path"
        raise InputError(f'{where}: found {found}, expected text or a field "image" with a path.')
    if image.strip().lower().endswith(ENDINGS):
        raise InputError(f"{where}: found another list, expected an image or a folder; name its images here.")
    _check_fields(fields, where, of_datalist=of_datalist)
    slice_index = _number(fields.get("slice"), f"{where}, slice")
    asked = _asked(fields, where)
    return Entry(
        where,
        image.strip(),
        slice_index,
        _name(fields.get("case"), where),
        suffix(slice_index, _lesions(fields.get("lesion"), f"{where}, lesion")),
        asked[:1] if of_datalist else asked,
    )


def _check_fields(fields: dict[Any, Any], where: str, *, of_datalist: bool) -> None:
    """Refuse unknown fields. Those of a datalist may be for others, so that only slips are refused there."""
    known = (*FIELDS, ONE_PROMPT)
    if None in fields:  # of csv.DictReader
        raise InputError(
            f"{where}: found more cells than columns, expected one for each column; put text with commas "
            "between "
            'quotation marks ("...").'
        )
    if of_datalist:
        check_slips(where, fields, known=known)
        return
    for name in fields:
        if name not in known:
            unread = ", ".join(one for one in known if one not in READ)
            raise InputError(
                f"{where}: found the field {reprlib.repr(name)}, expected {', '.join(READ)} (known but not "
                f"read here: {unread}); correct or remove it."
            )


def _number(value: Any, where: str) -> int | None:
    value = whole(value)
    if isinstance(value, str) and value.strip().isdecimal() and len(value) <= MOST_DIGITS:
        return int(value)
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 0):
        return value
    raise InputError(f"{where}: found {reprlib.repr(value)}, expected a whole number from 0 up.")


def _lesions(value: Any, where: str) -> list[int] | None:
    """Those of an item of a datalist; empty where its sentences mean nothing, None where it names none."""
    if value is None:
        return None
    numbers = (_number(each, where) for each in (value if isinstance(value, list) else [value]))
    return sorted(number for number in numbers if number is not None)


def _name(value: Any, where: str) -> str | None:
    """A separator in it would lead out of the output folder, and a dot in front would hide the outputs."""
    if value is None:
        return None
    name = value.strip() if isinstance(value, str) else str(value)
    known = isinstance(value, str | int) and not isinstance(value, bool)
    if not known or not name or name.startswith(".") or set(name) & set("/\\\0"):
        raise InputError(
            f'{where}, case: found {reprlib.repr(value)}, expected a name without "/" and without a dot in '
            "front."
        )
    return name


def _asked(fields: dict[str, Any], where: str) -> list[tuple[str, object]]:
    """The prompts, as texts or objects like those of a prompts file, and where each stands."""
    if "prompts" not in fields:
        return [(where, fields["prompt"])] if "prompt" in fields else []
    several = fields["prompts"]
    if "prompt" in fields or not isinstance(several, list) or not several:
        found = "both prompt and prompts" if "prompt" in fields else f"{reprlib.repr(several)} as prompts"
        raise InputError(
            f"{where}: found {found}, expected prompt (a text; of a CSV too) or prompts (a list of them)."
        )
    return [(f"{where}, prompt {number}", prompt) for number, prompt in enumerate(several, start=1)]


def _merged(entries: Sequence[Entry]) -> list[Entry]:
    """Entries with prompts for the same image, slice and name as one, in the order of their first."""
    kept: dict[object, Entry] = {}
    for entry in entries:
        key = (entry.image, entry.slice_index, entry.name, entry.suffix, None if entry.asked else entry.where)
        if key in kept:
            kept[key].asked += entry.asked
        else:
            kept[key] = entry
    return list(kept.values())

"""What a user asks for: single prompts and files of prompts, checked and otherwise left as they are.

User text is data: nothing here evaluates, formats or splits it, so `$1+1`, `(liver)` and `a,b` stay whole.
"""

import json
import os
import re
import reprlib
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..user_text import read_user_text
from .vocabulary import Vocabulary

MAX_CHARACTERS = 2000  # several times what any text encoder here reads; longer text is a mistake
MAX_LABEL = 255  # label maps are written as uint8, and 0 is the background

# Control characters, halves of surrogate pairs (no file can hold them), line and paragraph separators.
_REFUSED_CATEGORIES = ("Cc", "Cs", "Zl", "Zp")
_KEYCAP = re.compile("[0-9]\ufe0f?\u20e3")  # an emoji that begins with a digit
_KEYS = ("prompt", "name", "label", "colour")


@dataclass(frozen=True)
class Prompt:
    """One thing to segment.

    Attributes:
        text: what the text encoder reads.
        name: what reports and label maps call the result.
        label: value of its voxels in a label map, 1 to 255.
        colour: (red, green, blue), each 0 to 255, or None for a default.
    """

    text: str
    name: str
    label: int
    colour: tuple[int, int, int] | None = None


def check_prompt(text: object, *, field: str = "prompt") -> str:
    """Return `text` without white space at its ends.

    Args:
        text: what the user gave.
        field: how the error calls it.

    Raises:
        InputError: not a str, without a letter or digit (white space, punctuation, emoji), over 2000
            characters, or with a control character.
    """
    if not isinstance(text, str):
        raise InputError(
            f"{field}: found {type(text).__name__}, expected text; write what to segment in words."
        )
    text = text.strip()
    if not text:
        raise InputError(f"{field}: found no text, expected words; write what to segment, such as liver.")
    if len(text) > MAX_CHARACTERS:
        raise InputError(
            f"{field}: found {len(text)} characters, expected at most {MAX_CHARACTERS}; shorten the text."
        )
    for position, character in enumerate(text, start=1):
        if unicodedata.category(character) in _REFUSED_CATEGORIES:
            raise InputError(
                f"{field}: found the control character U+{ord(character):04X} at position {position}, "
                "expected printable text on one line; remove it or use a space."
            )
    if not any(character.isalnum() for character in _KEYCAP.sub("", text)):
        raise InputError(
            f"{field}: found {reprlib.repr(text)}, which has no word, expected words; write what to segment, "
            "such as liver."
        )
    return text


def read_prompts_file(path: str | os.PathLike[str]) -> list[Prompt]:
    """Read prompts from a `.txt` or `.json` file in UTF-8, with or without a byte order mark.

    `.txt`: one prompt a line; blank lines and lines that start with # are skipped.
    `.json`: a list whose items are texts or objects {"prompt", "name"?, "label"?, "colour"?}.
    A missing name is the prompt itself; a missing label is the lowest number that no item has. A prompt for
    both organs of a pair ("both kidneys") without name, label and colour becomes one for each.

    Raises:
        InputError: the file cannot be read or has another shape, a prompt breaks `check_prompt`, a name or
            label occurs twice, or there is no prompt or more than 255.
    """
    path = Path(path)
    readers = {".txt": _from_lines, ".json": _from_json}
    if path.suffix.lower() not in readers:
        raise InputError(
            f"{path}: found the ending {path.suffix!r}, expected .txt or .json; rename the file."
        )
    items = readers[path.suffix.lower()](read_user_text(path, what="prompts file"), path)
    if not 1 <= len(items) <= MAX_LABEL:
        raise InputError(
            f"{path}: found {len(items)} prompts, expected 1 to {MAX_LABEL}; "
            f"{'split the file' if items else 'write one prompt a line or a list of them'}."
        )
    return _numbered(items)


def number_prompts(entries: Sequence[tuple[str, object]]) -> list[Prompt]:
    """Prompts of (place, entry) pairs; entries are those of a `.json` prompts file.

    Args:
        entries: at least one; the place is for messages.

    Raises:
        InputError: as `read_prompts_file`.
    """
    if len(entries) > MAX_LABEL:
        raise InputError(
            f"{entries[0][0]}: found {len(entries)} prompts for one image, expected at most {MAX_LABEL}; "
            "split them."
        )
    return _numbered([_from_entry(entry, where) for where, entry in entries])


def check_label_numbers(prompts: Sequence[Prompt]) -> None:
    """Refuse prompts that cannot share a uint8 label map.

    Raises:
        InputError: no prompts, a label number outside 1 to 255, or one used twice.
    """
    if not prompts:
        raise InputError("prompts: found none, expected at least one; say what to segment.")
    seen: dict[int, Prompt] = {}
    for prompt in prompts:
        if not 1 <= prompt.label <= MAX_LABEL:
            raise InputError(
                f"prompts: '{prompt.text}' has label {prompt.label}, expected 1 to {MAX_LABEL}; label maps "
                "are 8 bit: change the number or use fewer prompts."
            )
        if prompt.label in seen:
            raise InputError(
                f"prompts: '{seen[prompt.label].text}' and '{prompt.text}' both have label {prompt.label}, "
                "expected a different number for each; change one."
            )
        seen[prompt.label] = prompt


@dataclass(frozen=True)
class _Item:
    """A prompt as the file has it: `label` may be open. `where` names the file and the line or item."""

    where: str
    text: str
    name: str
    label: int | None = None
    colour: tuple[int, int, int] | None = None


def _from_lines(content: str, path: Path) -> list[_Item]:
    items = []
    for number, line in enumerate(content.split("\n"), start=1):
        if line.strip() and not line.lstrip().startswith("#"):
            where = f"{path}, line {number}"
            text = check_prompt(line, field=where)
            items.append(_Item(where, text, text))
    return items


def _from_json(content: str, path: Path) -> list[_Item]:
    try:
        entries = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: found no valid JSON ({error}), expected a list of prompts.") from error
    if not isinstance(entries, list):
        raise InputError(
            f"{path}: found {_json_type(entries)}, expected a list of prompts; put them between [ and ]."
        )
    return [_from_entry(entry, f"{path}, item {number}") for number, entry in enumerate(entries, start=1)]


def _from_entry(entry: object, where: str) -> _Item:
    if isinstance(entry, str):
        entry = {"prompt": entry}
    if not isinstance(entry, dict) or "prompt" not in entry:
        found = "an object without prompt" if isinstance(entry, dict) else _json_type(entry)
        raise InputError(f'{where}: found {found}, expected text or {{"prompt": text}}.')
    for key in entry:
        if key not in _KEYS:
            raise InputError(f"{where}: found the key {reprlib.repr(key)}, expected {', '.join(_KEYS)}.")
    text = check_prompt(entry["prompt"], field=where)
    name = check_prompt(entry["name"], field=f"{where}, name") if "name" in entry else text
    return _Item(where, text, name, _label(entry.get("label"), where), _colour(entry.get("colour"), where))


def _label(value: Any, where: str) -> int | None:
    if value is not None and not _is_int(value, 1, MAX_LABEL):
        raise InputError(
            f"{where}: found the label {reprlib.repr(value)}, expected a whole number from 1 to {MAX_LABEL}."
        )
    return value


def _colour(value: Any, where: str) -> tuple[int, int, int] | None:
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != 3 or not all(_is_int(part, 0, 255) for part in value):
        raise InputError(
            f"{where}: found the colour {reprlib.repr(value)}, expected three whole numbers from 0 to 255 "
            "(red, green, blue)."
        )
    return (value[0], value[1], value[2])


def _is_int(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _json_type(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _numbered(items: list[_Item]) -> list[Prompt]:
    """Give the items without a label the lowest free numbers, in order, and refuse doubles."""
    items = [one for item in items for one in _both(item)]
    given = [item.label for item in items if item.label is not None]
    free = (label for label in range(1, MAX_LABEL + 1) if label not in given)
    prompts = [
        Prompt(item.text, item.name, next(free) if item.label is None else item.label, item.colour)
        for item in items
    ]
    places = [item.where for item in items]
    _refuse_doubles("name", [prompt.name for prompt in prompts], places)
    _refuse_doubles("label", [prompt.label for prompt in prompts], places)
    return prompts


def ask_both(text: str) -> list[str]:
    """The names of both organs of a text such as "both kidneys", which a label map has a number each for.

    A list with `text` alone where it is none of these.
    """
    pair = _vocabulary().pair(text)
    return [text] if pair is None else [organ.name for organ in pair]


@lru_cache(maxsize=1)
def _vocabulary() -> Vocabulary:
    return Vocabulary.load()


def _both(item: _Item) -> list[_Item]:
    """The item, or one for each organ of a pair; a name, label or colour of its own keeps it one."""
    if item.name != item.text or item.label is not None or item.colour is not None:
        return [item]
    return [replace(item, text=text, name=text) for text in ask_both(item.text)]


def _refuse_doubles(what: str, values: Iterable[object], places: list[str]) -> None:
    first: dict[object, str] = {}
    for value, where in zip(values, places, strict=True):
        if value in first:
            raise InputError(
                f"{where}: found the {what} {value!r} again (first in {first[value]}), "
                f"expected every {what} once; change one of them."
            )
        first[value] = where

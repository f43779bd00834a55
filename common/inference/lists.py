"""Lists of inputs in a file."""

import csv
import json
from pathlib import Path
from typing import Any

from ..errors import InputError

ENDINGS = (".csv", ".json")
COLUMN = "image"


def read_list(path: Path) -> list[str]:
    """Inputs named in a `.csv` with a column "image", or in a `.json` list of paths or {"image": path}.

    Raises:
        InputError: another shape, or an entry without a path.
    """
    try:
        text = path.read_text("utf-8-sig")
        entries = json.loads(text) if path.suffix == ".json" else _rows(text)
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as a list of inputs ({error}); correct it.") from error
    if not isinstance(entries, list) or not entries:
        raise InputError(f"{path}: found no list of inputs, expected at least one; write paths into it.")
    return [_path_of(entry, f"{path}, item {number}") for number, entry in enumerate(entries, start=1)]


def _rows(text: str) -> list[dict[str, Any]]:
    return list(csv.DictReader(text.splitlines()))


def _path_of(entry: Any, where: str) -> str:
    value = entry.get(COLUMN) if isinstance(entry, dict) else entry
    if not isinstance(value, str) or not value.strip():
        raise InputError(f'{where}: found no path, expected text or a field "{COLUMN}"; correct it.')
    if value.strip().endswith(ENDINGS):
        raise InputError(f"{where}: found another list, expected an image or a folder; name its images here.")
    return value.strip()

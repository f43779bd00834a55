"""Text files that users write, with editors and spreadsheets of any kind."""

import codecs
import csv
import io
import os
from pathlib import Path
from typing import Any

from .errors import InputError

_NO_UTF_8 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)  # UTF-32 begins with the same bytes


def read_user_text(path: str | os.PathLike[str], *, what: str) -> str:
    """The text of a file in UTF-8, with or without a byte order mark.

    Args:
        what: the file is, for messages, such as "prompts file".

    Raises:
        InputError: the file is missing or unreadable, or in another encoding.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give the path of a {what}.") from error
    if content.startswith(_NO_UTF_8) or b"\0" in content[:2]:  # of UTF-16 without a mark
        raise InputError(f"{path}: found UTF-16 text, expected UTF-8 text; save the file as UTF-8.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: found the byte 0x{content[error.start]:02x} at position {error.start}, expected UTF-8 "
            "text; save the file as UTF-8."
        ) from error


def read_rows(text: str) -> list[dict[str, Any]]:
    """Rows of a CSV by the names of their columns in lower case, without empty cells.

    Cells beyond the last column stand under None.

    Raises:
        ValueError: cells are separated by semicolons, as spreadsheets of many countries write them, or two
            columns have one name.
        csv.Error: quotation marks that do not close.
    """
    rows = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    names = [name.strip().lower() for name in rows.fieldnames or ()]
    if any(";" in name for name in names):
        raise ValueError("found semicolons between its columns, expected commas")
    if len(set(names)) < len(names):
        raise ValueError(f"found the columns {', '.join(names)}, expected each name once")
    rows.fieldnames = names
    return [{name: cell for name, cell in row.items() if cell} for row in rows]


def whole(value: object) -> object:
    """41 for 41.0 and "41.0", as spreadsheets write a column with empty cells; anything else as it is."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str):
        number, _, rest = value.strip().partition(".")
        if number.isascii() and number.isdecimal() and rest.strip("0") == "":
            return number
    return value

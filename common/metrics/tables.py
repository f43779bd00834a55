"""Rows as CSV and summaries as JSON."""

import csv
import json
import math
import os
from collections.abc import Sequence
from typing import Any

from ..files import NOT_UTF8, atomic_path
from .segmentation import Row


def write_rows(path: str | os.PathLike[str], rows: Sequence[Row]) -> None:
    """Write rows as CSV, one column a key in the order of first appearance; "inf" and "nan" stand as such.

    A field is empty where the row has no such metric, as of a volume, which has no area.

    Raises:
        InputError: the folder cannot be written to.
    """
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with (
        atomic_path(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors=NOT_UTF8) as file,
    ):
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def write_summary(path: str | os.PathLike[str], summary: dict[str, Any]) -> None:
    """Write a summary as JSON; a number that is not finite becomes null, which JSON has.

    Raises:
        InputError: the folder cannot be written to.
    """
    with atomic_path(path) as temporary:
        text = json.dumps(_finite(summary), indent=2, ensure_ascii=False, allow_nan=False)
        temporary.write_text(text + "\n", "utf-8", NOT_UTF8)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

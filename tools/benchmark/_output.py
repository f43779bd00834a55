"""Where the numbers of a benchmark go: a table that is printed, and a file."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common.files import atomic_path


def report(results: dict[str, Any], table: Callable[[dict[str, Any]], str], path: Path | None) -> int:
    """Print the table of `results` and write them; returns the exit code of a benchmark that is done."""
    print(table(results))
    write_results(results, path)
    return 0


def write_results(results: dict[str, Any], path: Path | None) -> None:
    """Write `results` as JSON; None writes nothing."""
    if path is not None:
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")

"""Where the numbers of a benchmark go beside the table that is printed."""

import json
from pathlib import Path
from typing import Any

from common.files import atomic_path


def write_results(results: dict[str, Any], path: Path | None) -> None:
    """Write `results` as JSON; None writes nothing."""
    if path is not None:
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")

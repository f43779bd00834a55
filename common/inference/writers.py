"""What a case leaves behind: its files and the report that lists them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .clock import Clock
from .outputs import Finished, write_outputs
from .staging import publish


def write_case(
    finished: Finished, report: dict[str, Any], *, kinds: Sequence[str], folder: Path
) -> dict[str, Any]:
    """Write all files of a case by way of `folder`, the report `<case>_seg.json` last.

    Args:
        finished: the segmented case.
        report: what `case_report` gave.
        kinds: of outputs, see `outputs`.
        folder: a hidden one beside the outputs, see `staging`.

    Returns:
        The report with the files' names by kind and the seconds that writing took.

    Raises:
        OSError: no space or permission.
    """
    clock = Clock()
    names: dict[str, list[str]] = {}
    for kind in kinds:
        with clock(f"write {kind}"):
            names[kind] = write_outputs(kind, finished, folder)
    seconds = {**report["seconds"], **{part: round(value, 4) for part, value in clock.seconds.items()}}
    full = {**report, "outputs": names, "seconds": seconds}
    summary = finished.case.output(".json").name
    (folder / summary).write_text(json.dumps(full, indent=4, ensure_ascii=False) + "\n", "utf-8")
    files = [name for of_kind in names.values() for name in of_kind]
    publish(folder, [*files, summary], to=finished.case.stem.parent)
    return full

"""What a case leaves behind: its files and the report that lists them."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..files import NOT_UTF8
from ..inference.clock import Clock
from .kinds import Finished, write_outputs
from .staging import publish

logger = logging.getLogger(__name__)


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
        The report with the files' names by kind, their sizes and the seconds that writing took.

    Raises:
        OSError: no space or permission.
    """
    clock = Clock()
    names: dict[str, list[str]] = {}
    for kind in kinds:
        with clock(f"write {kind}"):
            names[kind] = write_outputs(kind, finished, folder)
    seconds = {**report["seconds"], **{part: round(value, 4) for part, value in clock.seconds.items()}}
    files = [name for of_kind in names.values() for name in of_kind]
    sizes = {name: (folder / name).stat().st_size for name in files}
    full = {**report, "outputs": names, "output_bytes": sizes, "seconds": seconds}
    summary = finished.case.output(".json").name
    _say_what_stays(finished.case.output(".json"), files)
    (folder / summary).write_text(json.dumps(full, indent=4, ensure_ascii=False) + "\n", "utf-8", NOT_UTF8)
    publish(folder, [*files, summary], to=finished.case.stem.parent)
    return full


def outputs_of(report: dict[str, Any]) -> list[str]:
    """Names of the files that a report lists.

    Raises:
        LookupError, TypeError, AttributeError: it is none of ours.
    """
    return [name for of_kind in report["outputs"].values() for name in of_kind]


def _say_what_stays(report: Path, files: Sequence[str]) -> None:
    """Files of an earlier run with other outputs or prompts may be wanted: they are named, not removed."""
    try:
        earlier = outputs_of(json.loads(report.read_text("utf-8")))
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return
    stays = [name for name in earlier if name not in files and (report.parent / name).is_file()]
    if stays:
        logger.warning(
            "%s: files of an earlier run stay beside the new ones (%s); remove them if they are not wanted.",
            report.parent,
            ", ".join(stays),
        )

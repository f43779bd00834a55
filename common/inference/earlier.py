"""Reports of earlier runs in a folder, and whether their files are still as written."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pydicom

from ..data.readers import read_any
from ..fingerprint import source_sha256

REPORT_ENDING = "_seg.json"


class Earlier(NamedTuple):
    """What a case's report says, beside what is there.

    Attributes:
        fingerprint: of the input and request that it was made of.
        complete: whether all outputs are there as they were written.
        changed: names of outputs that are whole and others: corrected by hand, or by another program.
    """

    fingerprint: str
    complete: bool
    changed: tuple[str, ...]


def earlier_outputs(report: Path) -> Earlier | None:
    """What an earlier run left of the case with this report; None without a report of ours.

    A file that differs and cannot be read is no correction: a copy that was cut off, or a disk that was full.

    Raises:
        OSError: an output cannot be read.
    """
    content = _read(report)
    if content is None:
        return None
    hashes, folder = content["output_sha256"], report.parent
    paths = [folder / name for name in outputs_of(content)]
    different = [path for path in paths if not path.is_file() or source_sha256(path) != hashes.get(path.name)]
    changed = tuple(path.name for path in different if path.is_file() and _can_be_read(path))
    return Earlier(content["fingerprint"], not different and not content["failed_outputs"], changed)


def outputs_in(folder: Path, names: Iterable[str]) -> set[str]:
    """Which of the files in a folder the reports there list as their outputs."""
    reports = [_read(folder / name) for name in names if name.endswith(REPORT_ENDING)]
    return {name for report in reports if report is not None for name in outputs_of(report)}


def outputs_of(report: dict[str, Any]) -> list[str]:
    """Names of the files that a report lists."""
    return [name for of_kind in report["outputs"].values() for name in of_kind]


def names_in(report: Path) -> list[str]:
    """As `outputs_of`, of a file; none where it is no report of ours."""
    content = _read(report)
    return [] if content is None else outputs_of(content)


def _read(report: Path) -> dict[str, Any] | None:
    """A report of a case; None if the file is not one of ours."""
    try:
        content = json.loads(report.read_text("utf-8"))
        ours = isinstance(content["fingerprint"], str) and isinstance(content["failed_outputs"], dict)
        content["output_sha256"].get("")
        return content if ours and all(isinstance(name, str) for name in outputs_of(content)) else None
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def _can_be_read(path: Path) -> bool:
    try:
        if path.suffix == ".dcm":
            pydicom.dcmread(path)
        else:
            read_any(path)
    except Exception:  # whatever a reader of a broken file raises
        return False
    return True

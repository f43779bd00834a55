"""What a case leaves behind: its files and the report that lists them."""

import json
import logging
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..fingerprint import source_sha256
from ..inference.clock import Clock
from ..inference.earlier import names_in
from .kinds import FROM_DICOM, Finished, write_outputs
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
        The report with the files' names by kind, their sizes and hashes, the seconds that writing took, and
        `failed_outputs`: of every kind that could not be written, why. The others are there.

    Raises:
        InputError: none of the kinds could be written.
        OSError: no space or permission.
    """
    clock = Clock()
    names: dict[str, list[str]] = {}
    failed: dict[str, str] = {}
    for kind in kinds:
        try:
            with clock(f"write {kind}"):
                names[kind] = write_outputs(kind, finished, folder)
        except OSError:  # of the disk, which all of them share
            raise
        except Exception as error:  # a kind that cannot be must not take the others along, whatever is wrong
            failed[kind] = _sentence(kind, finished, error)
    if not names:
        raise InputError("; ".join(failed.values()))
    seconds = {**report["seconds"], **{part: round(value, 4) for part, value in clock.seconds.items()}}
    files = [name for of_kind in names.values() for name in of_kind]
    full = {
        **report,
        "outputs": names,
        "output_bytes": {name: (folder / name).stat().st_size for name in files},
        "output_sha256": {name: source_sha256(folder / name) for name in files},
        "failed_outputs": failed,
        "seconds": seconds,
    }
    summary = finished.case.output(".json").name
    _say_what_stays(finished.case.output(".json"), files)
    (folder / summary).write_text(json.dumps(full, indent=4, ensure_ascii=False) + "\n", "utf-8")
    publish(folder, [*files, summary], to=finished.case.stem.parent)
    return full


def _sentence(kind: str, finished: Finished, error: Exception) -> str:
    """Why a kind could not be written. What other libraries say of DICOM may show a patient's values."""
    if isinstance(error, InputError):
        return str(error)
    where = traceback.extract_tb(error.__traceback__)[-1]
    reason = f"{type(error).__name__} in {Path(where.filename).name}, line {where.lineno}"
    if kind not in FROM_DICOM:
        logger.error("%s: %s failed.", finished.case.source, kind, exc_info=error)
        reason = f"{type(error).__name__}: {error}"
    return f"{finished.case.source}: {kind} could not be written ({reason}); leave it out of outputs."


def _say_what_stays(report: Path, files: Sequence[str]) -> None:
    """Files of an earlier run with other outputs or prompts may be wanted: they are named, not removed."""
    stays = [name for name in names_in(report) if name not in files and (report.parent / name).is_file()]
    if stays:
        logger.warning(
            "%s: files of an earlier run stay beside the new ones (%s); remove them if they are not wanted.",
            report.parent,
            ", ".join(stays),
        )

"""What a case leaves behind: label map, picture and report, all of them or none."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from ..data.volumes import Volume, write_labels
from ..errors import InputError
from .cases import Case
from .clock import Clock
from .preview import write_preview
from .segmentation import Segmentation


def write_case(
    case: Case,
    volume: Volume,
    segmentation: Segmentation,
    report: dict[str, Any],
    *,
    window_hu: tuple[float, float],
) -> dict[str, Any]:
    """Write `<case>_seg.nii.gz`, `.png` and `.json`; returns the report with outputs and writing times.

    Everything is written to a hidden folder first and then moved, the report last: a case that has a
    report is whole.

    Raises:
        InputError: the output folder cannot be written to, or the disk is full.
    """
    clock = Clock()
    labels, preview, summary = case.output(".nii.gz"), case.output(".png"), case.output(".json")
    try:
        case.stem.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".partial-", dir=case.stem.parent) as name:
            folder = Path(name)
            with clock("write"):
                write_labels(folder / labels.name, segmentation.labels, like=volume)
            with clock("preview"):
                write_preview(folder / preview.name, volume, segmentation, window_hu=window_hu)
            full = {
                **report,
                "outputs": {"labels": labels.name, "preview": preview.name},
                "seconds": {**report["seconds"], **{part: round(s, 4) for part, s in clock.seconds.items()}},
            }
            (folder / summary.name).write_text(json.dumps(full, indent=4, ensure_ascii=False) + "\n", "utf-8")
            summary.unlink(missing_ok=True)
            for path in (labels, preview, summary):
                os.replace(folder / path.name, path)
    except OSError as error:
        raise InputError(
            f"{case.stem.parent}: cannot write there ({error.strerror or error}), expected a folder with "
            "space and write permission; choose another output folder or free space."
        ) from error
    return full

"""What was done to a case, as a JSON that a program can read."""

import hashlib
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import monai
import torch

from .. import __version__
from ..data.volumes import Volume
from .segmentation import PromptResult, Segmentation


def case_report(
    source: str | os.PathLike[str],
    volume: Volume,
    segmentation: Segmentation,
    *,
    settings: dict[str, Any],
    checkpoint: dict[str, str] | None,
) -> dict[str, Any]:
    """Report of a case: prompts and what they found, input, settings, versions, seconds by part.

    Args:
        source: the input file.
        settings: what else decided the result, such as the window and the presence threshold.
        checkpoint: `describe_checkpoint` of the weights, or None when they are not known.
    """
    return {
        "input": os.fspath(source),
        "shape": list(segmentation.labels.shape),
        "spacing_mm": list(volume.spacing_mm),
        "axes": "slices inferior to superior, rows anterior to posterior, columns right to left",
        "prompts": [_prompt(result) for result in segmentation.results],
        "settings": settings,
        "checkpoint": checkpoint,
        "versions": versions(),
        "seconds": {part: round(seconds, 4) for part, seconds in segmentation.seconds.items()},
    }


def _prompt(result: PromptResult) -> dict[str, Any]:
    return {
        "prompt": result.prompt.text,
        "name": result.prompt.name,
        "label": result.prompt.label,
        "voxels": result.voxels,
        "ml": round(result.ml, 4),
        "slices": asdict(result.slices),
        "presence_score": round(result.presence_score, 6),
        "present": result.present,
        "overlap_voxels": result.overlap_voxels,
    }


def versions() -> dict[str, str]:
    """Versions of what computed the result."""
    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "monai": monai.__version__,
        "common": __version__,
    }


def describe_checkpoint(path: str | os.PathLike[str]) -> dict[str, str]:
    """Path and sha256 of a checkpoint file."""
    with open(path, "rb") as file:
        return {"path": os.fspath(path), "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def prompt_table(results: Sequence[dict[str, Any]]) -> str:
    """The report's prompts as lines of text for a terminal."""
    lines = []
    for row in results:
        where = f"{row['slices']['count']} slices" if row["slices"]["count"] else "not found"
        lines.append(f"  {row['label']:3d} {row['name']}: {row['ml']:.1f} ml, {where}, ")
        lines[-1] += f"presence {row['presence_score']:.2f}"
    return "\n".join(lines)

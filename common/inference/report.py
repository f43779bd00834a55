"""What was done to a case, as a JSON that a program can read."""

import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import monai
import torch

from .. import __version__
from ..data.volumes import Volume
from ..errors import InputError
from ..fingerprint import source_sha256, value_sha256
from ..printable import printable
from ..text.doubts import doubts
from .cases import InputCase
from .segmentation import Extent, PromptResult, Segmentation

AXES = "slices inferior to superior, rows anterior to posterior, columns right to left"
AXES_2D = "one slice, rows top to bottom, columns left to right"


def shared_request(
    *,
    settings: dict[str, Any],
    weights: str,
    checkpoint: dict[str, str] | None,
    series: str | None = None,
) -> dict[str, Any]:
    """What decides the outputs of all cases of a run.

    Args:
        settings: of inferer and network.
        weights: sha256 of the network's state dict.
        checkpoint: `describe_checkpoint` of the file that they came from, if known.
        series: which was asked for of DICOM folders with several.
    """
    return {
        "settings": settings,
        "weights_sha256": weights,
        "checkpoint": checkpoint,
        "series": series,
        "versions": versions(),
    }


def request_of(case: InputCase, shared: dict[str, Any]) -> dict[str, Any]:
    """All but the input that decides what a case's outputs are; `shared` is what `shared_request` gave."""
    return {
        "prompts": [asdict(prompt) for prompt in case.prompts],
        "slice": case.slice_index,
        **shared,
    }


def case_report(
    source: str | os.PathLike[str],
    volume: Volume,
    segmentation: Segmentation,
    *,
    sha256: str,
    request: dict[str, Any],
) -> dict[str, Any]:
    """Report of a case: prompts and what they found, input, settings, versions, seconds by part.

    Args:
        source: the input file, and `sha256` its hash.
        request: what `request_of` gave.
    """
    judged = request["settings"]["presence_threshold"] > 0
    return {
        "input": os.fspath(source),
        "input_sha256": sha256,
        "shape": list(segmentation.labels.shape),
        "spacing_mm": list(volume.spacing_mm) if volume.in_mm else None,
        "axes": AXES if volume.in_mm else AXES_2D,
        **request,
        "prompts": [_prompt(result, in_mm=volume.in_mm, judged=judged) for result in segmentation.results],
        "fingerprint": value_sha256([sha256, request]),
        "seconds": {part: round(seconds, 4) for part, seconds in segmentation.seconds.items()},
    }


def _prompt(result: PromptResult, *, in_mm: bool, judged: bool) -> dict[str, Any]:
    return {
        "prompt": result.prompt.text,
        "name": result.prompt.name,
        "label": result.prompt.label,
        **_extent(result.labelled, in_mm=in_mm),
        "mask": _extent(result.mask, in_mm=in_mm),
        "presence_score": round(result.presence_score, 6),
        "present": result.present if judged else None,
        "overlap_voxels": result.overlap_voxels,
        "warnings": doubts(result.prompt.text),
    }


def _extent(extent: Extent, *, in_mm: bool) -> dict[str, Any]:
    return {
        "voxels": extent.voxels,
        "ml": round(extent.ml, 4) if in_mm else None,
        "slices": asdict(extent.slices),
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
    """Path and sha256 of a checkpoint file.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return {"path": os.fspath(path), "sha256": source_sha256(path)}
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}), expected a checkpoint; name its file."
        ) from error


def prompt_table(results: Sequence[PromptResult], *, in_mm: bool) -> str:
    """What the prompts found, as lines of text for a terminal."""
    lines = []
    for result in results:
        count = result.mask.slices.count
        where = f"{count} slice{'s' if count > 1 else ''}" if count else "not found"
        lines.append(
            f"  {result.prompt.label:3d} {printable(result.prompt.name)}: {result.size(in_mm=in_mm)}, "
        )
        lines[-1] += f"{where}, presence {result.presence_score:.2f}"
    return "\n".join(lines)

"""Reports of a case and of a run, as JSON for programs and lines for a terminal."""

import json
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

import monai
import torch

from .. import __version__
from ..data.volumes import Volume
from ..errors import InputError
from ..files import NOT_UTF8, atomic_path
from ..fingerprint import source_sha256, value_sha256
from ..terminal import printable
from ..text.doubts import doubts
from .cases import InputCase
from .segmentation import Extent, PromptResult, Segmentation

SHOWN_FAILURES = 5

Status = Literal["done", "skipped", "failed"]
AXES = "slices inferior to superior, rows anterior to posterior, columns right to left"
AXES_2D = "one slice, rows top to bottom, columns left to right"


def shared_request(
    *,
    settings: dict[str, Any],
    weights: str,
    checkpoint: dict[str, str] | None,
    series: str | None = None,
) -> dict[str, Any]:
    """The part of a request that all cases of a run share.

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
    """Everything but the input that determines a case's outputs; `shared` comes from `shared_request`."""
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
        "removed_voxels": result.removed_voxels,
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


class CasesFailedError(InputError):
    """Some cases of a run failed; the others are done."""


@dataclass(frozen=True)
class Outcome:
    """One case: its input, its report file, and why it failed if it did."""

    input: str
    report: str
    status: Status
    seconds: float
    reason: str | None = None


@dataclass
class RunReport:
    """Collects the outcomes of a run.

    Attributes:
        total: cases that the run is to do.
        outcomes: of the cases that are through.
        slices: of the cases that were segmented.
    """

    total: int
    outcomes: list[Outcome] = field(default_factory=list)
    slices: int = 0
    started: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    _since: float = field(default_factory=time.perf_counter)

    def add(self, case: InputCase, status: Status, reason: str | None = None) -> None:
        """Note a case's outcome; its seconds are those since the last one."""
        now = time.perf_counter()
        seconds = round(now - self._since, 3)
        self.outcomes.append(Outcome(str(case.source), str(case.output(".json")), status, seconds, reason))
        self._since = now

    def count(self, status: str) -> int:
        """Cases with a status."""
        return sum(outcome.status == status for outcome in self.outcomes)

    @property
    def speed(self) -> str:
        """Slices a second over the cases that were segmented, reading and writing included; "" before."""
        seconds = sum(outcome.seconds for outcome in self.outcomes if outcome.status == "done")
        return f"{self.slices / seconds:.1f} slices/s" if seconds > 0 else ""

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write it as JSON, also when the run was cut short (`cases` then says how many there were)."""
        content = {
            "started": self.started,
            "ended": datetime.now(UTC).isoformat(timespec="seconds"),
            "cases": self.total,
            **{status: self.count(status) for status in ("done", "skipped", "failed")},
            "versions": versions(),
            "outcomes": [asdict(outcome) for outcome in self.outcomes],
        }
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(content, indent=4, ensure_ascii=False) + "\n", "utf-8", NOT_UTF8)

    def raise_if_failed(self) -> None:
        """Raise when a case failed.

        Raises:
            CasesFailedError: names the first of them with their reasons.
        """
        reasons = [str(outcome.reason).rstrip(".") for outcome in self.outcomes if outcome.status == "failed"]
        if reasons:
            more = f"; and {len(reasons) - SHOWN_FAILURES} more" if len(reasons) > SHOWN_FAILURES else ""
            shown = "; ".join(reasons[:SHOWN_FAILURES])
            raise CasesFailedError(f"{len(reasons)} of {self.total} cases failed: {shown}{more}.")

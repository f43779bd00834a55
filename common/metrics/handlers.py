"""What an evaluating engine hangs its results onto: tables of every case, prompt and slice."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import ignite.distributed as idist
from ignite.engine import Engine, Events

from .aggregate import GROUPS, IDENTITY, summarise, write_rows, write_summary
from .distances import Boundary
from .prompts import measure_prompts
from .segmentation import TOLERANCES_MM, Row

_log = logging.getLogger(__name__)


class CaseReport:
    """Measure every prompt's own mask of an `Evaluator`'s cases and write three tables when its epoch ends.

    volumes.csv has a row a case and prompt, slices.csv one for each slice that target or mask has (see
    `measure_prompts`), summary.json what `aggregate.summarise` says of the volumes (`volumes`) and of the
    slices (`slices`). Processes of a distributed evaluation share their rows; the first one writes.

    Args:
        output_dir: folder to write to.
        boundaries, tolerances_mm, slice_boundaries, instances: see `measure_case`.
        penalty_mm: see `aggregate.summarise`; of volumes and of slices.
    """

    def __init__(
        self,
        output_dir: str,
        *,
        boundaries: Sequence[Boundary] = ("surfel",),
        tolerances_mm: Sequence[float] = TOLERANCES_MM,
        slice_boundaries: Sequence[Boundary] = (),
        instances: bool = False,
        penalty_mm: float | None = None,
    ) -> None:
        self.output_dir = Path(output_dir)
        self.boundaries = list(boundaries)
        self.tolerances_mm = list(tolerances_mm)
        self.slice_boundaries = list(slice_boundaries)
        self.instances = instances
        self.penalty_mm = penalty_mm
        self._volumes: list[Row] = []
        self._slices: list[Row] = []

    def attach(self, engine: Engine) -> None:
        """Collect after every iteration of `engine`, write after its epoch."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._write)

    def _start(self, _: Engine) -> None:
        self._volumes, self._slices = [], []

    def _collect(self, engine: Engine) -> None:
        output = cast(dict[str, Any], engine.state.output)
        rows = measure_prompts(
            output["label"],
            output["pred"],
            boundaries=self.boundaries,
            tolerances_mm=self.tolerances_mm,
            slice_boundaries=self.slice_boundaries,
            instances=self.instances,
        )
        self._volumes += rows.volumes
        self._slices += rows.slices

    def _write(self, _: Engine) -> None:
        volumes, slices = _of_all_processes(self._volumes), _of_all_processes(self._slices)
        if idist.get_rank() != 0:
            return
        write_rows(self.output_dir / "volumes.csv", volumes)
        write_rows(self.output_dir / "slices.csv", slices)
        of_volumes = summarise(volumes, penalty_mm=self.penalty_mm)
        summary = {
            "boundaries": self.boundaries,
            "slice_boundaries": self.slice_boundaries,
            "tolerances_mm": self.tolerances_mm,
            "volumes": of_volumes,
            "slices": summarise(slices, penalty_mm=self.penalty_mm),
        }
        write_summary(self.output_dir / "summary.json", summary)
        _log.info("%s: %s", self.output_dir, _means(of_volumes))
        for column in GROUPS:
            for value, part in of_volumes.get(f"by_{column}", {}).items():
                _log.info("%s, %s %s: %s", self.output_dir, column, value, _means(part))


def _means(summary: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in summary["mean_over_labels"].items())


def _of_all_processes(rows: list[Row]) -> list[Row]:
    """All rows once: where there are fewer cases than processes, every process has all of them."""
    parts = cast(list[list[Row]], idist.all_gather(rows)) if idist.get_world_size() > 1 else [rows]
    return list({tuple(row.get(name) for name in IDENTITY): row for part in parts for row in part}.values())

"""What an evaluating engine hangs its results onto: tables of every case, label and slice."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import ignite.distributed as idist
from ignite.engine import Engine, Events, State
from monai.utils.enums import CommonKeys

from ..errors import InputError
from .aggregate import IDENTITY, summarise
from .arrays import Spacing
from .cases import measure_case
from .distances import Boundary
from .segmentation import TOLERANCES_MM, Row
from .tables import write_rows, write_summary

if TYPE_CHECKING:
    from ..data.volumes import Volume
    from ..inference.segmentation import Segmentation

Item = dict[str, Any]
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CaseMasks:
    """Two label maps (D, H, W) of a case, {label number: name} to be found in it, and its spacing.

    `spacing_mm` may be None where `ref` is a MetaTensor: its affine then gives it. `facts` are more columns
    of its rows: what tells them apart (`aggregate.IDENTITY`), and metrics of their own. `first_slice` is the
    number of the maps' first slice in the file that they are of.
    """

    case: str
    pred: Any
    ref: Any
    labels: Mapping[int, str]
    spacing_mm: Spacing = None
    facts: Row = field(default_factory=dict)
    first_slice: int = 0


class TensorCases:
    """Cases from an engine that decollates its batches of label maps (1, D, H, W), as MONAI's do.

    Args:
        labels: {label number: name}; JSON's keys are text and that is fine.

    An item's name is its "case", else the file name of its label; its spacing "spacing_mm", else that
    of the label's affine.
    """

    def __init__(self, labels: Mapping[Any, str]) -> None:
        self.labels = {int(label): name for label, name in labels.items()}

    def __call__(self, state: State) -> list[CaseMasks]:
        batch, output = cast(list[Item], state.batch), cast(list[Item], state.output)
        return [self._case({**given, **found}) for given, found in zip(batch, output, strict=True)]

    def _case(self, item: Item) -> CaseMasks:
        pred, ref = item[CommonKeys.PRED], item[CommonKeys.LABEL]
        name = item.get("case") or getattr(ref, "meta", {}).get("filename_or_obj")
        if not name:
            raise InputError(
                'case: an item of the batch has no name; give it the key "case" or a label with a file name.'
            )
        return CaseMasks(str(name), pred[0], ref[0], self.labels, item.get("spacing_mm"))


class SegmentedVolumes:
    """Cases from an engine whose batch is one case, its prediction a `Segmentation` and its label a `Volume`.

    What was to be found are the organs of the case's prompts.
    """

    def __call__(self, state: State) -> list[CaseMasks]:
        item = {**cast(Item, state.batch), **cast(Item, state.output)}
        found: Segmentation = item[CommonKeys.PRED]
        reference: Volume = item[CommonKeys.LABEL]
        labels = {result.prompt.label: result.prompt.name for result in found.results}
        return [CaseMasks(str(item["case"]), found.labels, reference.slices, labels, reference.spacing_mm)]


class CaseReport:
    """Measure every case of an evaluating engine and write three tables when its epoch ends.

    volumes.csv has a row a case and label, slices.csv one for each slice that has the label in either map,
    summary.json what `aggregate.summarise` says of the volumes (`volumes`) and of the slices (`slices`).
    Processes of a distributed evaluation share their rows; the first one writes.

    Args:
        output_dir: folder to write to.
        cases: from the engine's state after an iteration to the cases of it: a `TensorCases`, a
            `SegmentedVolumes`, a `ReferredLesions` or any function like them.
        boundaries, tolerances_mm: see `segmentation.measure_labels`.
        penalty_mm: see `aggregate.summarise`.
    """

    def __init__(
        self,
        output_dir: str,
        cases: Callable[[State], Sequence[CaseMasks]],
        *,
        boundaries: Sequence[Boundary] = ("surfel",),
        tolerances_mm: Sequence[float] = TOLERANCES_MM,
        penalty_mm: float | None = None,
    ) -> None:
        self.output_dir = Path(output_dir)
        self.cases = cases
        self.boundaries = list(boundaries)
        self.tolerances_mm = list(tolerances_mm)
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
        for case in self.cases(engine.state):
            rows = measure_case(
                case.case,
                case.pred,
                case.ref,
                case.labels,
                spacing_mm=case.spacing_mm,
                boundaries=self.boundaries,
                tolerances_mm=self.tolerances_mm,
            )
            slices = [{**row, "slice": cast(int, row["slice"]) + case.first_slice} for row in rows.slices]
            for kept, measured in ((self._volumes, rows.volumes), (self._slices, slices)):
                kept += [
                    {"case": row["case"], "label": row["label"], **case.facts, **row} for row in measured
                ]

    def _write(self, _: Engine) -> None:
        volumes, slices = _of_all_processes(self._volumes), _of_all_processes(self._slices)
        if idist.get_rank() != 0:
            return
        write_rows(self.output_dir / "volumes.csv", volumes)
        write_rows(self.output_dir / "slices.csv", slices)
        of_volumes = summarise(volumes, penalty_mm=self.penalty_mm)
        summary = {
            "boundaries": self.boundaries,
            "tolerances_mm": self.tolerances_mm,
            "volumes": of_volumes,
            "slices": summarise(slices),
        }
        write_summary(self.output_dir / "summary.json", summary)
        means = of_volumes["mean_over_labels"].items()
        _log.info("%s: %s", self.output_dir, ", ".join(f"{name} {value:.3f}" for name, value in means))


def _of_all_processes(rows: list[Row]) -> list[Row]:
    """All rows once: samplers repeat cases so that every process gets as many."""
    parts = cast(list[list[Row]], idist.all_gather(rows)) if idist.get_world_size() > 1 else [rows]
    return list({tuple(row.get(name) for name in IDENTITY): row for part in parts for row in part}.values())

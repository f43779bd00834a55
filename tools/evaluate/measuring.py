"""Rows of every pair of files, several at a time."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from common.data.label_maps import read_label_map
from common.data.volumes import Volume
from common.errors import InputError
from common.metrics import CaseRows, measure_case, measure_prompt
from common.metrics.cases import in_pixels
from common.metrics.distances import Boundary
from common.metrics.segmentation import Row

from .pairs import Pair


@dataclass(frozen=True)
class Plan:
    """What to measure.

    Attributes:
        labels: {name: its numbers}, in both label maps; where a name has several, what is measured is all of
            their voxels, as of a liver with its tumour. None: all labels of the references, by their numbers.
        boundaries, tolerances_mm, instances: see `measure_case`.
        slice_distances: whether slices are measured by these boundaries too.
    """

    labels: Mapping[str, Sequence[int]] | None
    boundaries: Sequence[Boundary]
    tolerances_mm: Sequence[float]
    instances: bool = False
    slice_distances: bool = False


@dataclass(frozen=True)
class CaseResult:
    """What came of a pair.

    Attributes:
        volumes, slices: rows of the case by label name, and of its slices.
        in_pred, in_ref: numbers that each file has.
        in_mm: whether the rows are in mm, or in the pixels of a PNG.
        problem: why there are no rows.
    """

    pair: Pair
    volumes: Mapping[str, Row] = field(default_factory=dict)
    slices: Sequence[Row] = ()
    in_pred: frozenset[int] = frozenset()
    in_ref: frozenset[int] = frozenset()
    in_mm: bool = True
    problem: str | None = None


def measure_pair(pair: Pair, plan: Plan) -> CaseResult:
    """Measure one pair; what cannot be read or compared becomes the `problem` of the result."""
    try:
        ref = read_label_map(pair.ref)
        pred = read_label_map(pair.pred, like=ref)
        in_pred, in_ref = (frozenset(np.unique(v.slices).tolist()) - {0} for v in (pred, ref))
        labels = _by_number(in_pred | in_ref) if plan.labels is None else plan.labels
        rows = _measure(pair.case, pred, ref, labels, plan)
    except InputError as error:
        return CaseResult(pair, problem=str(error))
    volumes = {str(row["label"]): row for row in rows.volumes}
    return CaseResult(pair, volumes, rows.slices, in_pred, in_ref, in_mm=ref.in_mm)


def _by_number(numbers: Iterable[int]) -> dict[str, tuple[int, ...]]:
    return {str(number): (number,) for number in sorted(numbers)}


def _measure(
    case: str, pred: Volume, ref: Volume, labels: Mapping[str, Sequence[int]], plan: Plan
) -> CaseRows:
    """Rows of two label maps in the order of `labels`; a PNG is measured in its plane, and in pixels."""
    if ref.in_mm:
        return _measure_arrays(case, pred.slices, ref.slices, labels, plan, spacing_mm=ref.spacing_mm)
    return in_pixels(_measure_arrays(case, pred.slices[0], ref.slices[0], labels, plan, spacing_mm=(1, 1)))


def _measure_arrays(
    case: str,
    pred: np.ndarray,
    ref: np.ndarray,
    labels: Mapping[str, Sequence[int]],
    plan: Plan,
    *,
    spacing_mm: Sequence[float],
) -> CaseRows:
    """Names of one number, each its own, are measured in one pass: faster."""
    options: Any = {
        "spacing_mm": spacing_mm,
        "boundaries": plan.boundaries,
        "tolerances_mm": plan.tolerances_mm,
        "slice_boundaries": plan.boundaries if plan.slice_distances else (),
        "instances": plan.instances,
    }
    alone: dict[int, str] = {}
    for name, numbers in labels.items():
        if len(numbers) == 1:
            alone.setdefault(numbers[0], name)
    rows = measure_case(case, pred, ref, alone, **options)
    for name in (name for name in labels if name not in alone.values()):
        masks = (np.isin(array, labels[name]) for array in (pred, ref))
        several = measure_prompt(case, name, *masks, **options)
        rows = CaseRows(rows.volumes + several.volumes, rows.slices + several.slices)
    place = {name: number for number, name in enumerate(labels)}
    volumes, slices = (sorted(some, key=lambda row: place[str(row["label"])]) for some in rows)
    return CaseRows(volumes, slices)


def measure_pairs(pairs: Sequence[Pair], plan: Plan, *, workers: int) -> Iterator[CaseResult]:
    """Results as they become ready. Threads are enough: reading and measuring do not hold Python's lock."""
    with ThreadPoolExecutor(workers) as pool:
        for future in as_completed([pool.submit(measure_pair, pair, plan) for pair in pairs]):
            yield future.result()


def collect(results: Iterable[CaseResult], plan: Plan) -> tuple[CaseRows, list[str]]:
    """Rows with case and label name, of known labels and sorted by case, and a sentence for every problem.

    A label is known when `plan` names it or, where it names none, when a reference holds it. A case in
    which neither file has a known label gets a row with the status "absent".
    """
    results = sorted(results, key=lambda result: result.pair.case)
    in_refs = frozenset[int]().union(*(result.in_ref for result in results))
    labels = _by_number(in_refs) if plan.labels is None else plan.labels
    known = {number for numbers in labels.values() for number in numbers}
    rows = CaseRows([], [])
    problems: list[str] = []
    volume, plane = np.zeros((1, 1, 1), np.uint8), np.zeros((1, 1), np.uint8)
    in_mm = _measure_arrays("", volume, volume, labels, plan, spacing_mm=(1, 1, 1))
    flat = in_pixels(_measure_arrays("", plane, plane, labels, plan, spacing_mm=(1, 1)))
    for result in results:
        if result.problem:
            problems.append(result.problem)
            continue
        for path, found in ((result.pair.pred, result.in_pred), (result.pair.ref, result.in_ref)):
            if unknown := sorted(found - known):
                why = "no reference has" if plan.labels is None else "--labels does not name"
                problems.append(
                    f"{path}: label {', '.join(map(str, unknown))}, which {why}, was not measured"
                )
        absent = in_mm.volumes if result.in_mm else flat.volumes
        nothing = {str(row["label"]): {**row, "case": result.pair.case} for row in absent}
        rows.volumes.extend(result.volumes.get(name, nothing[name]) for name in labels)
        rows.slices.extend(row for row in result.slices if row["label"] in labels)
    return rows, problems

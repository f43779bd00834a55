"""Rows of every pair of files, several at a time."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field

import numpy as np

from common.data.volumes import check_same_grid
from common.errors import InputError
from common.metrics import CaseRows, measure_case, measure_labels
from common.metrics.distances import Boundary
from common.metrics.segmentation import Row

from .pairs import Pair
from .reading import read_label_map


@dataclass(frozen=True)
class Plan:
    """What to measure. Without `names`, all labels of the references are measured, by their numbers."""

    names: Mapping[int, str] | None
    boundaries: Sequence[Boundary]
    tolerances_mm: Sequence[float]
    instances: bool = False
    slice_distances: bool = False


@dataclass(frozen=True)
class CaseResult:
    """Rows of a case by label number and of its slices, labels that each file has, or why there are none."""

    pair: Pair
    volumes: Mapping[int, Row] = field(default_factory=dict)
    slices: Sequence[Row] = ()
    in_pred: frozenset[int] = frozenset()
    in_ref: frozenset[int] = frozenset()
    problem: str | None = None


def measure_pair(pair: Pair, plan: Plan) -> CaseResult:
    """Measure one pair; what cannot be read or compared becomes the `problem` of the result."""
    try:
        pred, ref = read_label_map(pair.pred), read_label_map(pair.ref)
        check_same_grid(pred, ref)
        in_pred, in_ref = (frozenset(np.unique(v.slices).tolist()) - {0} for v in (pred, ref))
        names = {n: str(n) for n in sorted(in_pred | in_ref)} if plan.names is None else plan.names
        rows = measure_case(
            pair.case,
            pred.slices,
            ref.slices,
            names,
            spacing_mm=ref.spacing_mm,
            boundaries=plan.boundaries,
            tolerances_mm=plan.tolerances_mm,
            slice_boundaries=plan.boundaries if plan.slice_distances else (),
            instances=plan.instances,
        )
    except InputError as error:
        return CaseResult(pair, problem=str(error))
    return CaseResult(pair, dict(zip(names, rows.volumes, strict=True)), rows.slices, in_pred, in_ref)


def measure_pairs(pairs: Sequence[Pair], plan: Plan, *, workers: int) -> Iterator[CaseResult]:
    """Results as they become ready. Threads are enough: reading and measuring do not hold Python's lock."""
    with ThreadPoolExecutor(workers) as pool:
        for future in as_completed([pool.submit(measure_pair, pair, plan) for pair in pairs]):
            yield future.result()


def collect(results: Iterable[CaseResult], plan: Plan) -> tuple[CaseRows, list[str]]:
    """Rows of known labels, sorted by case, and a sentence for every problem.

    A label is known when `plan` names it or, where it names none, when a reference holds it. A case in
    which neither file has a known label gets a row with the status "absent".
    """
    results = sorted(results, key=lambda result: result.pair.case)
    in_refs = sorted(frozenset().union(*(result.in_ref for result in results)))
    names = {label: str(label) for label in in_refs} if plan.names is None else plan.names
    rows = CaseRows([], [])
    problems: list[str] = []
    nowhere = np.zeros((1, 1, 1), np.uint8)
    absent = measure_labels(
        nowhere,
        nowhere,
        names,
        spacing_mm=(1, 1, 1),
        boundaries=plan.boundaries,
        tolerances_mm=plan.tolerances_mm,
        instances=plan.instances,
    )
    for result in results:
        if result.problem:
            problems.append(result.problem)
            continue
        for path, labels in ((result.pair.pred, result.in_pred), (result.pair.ref, result.in_ref)):
            if unknown := sorted(labels - names.keys()):
                known = "no reference has" if plan.names is None else "--labels does not name"
                problems.append(
                    f"{path}: label {', '.join(map(str, unknown))}, which {known}, was not measured"
                )
        for label, name in names.items():
            nothing = {"case": result.pair.case, "label": name, **absent[label]}
            rows.volumes.append(result.volumes.get(label, nothing))
        rows.slices.extend(row for row in result.slices if row["label"] in names.values())
    return rows, problems

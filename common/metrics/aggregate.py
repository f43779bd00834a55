"""From rows of cases to what is said of a data set, in which a miss always counts.

Per-case means and pooled overlap answer different questions and never share a name: `metrics.dsc.mean`
weighs every case alike, `pooled.dsc` every voxel alike (in 2D referring segmentation, the two means of IoU
are known as mIoU or gIoU, and oIoU or cIoU).
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from .overlap import COUNT_NAMES, Counts
from .segmentation import Row

RESAMPLES = 2000
IDENTITY = ("case", "label", "slice", "sentence", "patient")  # columns that say what a row is of
STATUSES = ("found", "missed", "false_positive", "absent")


def describe(
    values: Iterable[float], *, penalty: float | None = None, groups: Sequence[str] | None = None
) -> dict[str, Any]:
    """Mean, median and 95 % bootstrap interval of the mean (percentile method, seeded) of a metric.

    Args:
        values: NaN where both masks were empty: such cases say nothing and are not in `n`. inf where one
            was: it becomes `penalty`, or without one it is left out of the mean and counted in `left_out`.
        groups: whose each value is, such as the patient. Values of one patient are alike, and an interval
            that took them for strangers would be too narrow: so whole groups are drawn, and each draw's mean
            is over all of their values (a cluster bootstrap). None: each value is a group of its own.

    Returns:
        `n`, `left_out`, `penalty`, `mean`, `median` and `ci95`: mean and median None without a value, and the
        interval also where all values or groups are the same: a bootstrap would say that nothing else can be.
    """
    given = np.array(list(values), dtype=np.float64)
    of = np.arange(len(given)) if groups is None else np.unique(list(groups), return_inverse=True)[1]
    given, of = given[~np.isnan(given)], of[~np.isnan(given)]
    if penalty is not None:
        given[np.isinf(given)] = penalty
    used, of = given[np.isfinite(given)], of[np.isfinite(given)]
    result: dict[str, Any] = {"n": len(used), "left_out": len(given) - len(used), "penalty": penalty}
    if len(used) == 0:
        return result | {"mean": None, "median": None, "ci95": None}
    result |= {"mean": float(used.mean()), "median": float(np.median(used))}
    if (used == used[0]).all() or (of == of[0]).all():
        return result | {"ci95": None}
    sizes = np.unique(of, return_counts=True)[1]
    sums = np.bincount(np.unique(of, return_inverse=True)[1], weights=used)
    draws = np.random.default_rng(0).integers(0, len(sums), (RESAMPLES, len(sums)))
    means = sums[draws].sum(axis=1) / sizes[draws].sum(axis=1)
    low, high = np.percentile(means, (2.5, 97.5)).tolist()
    return result | {"ci95": [low, high]}


def with_interval(stats: Mapping[str, Any] | None, *, sign: str = "", digits: int = 3) -> str:
    """What `describe` found, for a table: "0.812 (0.790 to 0.831)", "1.000" without interval, or "-"."""
    if stats is None or stats["mean"] is None:
        return "-"
    mean, *ends = (f"{value:{sign}.{digits}f}" for value in (stats["mean"], *(stats["ci95"] or ())))
    return f"{mean} ({' to '.join(ends)})" if ends else mean


def pooled_overlap(rows: Sequence[Row]) -> dict[str, float]:
    """Overlap of all voxels of all cases as if they were one."""
    counts = (Counts(*(int(row[name]) for name in COUNT_NAMES)) for row in rows)
    return sum(counts, Counts(0, 0, 0)).overlap()


def summarise(rows: Sequence[Row], *, penalty_mm: float | None = None) -> dict[str, Any]:
    """What is said of each label and of all of them.

    Args:
        rows: with the keys "case" and "label" beside those of `measure_labels`. Where they say whose they are
            ("patient"), intervals are bootstraps over patients, else over rows.
        penalty_mm: distance that a missed or falsely found label counts as; without one, such cases are
            missing from the distances' means, and `left_out` beside each of these means counts them.

    Returns:
        labels: for each label `cases` (how many of each status), `pooled` (overlap), `metrics` (`describe`);
        mean_over_labels: for each metric the mean of the labels' means, every label alike.
    """
    labels: dict[str, Any] = {}
    for label in dict.fromkeys(str(row["label"]) for row in rows):
        of_label = [row for row in rows if str(row["label"]) == label]
        status = Counter(str(row["status"]) for row in of_label)
        known = "patient" in of_label[0]
        patients = [str(row["patient"]) for row in of_label] if known else None
        labels[label] = {
            "cases": {name: status[name] for name in STATUSES},
            "pooled": pooled_overlap(of_label),
            "metrics": {
                name: describe(
                    [float(row[name]) for row in of_label],
                    penalty=_penalty(name, penalty_mm),
                    groups=patients,
                )
                for name in metric_columns(of_label[0])
            },
        }
    means: dict[str, list[float]] = {}
    for summary in labels.values():
        for name, stats in summary["metrics"].items():
            if stats["mean"] is not None:
                means.setdefault(name, []).append(stats["mean"])
    return {"labels": labels, "mean_over_labels": {name: float(np.mean(v)) for name, v in means.items()}}


def metric_columns(row: Row) -> list[str]:
    """Names of a row's metrics, without what identifies it and its counts."""
    return [name for name in row if name not in (*IDENTITY, "status", *COUNT_NAMES)]


def _penalty(name: str, penalty_mm: float | None) -> float | None:
    """Only distances need one: shares and volumes are finite for a miss."""
    return penalty_mm if name.endswith("_mm") else None

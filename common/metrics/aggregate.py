"""From rows of cases to the summary of a data set, in which a miss always counts; both as files.

Per-case means and pooled overlap answer different questions and never share a name: `metrics.dsc.mean`
weighs every case alike, `pooled.dsc` every voxel alike (in 2D referring segmentation, the two means of IoU
are known as mIoU or gIoU, and oIoU or cIoU). `metrics` counts every case, a miss and a false positive as 0;
`metrics_present`, which many papers print, only cases that have the label in their reference.
"""

import csv
import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ..files import NOT_UTF8, atomic_path
from .overlap import COUNT_NAMES, Counts
from .segmentation import Row

RESAMPLES = 2000
SAME = 1e-9  # relative difference of means that is rounding
GROUPS = ("dataset", "level")  # columns whose values have summaries of their own, where there are several
IDENTITY = ("case", "label", "slice", "sentence", "patient", *GROUPS)  # columns that say what a row is of
STATUSES = ("found", "missed", "false_positive", "absent")
PRESENT = ("found", "missed")  # the reference has the label
PRED_SIZES = {
    "volume_pred_ml": "false_positive_ml",
    "area_pred_mm2": "false_positive_mm2",
    "area_pred_px2": "false_positive_px2",
}


def describe(
    values: Iterable[float], *, penalty: float | None = None, groups: Sequence[str] | None = None
) -> dict[str, Any]:
    """Mean, median, standard deviation and 95 % bootstrap interval of the mean of a metric.

    The bootstrap uses the percentile method and a fixed seed.

    Args:
        values: NaN where both masks were empty: such cases say nothing and are not in `n`. inf where one
            was: it becomes `penalty`, or without one it is left out of the mean and counted in `left_out`.
        groups: whose each value is, such as the patient. Values of one patient are alike, and an interval
            that took them for strangers would be too narrow: so whole groups are drawn, and each draw's mean
            is over all of their values (a cluster bootstrap). None: each value is a group of its own.

    Returns:
        `n`, `left_out`, `penalty`, `mean`, `median`, `std` and `ci95`. `std` is that of a sample (ddof=1),
        None with fewer than two values. Mean and median are None without a value, and the interval also
        where there is one group or all have one mean: a bootstrap would say that nothing else can be.
    """
    given = np.array(list(values), dtype=np.float64)
    of = np.arange(len(given)) if groups is None else np.unique(list(groups), return_inverse=True)[1]
    given, of = given[~np.isnan(given)], of[~np.isnan(given)]
    if penalty is not None:
        given[np.isinf(given)] = penalty
    used, of = given[np.isfinite(given)], of[np.isfinite(given)]
    result: dict[str, Any] = {"n": len(used), "left_out": len(given) - len(used), "penalty": penalty}
    if len(used) == 0:
        return result | {"mean": None, "median": None, "std": None, "ci95": None}
    result |= {"mean": float(used.mean()), "median": float(np.median(used))}
    result["std"] = float(used.std(ddof=1)) if len(used) > 1 else None
    sizes = np.unique(of, return_counts=True)[1]
    sums = np.bincount(np.unique(of, return_inverse=True)[1], weights=used)
    if np.allclose(sums / sizes, sums[0] / sizes[0], rtol=SAME, atol=0):  # of one group too
        return result | {"ci95": None}
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
    """Summaries of each label and of all labels together.

    Args:
        rows: with the keys "case" and "label" beside those of `measure_labels`. Intervals are bootstraps over
            patients where rows say whose they are ("patient"), else over cases. Rows of volumes, slices and
            2D images may stand together: a metric is then that of the rows that have it, and `n` counts them.
        penalty_mm: distance that a missed or falsely found label counts as; without one, such cases are
            missing from the distances' means, and `left_out` beside each of these means counts them, as it
            does for distances in pixels.

    Returns:
        labels: for each label
            cases: how many of each status;
            pooled: overlap of all voxels;
            metrics: `describe` of each metric over all cases: a miss and a false positive count;
            metrics_present: the same over the cases that have the label in their reference;
            absent: of the others, how many `cases`, the share of them with an empty prediction (`rejected`,
                None without a case) and `describe` of the predicted volume, 0 included (`false_positive_ml`,
                in 2D `false_positive_mm2`, of PNG files `false_positive_px2`). Rows of slices leave out what
                is empty, so that they have none.
        mean_over_labels: for each metric the mean of the labels' means in `metrics`, every label alike.
            Labels that no case has in its reference are not in it: nothing could have been found.
        mean_over_labels_present: the same of `metrics_present`.
        by_dataset, by_level: where the rows name two or more, {name: such a summary of its rows}; that of a
            data set has its own by_level.
    """
    return _summary(rows, penalty_mm) | _by_group(rows, GROUPS, penalty_mm)


def _summary(rows: Sequence[Row], penalty_mm: float | None) -> dict[str, Any]:
    """That of all rows alike."""
    labels: dict[str, Any] = {}
    for label in dict.fromkeys(str(row["label"]) for row in rows):
        labels[label] = _of_label([row for row in rows if str(row["label"]) == label], penalty_mm)
    return {
        "labels": labels,
        "mean_over_labels": _mean_over(labels, "metrics"),
        "mean_over_labels_present": _mean_over(labels, "metrics_present"),
    }


def _by_group(rows: Sequence[Row], columns: Sequence[str], penalty_mm: float | None) -> dict[str, Any]:
    """Summaries for the values of each column that has several, and in them those for later columns."""
    found: dict[str, Any] = {}
    for place, column in enumerate(columns, start=1):
        parts: dict[str, list[Row]] = {}
        for row in (row for row in rows if column in row):
            parts.setdefault(str(row[column]), []).append(row)
        if len(parts) > 1:
            found[f"by_{column}"] = {
                value: _summary(part, penalty_mm) | _by_group(part, columns[place:], penalty_mm)
                for value, part in parts.items()
            }
    return found


def _of_label(rows: Sequence[Row], penalty_mm: float | None) -> dict[str, Any]:
    """The summary of one label."""
    columns = metric_columns(rows)
    status = Counter(str(row["status"]) for row in rows)
    present, absent = (
        [row for row in rows if (row["status"] in PRESENT) == wanted] for wanted in (True, False)
    )
    summary: dict[str, Any] = {
        "cases": {name: status[name] for name in STATUSES},
        "pooled": pooled_overlap(rows),
        "metrics": {name: _describe(rows, name, penalty_mm) for name in columns},
        "metrics_present": {name: _describe(present, name, penalty_mm) for name in columns},
    }
    falsely = {
        name: _describe(absent, size, penalty_mm) for size, name in PRED_SIZES.items() if size in columns
    }
    if falsely:
        rejected = status["absent"] / len(absent) if absent else None
        summary["absent"] = {"cases": len(absent), "rejected": rejected, **falsely}
    return summary


def _describe(rows: Sequence[Row], name: str, penalty_mm: float | None) -> dict[str, Any]:
    """`describe` of a column, of the rows that have it.

    Only distances need a penalty: shares and volumes are finite for a miss. Pixels are no millimetres.
    """
    rows = [row for row in rows if name in row]
    whose = all("patient" in row for row in rows)
    return describe(
        [float(row[name]) for row in rows],
        penalty=penalty_mm if name.endswith("_mm") else None,
        groups=[str(row["patient"]) for row in rows]
        if whose
        else _numbered(str(row["case"]) for row in rows),
    )


def _numbered(names: Iterable[str]) -> list[str]:
    """A number for each name, those of first appearance ascending, as a text that sorts so."""
    numbers: dict[str, int] = {}
    return [f"{numbers.setdefault(name, len(numbers)):09d}" for name in names]


def _mean_over(labels: Mapping[str, Any], which: str) -> dict[str, float]:
    """For each metric the mean over the labels that at least one case has in its reference."""
    means: dict[str, list[float]] = {}
    for summary in labels.values():
        if any(summary["cases"][name] for name in PRESENT):
            for name, stats in summary[which].items():
                if stats["mean"] is not None:
                    means.setdefault(name, []).append(stats["mean"])
    return {name: float(np.mean(values)) for name, values in means.items()}


def metric_columns(rows: Iterable[Row]) -> list[str]:
    """Names of the rows' metrics, without what identifies a row and its counts, as they first appear."""
    names = dict.fromkeys(name for row in rows for name in row)
    return [name for name in names if name not in (*IDENTITY, "status", *COUNT_NAMES)]


def write_rows(path: str | os.PathLike[str], rows: Sequence[Row]) -> None:
    """Write rows as CSV, one column a key in the order of first appearance; "inf" and "nan" stand as such.

    A field is empty where the row has no such metric, as of a volume, which has no area.

    Raises:
        InputError: the folder cannot be written to.
    """
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with (
        atomic_path(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors=NOT_UTF8) as file,
    ):
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def write_summary(path: str | os.PathLike[str], summary: dict[str, Any]) -> None:
    """Write a summary as JSON; a number that is not finite becomes null, which JSON has.

    Raises:
        InputError: the folder cannot be written to.
    """
    with atomic_path(path) as temporary:
        text = json.dumps(_finite(summary), indent=2, ensure_ascii=False, allow_nan=False)
        temporary.write_text(text + "\n", "utf-8", NOT_UTF8)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

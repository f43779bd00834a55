"""Tables of a summary: in the terminal the metrics that papers print, in the report all of them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from common.metrics.aggregate import with_interval

Cell = Callable[[Mapping[str, Any]], str]  # what stands in a table of what `describe` found

MEAN = "mean over labels"
WHICH = {  # parts of a summary, and what their tables are called
    "metrics": "All cases: a miss and a false positive count",
    "metrics_present": "Target present: only cases whose reference has the label",
}
FALSELY = {  # what was found of absent targets, by the names in `PRED_SIZES`
    "false_positive_ml": "false positive volume in ml",
    "false_positive_mm2": "false positive area in mm²",
    "false_positive_px2": "false positive area in pixels",
}
LEGEND = (
    "Mean ± standard deviation. [left out]: missed and false targets have no finite distance; "
    "--penalty-mm gives them one."
)


class Table(NamedTuple):
    """A title, the heads of the columns, and a list of cells for each line."""

    title: str
    head: list[str]
    lines: list[list[str]]


def main_metrics(names: Iterable[str]) -> list[str]:
    """Those of the metrics' names that papers of this field print."""
    endings = ("_hd95_mm", "_assd_mm", "_hd95_px", "_assd_px")
    return [n for n in names if n in ("dsc", "hit", "instance_f1") or n.endswith(endings) or "_nsd_" in n]


def main_tables(summary: Mapping[str, Any]) -> list[Table]:
    """For the terminal: mean ± standard deviation of the main metrics, and rows for absent targets."""
    metrics = [_metrics(summary, which, main_metrics(_names(summary)), with_std) for which in WHICH]
    return [*metrics, *absent_tables(summary)]


def all_tables(summary: Mapping[str, Any]) -> list[Table]:
    """For the report: all metrics, with standard deviation, interval and median."""
    metrics = [_metrics(summary, which, _names(summary), _in_full) for which in WHICH]
    return [*metrics, *absent_tables(summary)]


def absent_tables(summary: Mapping[str, Any]) -> list[Table]:
    """A table of the labels that some references do not have; none where all have all."""
    shown = {
        label: values
        for label, values in summary["labels"].items()
        if "absent" in values and values["absent"]["cases"]
    }
    sizes = [name for name in FALSELY if any(name in values["absent"] for values in shown.values())]
    lines: list[list[str]] = []
    for label, values in shown.items():
        absent = values["absent"]
        share = f"{values['cases']['absent']} of {absent['cases']} ({absent['rejected']:.3f})"
        falsely = [with_std(absent[name]) if name in absent else "-" for name in sizes]
        lines.append([label, share, *falsely])
    title = "Target absent: only cases whose reference does not have the label"
    head = ["label", "rejected (empty prediction)", *(FALSELY[name] for name in sizes)]
    return [Table(title, head, lines)] if lines else []


def with_std(stats: Mapping[str, Any]) -> str:
    """Mean ± standard deviation, and how many values are not in them."""
    if stats["mean"] is None:
        return "-" + _left_out(stats)
    spread = "" if stats["std"] is None else f" ± {stats['std']:.3f}"
    return f"{stats['mean']:.3f}{spread}{_left_out(stats)}"


def as_text(table: Table) -> str:
    """The table for a terminal: columns of equal width."""
    lines = [table.head, *table.lines]
    widths = [max(len(line[column]) for line in lines) for column in range(len(table.head))]
    rows = ("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
    return "\n".join((table.title, *("  " + row.rstrip() for row in rows)))


def _metrics(summary: Mapping[str, Any], which: str, names: Sequence[str], cell: Cell) -> Table:
    """A line a label, and the mean over labels where there are several."""
    lines = [
        [label, *(cell(values[which][name]) if name in values[which] else "-" for name in names)]
        for label, values in summary["labels"].items()
    ]
    means = summary["mean_over_labels" if which == "metrics" else "mean_over_labels_present"]
    if len(lines) > 1:
        lines.append([MEAN, *(f"{means[name]:.3f}" if name in means else "-" for name in names)])
    return Table(WHICH[which], ["label", *names], lines)


def _names(summary: Mapping[str, Any]) -> list[str]:
    """Those of all labels: one may be in PNG files alone, which have no mm."""
    return list(dict.fromkeys(name for values in summary["labels"].values() for name in values["metrics"]))


def _in_full(stats: Mapping[str, Any]) -> str:
    """0.812 (0.790 to 0.831), ± 0.120, median 0.840."""
    if stats["mean"] is None:
        return "-" + _left_out(stats)
    spread = "" if stats["std"] is None else f", ± {stats['std']:.3f}"
    return f"{with_interval(stats)}{spread}, median {stats['median']:.3f}{_left_out(stats)}"


def _left_out(stats: Mapping[str, Any]) -> str:
    return f" [{stats['left_out']} left out]" if stats["left_out"] else ""

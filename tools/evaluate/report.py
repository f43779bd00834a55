"""The report: one HTML file with everything in it."""

import base64
import io
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from common.metrics.aggregate import metric_columns
from common.metrics.segmentation import Row

from .overlays import FALSE, MISSED, RIGHT, Overlay
from .tables import Table, all_tables, main_metrics

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
.wide { overflow-x: auto }
caption { text-align: left; font-weight: bold; padding: .8rem 0 .3rem }
th, td { padding: .3rem .7rem; text-align: right; border-bottom: 1px solid #ddd; white-space: nowrap }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0; background: #fff }
small { color: #666 }
.bad { color: #a11 }
figure { display: inline-block; margin: .5rem; text-align: center }
figure img { width: 15rem }
"""


def write_html(
    summary: dict[str, Any], rows: Sequence[Row], overlays: Sequence[Overlay], problems: Sequence[str]
) -> str:
    """The report as text.

    Args:
        summary: of `common.metrics.summarise`, with the summary of the slices as `slices`.
        rows: of all cases and labels.
        overlays: of the worst cases.
        problems: sentences about what was not measured.
    """
    cases = len({row["case"] for row in rows})
    parts = [
        "<!doctype html><html lang='en'><meta charset='utf-8'><title>Evaluation</title>",
        f"<style>{STYLE}</style>",
        f"<h1>Evaluation of {cases} cases, {len(summary['labels'])} labels</h1>",
        "<p>For research only, not for diagnostic use.</p>",
        _problems(problems),
        "<h2>Found and missed</h2>",
        _status_table(summary),
        "<h2>Metrics</h2><p>Mean (95 % bootstrap interval of the mean), ± standard deviation, median. "
        "Shares count a missed or false label as 0. "
        + _penalty_sentence(summary)
        + " The definitions are in common/metrics/segmentation.py.</p>",
        *(_table(table) for table in all_tables(summary)),
        "<h2>Slices</h2><p>Axial slices that have the label in their prediction or reference, all alike.</p>",
        *(_table(table) for table in all_tables(summary["slices"])),
        "<h2>Distributions</h2>",
        *(_box_plot(rows, name) for name in main_metrics(metric_columns(rows)) if name != "hit"),
        "<h2>Worst cases</h2>",
        _legend(),
        *(_figure(overlay) for overlay in overlays),
        "</html>",
    ]
    return "\n".join(parts)


def _problems(problems: Sequence[str]) -> str:
    if not problems:
        return "<p>Every file had its partner and was measured.</p>"
    items = "".join(f"<li>{escape(problem)}</li>" for problem in problems)
    return f"<h2 class='bad'>{len(problems)} problems</h2><ul>{items}</ul><p>All else was measured.</p>"


def _status_table(summary: dict[str, Any]) -> str:
    lines = ["<tr><th>label<th>found<th>missed<th>false positive<th>in neither<th>pooled Dice<th>pooled IoU"]
    for label, values in summary["labels"].items():
        counts = "".join(f"<td>{count}" for count in values["cases"].values())
        pooled = "".join(f"<td>{values['pooled'][name]:.4f}" for name in ("dsc", "iou"))
        lines.append(f"<tr><td>{escape(label)}{counts}{pooled}")
    return f"<div class='wide'><table>{''.join(lines)}</table></div>"


def _penalty_sentence(summary: dict[str, Any]) -> str:
    stats = [
        s for values in summary["labels"].values() for n, s in values["metrics"].items() if n.endswith("_mm")
    ]
    penalty = stats[0]["penalty"] if stats else None
    if penalty is not None:
        return f"Distances count it as {penalty:g} mm."
    return "Means of distances leave it out and say how many they leave out."


def _table(table: Table) -> str:
    lines = [f"<caption>{escape(table.title)}<tr>" + "".join(f"<th>{escape(name)}" for name in table.head)]
    lines += ["<tr>" + "".join(f"<td>{escape(cell)}" for cell in line) for line in table.lines]
    return f"<div class='wide'><table>{''.join(lines)}</table></div>"


def _box_plot(rows: Sequence[Row], name: str) -> str:
    """Boxes of the finite values of a metric, one a label, every value a point."""
    rows = [row for row in rows if name in row]  # those in mm, or those in pixels
    labels = list(dict.fromkeys(str(row["label"]) for row in rows))
    groups = [np.array([float(row[name]) for row in rows if str(row["label"]) == label]) for label in labels]
    finite = [group[np.isfinite(group)] for group in groups]
    ticks = [
        f"{label}, {np.isinf(group).sum()} infinite" if np.isinf(group).any() else label
        for label, group in zip(labels, groups, strict=True)
    ]
    figure = Figure(figsize=(8, 1 + 0.4 * len(labels)), layout="constrained")
    axes = figure.add_subplot()
    axes.boxplot(finite, orientation="horizontal", tick_labels=ticks, showfliers=False, widths=0.6)
    for position, values in enumerate(finite, start=1):
        axes.plot(values, np.full(len(values), position), ".", color="tab:blue", alpha=0.5)
    axes.invert_yaxis()
    axes.set_xlabel(name)
    buffer = io.StringIO()
    FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None})
    return f"<div>{buffer.getvalue()[buffer.getvalue().index('<svg') :]}</div>"


def _legend() -> str:
    def patch(colour: tuple[float, float, float], text: str) -> str:
        red, green, blue = (round(255 * value) for value in colour)
        return f"<span style='background: rgb({red}, {green}, {blue})'>&emsp;</span> {text}&emsp;"

    return (
        "<p>The axial slice in which most voxels are wrong, patient's right on the left: "
        + patch(RIGHT, "right")
        + patch(MISSED, "missed")
        + patch(FALSE, "false")
        + "</p>"
    )


def _figure(overlay: Overlay) -> str:
    row = overlay.row
    caption = f"{row['label']} of {row['case']}, slice {overlay.slice_index}, Dice {float(row['dsc']):.3f}"
    image = base64.b64encode(overlay.png).decode()
    text = escape(caption)
    shown = f"<img alt='{text}' src='data:image/png;base64,{image}'>"
    return f"<figure>{shown}<figcaption>{text}</figcaption></figure>"

"""Figures of the worst cases: where the label is right, missed and false, in the slice with most errors."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from common.data.label_maps import read_label_map
from common.metrics.segmentation import Row

from .pairs import Pair

RIGHT, MISSED, FALSE = (0.35, 0.65, 0.35), (0.15, 0.35, 0.85), (0.85, 0.25, 0.2)
MARGIN = 12  # voxels around the label


@dataclass(frozen=True)
class Overlay:
    """A figure as PNG and what it shows."""

    row: Row
    slice_index: int
    png: bytes


def worst_rows(rows: list[Row], label: str, count: int) -> list[Row]:
    """The `count` rows of a label with the lowest Dice, among those with a Dice below 1."""
    candidates = [row for row in rows if row["label"] == label and float(row["dsc"]) < 1]  # NaN is not below
    return sorted(candidates, key=lambda row: float(row["dsc"]))[:count]


def draw(pair: Pair, numbers: Sequence[int], row: Row) -> Overlay:
    """Read a pair again and draw the axial slice in which most voxels of a label, of `numbers`, are wrong."""
    import io

    pred, ref = read_label_map(pair.pred), read_label_map(pair.ref)
    found, true = np.isin(pred.slices, numbers), np.isin(ref.slices, numbers)
    index = int(np.argmax((found ^ true).sum(axis=(1, 2))))
    colours = np.ones((*found.shape[1:], 3))
    for mask, colour in ((found & true, RIGHT), (true & ~found, MISSED), (found & ~true, FALSE)):
        colours[mask[index]] = colour
    window = tuple(_around(np.flatnonzero((found | true)[index].any(axis=axis))) for axis in (1, 0))
    _, high, wide = ref.spacing_mm
    figure = Figure(figsize=(3, 3), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(colours[window], aspect=high / wide, interpolation="nearest")
    axes.set_axis_off()
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return Overlay(row, index, buffer.getvalue())


def _around(indices: np.ndarray) -> slice:
    return slice(max(0, int(indices[0]) - MARGIN), int(indices[-1]) + MARGIN + 1)

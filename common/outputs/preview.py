"""A preview to see at a glance whether a segmentation lies where it should."""

import os
from collections.abc import Callable, Sequence
from textwrap import wrap
from typing import NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ..data.images import Image2D
from ..data.volumes import Volume
from ..files import atomic_path
from ..inference.segmentation import PromptResult, Segmentation

OPACITY = 0.5
WIDTH_INCHES = {1: 9.0, 3: 15.0}  # by the number of views; the time that a preview takes goes with its area
# Of the legend, whose texts of 10 points are wrapped at a length that even one view has room for.
WRAP_CHARACTERS, CHARACTER_INCHES, ENTRY_INCHES, LINE_INCHES = 80, 0.09, 0.6, 0.2
TITLE_INCHES, MARGIN_INCHES = 0.5, 0.35  # above the views, and around the legend
# Of matplotlib's tab20: its strong colours first, then their pale twins; no grey, which is what CT is.
PALETTE = (0, 2, 4, 6, 8, 10, 12, 16, 18, 1, 3, 5, 7, 9, 11, 13, 17, 19)


class View(NamedTuple):
    """A plane through the volume, row 0 on top, in radiological convention (patient's right on the left)."""

    title: str
    image: np.ndarray  # (rows, columns) intensities, or (rows, columns, 3) uint8
    masks: list[np.ndarray]  # (rows, columns) bool of each prompt
    pixel_mm: tuple[float, float]  # height and width of a pixel
    sides: tuple[str, str]  # what lies at the left and at the right edge

    @property
    def extent_mm(self) -> tuple[float, float]:
        """Height and width."""
        return self.image.shape[0] * self.pixel_mm[0], self.image.shape[1] * self.pixel_mm[1]


class _Plane(NamedTuple):
    title: str
    of: Callable[[np.ndarray], np.ndarray]  # (D, H, W) -> (rows, columns)
    pixel_mm: tuple[float, float]
    sides: tuple[str, str]


def views_of(volume: Volume, segmentation: Segmentation) -> list[View]:
    """Axial, coronal and sagittal planes where the label map has most foreground, or the middle ones.

    A 2D image, a volume of one slice, and a volume that was asked at one slice have one view.
    """
    planes = _planes(volume, segmentation.labels, segmentation.slice_index)
    shown = volume.slices
    if isinstance(volume, Image2D) and volume.colours is not None:
        shown = volume.colours
    cut = [[plane.of(mask).copy() for plane in planes] for mask in segmentation.masks()]
    return [
        View(
            plane.title,
            plane.of(shown),
            [of_mask[number] for of_mask in cut],
            plane.pixel_mm,
            plane.sides,
        )
        for number, plane in enumerate(planes)
    ]


def _planes(volume: Volume, labels: np.ndarray, slice_index: int | None) -> list[_Plane]:
    """See `views_of`."""
    if isinstance(volume, Image2D):
        return [_Plane(volume.grid.path.name, lambda array: array[0], (1.0, 1.0), ("", ""))]
    deep, high, wide = volume.spacing_mm
    foreground = labels > 0
    d, h, w = (
        int(np.argmax(counts)) if counts.any() else len(counts) // 2
        for counts in (foreground.sum(axis=axes) for axes in ((1, 2), (0, 2), (0, 1)))
    )
    d = d if slice_index is None else slice_index
    axial = _Plane(f"axial, slice {d}", lambda array: array[d], (high, wide), ("R", "L"))
    if len(labels) == 1 or slice_index is not None:
        return [axial]
    # D runs from inferior to superior, so that coronal and sagittal planes are turned upside down.
    return [
        axial,
        _Plane(f"coronal, row {h}", lambda array: array[::-1, h], (deep, wide), ("R", "L")),
        _Plane(f"sagittal, column {w}", lambda array: array[::-1, :, w], (deep, high), ("A", "P")),
    ]


def write_preview(
    path: str | os.PathLike[str],
    volume: Volume,
    segmentation: Segmentation,
    *,
    window: tuple[float, float],
) -> None:
    """Write a PNG with the views, the prompts' own masks with their outlines, and a legend with their names
    and sizes.

    All views have the same scale in millimetres.
    """
    views = views_of(volume, segmentation)
    palette, numbers = colours(segmentation.results), [result.prompt.label for result in segmentation.results]
    width, widths = WIDTH_INCHES[len(views)], [view.extent_mm[1] for view in views]
    texts = legend_texts(segmentation.results, in_mm=volume.in_mm)
    legend_columns, legend_inches = legend_layout(texts, width)
    # 4 % of the width lies between the views
    height = min(0.96 * width * max(view.extent_mm[0] for view in views) / sum(widths), width)
    whole = TITLE_INCHES + height + legend_inches
    figure = Figure(figsize=(width, whole), facecolor="black")
    FigureCanvasAgg(figure)
    columns = figure.subplots(1, len(views), width_ratios=widths, squeeze=False)[0]
    for axes, view in zip(columns, views, strict=True):
        aspect = view.pixel_mm[0] / view.pixel_mm[1]
        low, high = window
        axes.imshow(view.image, cmap="gray", vmin=low, vmax=high, aspect=aspect, interpolation="nearest")
        for mask, rgba in zip(view.masks, palette[numbers], strict=True):
            axes.imshow(np.where(mask[..., None], rgba, 0.0), aspect=aspect, interpolation="nearest")
        _outline(axes, view.masks, palette[numbers, :3])
        axes.set_title(view.title, color="white", parse_math=False)  # "$" is a sign like others
        axes.axis("off")
        for x, side in zip((0.02, 0.98), view.sides, strict=True):
            axes.text(x, 0.5, side, color="yellow", ha="center", va="center", transform=axes.transAxes)
    top, bottom = 1 - TITLE_INCHES / whole, legend_inches / whole
    figure.subplots_adjust(left=0, right=1, wspace=0.04, top=top, bottom=bottom)
    _legend(figure, texts, palette[numbers, :3], columns=legend_columns)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=100, facecolor="black")


def colours(results: Sequence[PromptResult]) -> np.ndarray:
    """(256, 4) RGBA in [0, 1] for label numbers: the prompts' own colours, or those of PALETTE."""
    palette = np.zeros((256, 4))
    for row, result in enumerate(results):
        own = result.prompt.colour
        default = colormaps["tab20"](PALETTE[row % len(PALETTE)])[:3]
        rgb = default if own is None else [part / 255 for part in own]
        palette[result.prompt.label] = (*rgb, OPACITY)
    return palette


def _outline(axes: Axes, masks: Sequence[np.ndarray], rgb: np.ndarray) -> None:
    """Around each mask, the first ones thickest: where outlines of a few coincide, all can be seen."""
    axes.autoscale(enable=False)  # an outline may reach half a pixel beyond the image
    for row, (mask, colour) in enumerate(zip(masks, rgb, strict=True)):
        if mask.any():
            framed = np.pad(mask, 1).astype(float)
            rows, columns = (np.arange(-1, side + 1) for side in mask.shape)
            width = 1 + 2 * (1 - (row + 1) / len(masks))
            axes.contour(columns, rows, framed, levels=[0.5], colors=[colour], linewidths=width)


def legend_texts(results: Sequence[PromptResult], *, in_mm: bool) -> list[str]:
    """Name and size of each prompt, in lines that fit."""
    texts = (f"{result.prompt.name}: {result.size(in_mm=in_mm)}" for result in results)
    return ["\n".join(wrap(text, WRAP_CHARACTERS)) for text in texts]


def legend_layout(texts: Sequence[str], width_inches: float) -> tuple[int, float]:
    """Columns that a legend of the texts has room for, and its height in inches."""
    longest = max(len(line) for text in texts for line in text.split("\n"))
    fitting = int(width_inches // (ENTRY_INCHES + CHARACTER_INCHES * longest))
    columns = max(1, min(len(texts), fitting))
    rows = -(-len(texts) // columns)
    lines = rows * max(text.count("\n") + 1 for text in texts)
    return columns, MARGIN_INCHES + LINE_INCHES * lines


def _legend(figure: Figure, texts: Sequence[str], rgb: np.ndarray, *, columns: int) -> None:
    patches = [Patch(facecolor=colour, label=text) for text, colour in zip(texts, rgb, strict=True)]
    legend = figure.legend(
        handles=patches, loc="lower center", ncols=columns, labelcolor="white", frameon=False
    )
    for entry in legend.get_texts():
        entry.set_parse_math(False)

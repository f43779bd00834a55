"""Drawings of validation cases: image, truth and prediction of a prompt."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ignite.distributed as idist
import numpy as np
from ignite.engine import Engine, Events
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch.utils.tensorboard import SummaryWriter

from ..errors import InputError
from ..files import atomic_path

if TYPE_CHECKING:
    from ..data.evaluation_cases import EvaluationCase
    from ..inference.segmentation import Segmentation

_TRUTH, _PREDICTION = (0.2, 0.9, 0.3, 0.5), (1.0, 0.3, 0.2, 0.5)
ROWS = 4  # prompts of a case that are drawn at most


@dataclass(frozen=True)
class DrawnSlice:
    """A row of a drawing.

    Attributes:
        title: the prompt, and the slice.
        image: (H, W) intensities, or (H, W, 3) uint8.
        grey: its values that become black and white.
        truth, prediction: (H, W) bool.
        aspect: height of a pixel by its width.
    """

    title: str
    image: np.ndarray
    grey: tuple[float, float]
    truth: np.ndarray
    prediction: np.ndarray
    aspect: float


class ValidationImages:
    """Handler of an `Evaluator` that draws its first cases, for TensorBoard and as PNG files.

    Each row of a drawing is one prompt on one slice: the prompt with the image, the truth, the prediction.

    Args:
        output_dir: PNG files go to its folder `images`, named after case and epoch.
        cases: how many cases; 0 draws nothing.
    """

    def __init__(self, *, output_dir: str | os.PathLike[str], cases: int = 2) -> None:
        if cases < 0:
            raise InputError(f"images: found {cases}, expected 0 or more cases to draw.")
        self.output_dir = Path(output_dir)
        self.cases = cases
        self._writer: SummaryWriter | None = None

    def attach(self, engine: Engine) -> None:
        if idist.get_rank() == 0 and self.cases:
            engine.add_event_handler(Events.ITERATION_COMPLETED, self._draw)

    def _draw(self, engine: Engine) -> None:
        state = engine.state
        if (state.iteration - 1) % (state.epoch_length or 1) >= self.cases:
            return
        output: dict[str, Any] = state.output  # type: ignore[assignment]
        asked, window = output["label"], engine.network.framing.window  # type: ignore[attr-defined]
        drawing = draw(drawn_slices(asked, output["pred"], window=window))
        with atomic_path(self.output_dir / "images" / f"{asked.case}_epoch_{state.epoch:05d}.png") as path:
            drawing.savefig(path, dpi=80, facecolor="black")
        if self._writer is None:
            self._writer = SummaryWriter(self.output_dir)
        canvas = FigureCanvasAgg(drawing)
        canvas.draw()
        pixels = np.asarray(canvas.buffer_rgba())[..., :3]
        self._writer.add_image(f"validation/{asked.case}", pixels, state.epoch, dataformats="HWC")
        self._writer.flush()


def drawn_slices(
    asked: "EvaluationCase", found: "Segmentation", *, window: tuple[float, float]
) -> list[DrawnSlice]:
    """A row for each of the first prompts, on the slice where its target is largest (else the middle one)."""
    image, rows = asked.image, []
    for number, (prompt, target) in enumerate(zip(asked.prompts[:ROWS], asked.targets, strict=False)):
        truth, prediction = target.region.mask(), found.mask(number)
        areas = truth.sum(axis=(1, 2))
        index = int(areas.argmax()) if areas.any() else len(areas) // 2
        index = index if target.region.plane is None else target.region.plane
        rows.append(
            DrawnSlice(
                title=f"{prompt.text[:60]}, slice {index}" if image.in_mm else prompt.text[:60],
                image=image.shown(index),
                grey=image.value_range or window,
                truth=truth[index],
                prediction=prediction[index],
                aspect=image.spacing_mm[1] / image.spacing_mm[2],
            )
        )
    return rows


def draw(rows: Sequence[DrawnSlice]) -> Figure:
    """A figure with three panels for each row: image, truth, prediction."""
    figure = Figure(figsize=(9.0, 3.2 * len(rows)), dpi=80, facecolor="black", layout="constrained")
    FigureCanvasAgg(figure)
    for panels, row in zip(figure.subplots(len(rows), 3, squeeze=False), rows, strict=True):
        titles = (row.title, "truth", "prediction")
        masks = (None, (row.truth, _TRUTH), (row.prediction, _PREDICTION))
        for axes, title, mask in zip(panels, titles, masks, strict=True):
            low, high = row.grey
            axes.imshow(row.image, cmap="gray", vmin=low, vmax=high, aspect=row.aspect)
            if mask is not None:
                coloured = mask[0][..., None] * np.array(mask[1])
                axes.imshow(coloured, aspect=row.aspect, interpolation="nearest")
            axes.set_title(title, color="white", fontsize=9, parse_math=False)
            axes.axis("off")
    return figure

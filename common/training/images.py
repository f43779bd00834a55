"""Pictures of validation slices: image, truth and prediction of a prompt."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import ignite.distributed as idist
import numpy as np
from ignite.engine import Engine, Events, State
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from monai.utils.enums import CommonKeys
from torch.utils.tensorboard import SummaryWriter

from ..data.slices import ABDOMEN_WINDOW_HU
from ..data.volumes import Volume
from ..errors import InputError
from ..files import atomic_path
from ..inference.segmentation import PromptResult, Segmentation

_TRUTH, _PREDICTION = (0.2, 0.9, 0.3, 0.5), (1.0, 0.3, 0.2, 0.5)


@dataclass(frozen=True)
class DrawnSlice:
    """A row of a picture.

    Attributes:
        case: id.
        title: the prompt, and what else to say.
        image: (h, w), drawn over the extent of the masks whatever its own size.
        grey: its values that become black and white.
        truth, prediction: (H, W) bool.
        aspect: height of a pixel of the masks by its width.
    """

    case: str
    title: str
    image: np.ndarray
    grey: tuple[float, float]
    truth: np.ndarray
    prediction: np.ndarray
    aspect: float = 1.0


class VolumeSlices:
    """Rows of an engine whose batch is one volume, its prediction a `Segmentation`, its label a `Volume`.

    One a prompt, on the slice where the reference has most of its organ (the middle one where it has none),
    the patient's right on the left.

    Args:
        prompts: at most so many.
        window_hu: grey range.
    """

    def __init__(self, *, prompts: int = 4, window_hu: tuple[float, float] = ABDOMEN_WINDOW_HU) -> None:
        self.prompts = prompts
        self.window_hu = window_hu

    def __call__(self, state: State) -> list[DrawnSlice]:
        batch, output = cast(dict[str, Any], state.batch), cast(dict[str, Any], state.output)
        found: Segmentation = output[CommonKeys.PRED]
        volumes = output[CommonKeys.IMAGE], output[CommonKeys.LABEL]
        results = found.results[: self.prompts]
        return [self._row(str(batch["case"]), result, *volumes, found) for result in results]

    def _row(
        self, case: str, result: PromptResult, image: Volume, reference: Volume, found: Segmentation
    ) -> DrawnSlice:
        label = result.prompt.label
        areas = (reference.slices == label).sum(axis=(1, 2))
        index = int(areas.argmax()) if areas.any() else len(areas) // 2
        return DrawnSlice(
            case=case,
            title=f"{result.prompt.text[:60]}, slice {index}",
            image=image.slices[index],
            grey=self.window_hu,
            truth=reference.slices[index] == label,
            prediction=found.labels[index] == label,
            aspect=image.spacing_mm[1] / image.spacing_mm[2],
        )


class ReferredSlices:
    """Rows of an engine that evaluates items of `ReferringCases`: one an item, as the network saw it."""

    def __call__(self, state: State) -> list[DrawnSlice]:
        batch, output = cast(list[dict[str, Any]], state.batch), cast(list[dict[str, Any]], state.output)
        return [self._row({**given, **found}) for given, found in zip(batch, output, strict=True)]

    def _row(self, item: dict[str, Any]) -> DrawnSlice:
        height, width = (float(length) for length in item["spacing_mm"])
        return DrawnSlice(
            case=str(item["case"]),
            title=str(item["prompt"])[:60],
            image=np.asarray(item[CommonKeys.IMAGE][0].cpu()),
            grey=(0.0, 1.0),
            truth=np.asarray(item[CommonKeys.LABEL][0].cpu()) > 0,
            prediction=np.asarray(item[CommonKeys.PRED][0].cpu()) > 0,
            aspect=height / width,
        )


class ValidationPictures:
    """Handler of the evaluating engine that draws its first cases, for TensorBoard and as PNG files.

    Each row of a picture is one prompt on one slice: the prompt with the image, the truth, the prediction.

    Args:
        output_dir: PNG files go to its folder `pictures`, named after case and epoch.
        cases: how many cases; 0 draws nothing.
        slices: from the engine's state after an iteration to the rows of its cases: a `VolumeSlices`, a
            `ReferredSlices` or any function like them.
    """

    def __init__(
        self,
        *,
        output_dir: str,
        cases: int = 2,
        slices: Callable[[State], Sequence[DrawnSlice]] | None = None,
    ) -> None:
        if cases < 0:
            raise InputError(f"pictures: found {cases}, expected 0 or more cases to draw; correct it.")
        self.output_dir = Path(output_dir)
        self.cases = cases
        self.slices = VolumeSlices() if slices is None else slices
        self._writer: SummaryWriter | None = None

    def attach(self, engine: Engine) -> None:
        if idist.get_rank() == 0 and self.cases:
            engine.add_event_handler(Events.ITERATION_COMPLETED, self._draw)

    def _draw(self, engine: Engine) -> None:
        state = engine.state
        if (state.iteration - 1) % (state.epoch_length or 1) >= self.cases:
            return
        rows = self.slices(state)
        case, picture = rows[0].case, draw(rows)
        with atomic_path(self.output_dir / "pictures" / f"{case}_epoch_{state.epoch:05d}.png") as path:
            picture.savefig(path, dpi=80, facecolor="black")
        if self._writer is None:
            self._writer = SummaryWriter(self.output_dir)
        canvas = FigureCanvasAgg(picture)
        canvas.draw()
        pixels = np.asarray(canvas.buffer_rgba())[..., :3]
        self._writer.add_image(f"validation/{case}", pixels, state.epoch, dataformats="HWC")
        self._writer.flush()


def draw(rows: Sequence[DrawnSlice]) -> Figure:
    """A figure with three panels for each row: image, truth, prediction."""
    figure = Figure(figsize=(9.0, 3.2 * len(rows)), dpi=80, facecolor="black", layout="constrained")
    FigureCanvasAgg(figure)
    for panels, row in zip(figure.subplots(len(rows), 3, squeeze=False), rows, strict=True):
        titles = (row.title, "truth", "prediction")
        masks = (None, (row.truth, _TRUTH), (row.prediction, _PREDICTION))
        height, width = row.truth.shape
        for axes, title, mask in zip(panels, titles, masks, strict=True):
            low, high = row.grey
            axes.imshow(row.image, cmap="gray", vmin=low, vmax=high, extent=(0, width, height, 0))
            if mask is not None:
                coloured = mask[0][..., None] * np.array(mask[1])
                axes.imshow(coloured, extent=(0, width, height, 0), interpolation="nearest")
            axes.set_aspect(row.aspect)
            axes.set_title(title, color="white", fontsize=9, parse_math=False)
            axes.axis("off")
    return figure

"""Pictures of validation slices: image, truth and prediction of a prompt."""

from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
from ignite.engine import Engine, Events
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


class ValidationPictures:
    """Handler of the evaluating engine that draws its first cases, for TensorBoard and as PNG files.

    Each row of a picture is one prompt on the slice where the reference has most of its organ (the middle one
    where it has none): the prompt with the image, the truth, the prediction, the patient's right on the left.

    Args:
        output_dir: PNG files go to its folder `pictures`, named after case and epoch.
        cases: how many cases; 0 draws nothing.
        prompts: at most so many rows a case.
        window_hu: grey range.
    """

    def __init__(
        self,
        *,
        output_dir: str,
        cases: int = 2,
        prompts: int = 4,
        window_hu: tuple[float, float] = ABDOMEN_WINDOW_HU,
    ) -> None:
        if cases < 0:
            raise InputError(f"pictures: found {cases}, expected 0 or more cases to draw; correct it.")
        self.output_dir = Path(output_dir)
        self.cases = cases
        self.prompts = prompts
        self.window_hu = window_hu
        self._writer: SummaryWriter | None = None

    def attach(self, engine: Engine) -> None:
        if idist.get_rank() == 0 and self.cases:
            engine.add_event_handler(Events.ITERATION_COMPLETED, self._draw)

    def _draw(self, engine: Engine) -> None:
        state: Any = engine.state
        if (state.iteration - 1) % (state.epoch_length or 1) >= self.cases:
            return
        case = str(state.batch["case"])
        found, reference = state.output[CommonKeys.PRED], state.output[CommonKeys.LABEL]
        picture = draw_case(
            state.output[CommonKeys.IMAGE], reference, found, prompts=self.prompts, window_hu=self.window_hu
        )
        with atomic_path(self.output_dir / "pictures" / f"{case}_epoch_{state.epoch:05d}.png") as path:
            picture.savefig(path, dpi=80, facecolor="black")
        if self._writer is None:
            self._writer = SummaryWriter(self.output_dir)
        canvas = FigureCanvasAgg(picture)
        canvas.draw()
        pixels = np.asarray(canvas.buffer_rgba())[..., :3]
        self._writer.add_image(f"validation/{case}", pixels, state.epoch, dataformats="HWC")
        self._writer.flush()


def draw_case(
    image: Volume, reference: Volume, found: Segmentation, *, prompts: int, window_hu: tuple[float, float]
) -> Figure:
    """A figure with a row for each of the first `prompts` prompts; see `ValidationPictures`."""
    results = found.results[:prompts]
    figure = Figure(figsize=(9.0, 3.2 * len(results)), dpi=80, facecolor="black", layout="constrained")
    FigureCanvasAgg(figure)
    rows = figure.subplots(len(results), 3, squeeze=False)
    for row, result in zip(rows, results, strict=True):
        _draw_row(row, result, image, reference, found, window_hu)
    return figure


def _draw_row(
    row: np.ndarray,
    result: PromptResult,
    image: Volume,
    reference: Volume,
    found: Segmentation,
    window_hu: tuple[float, float],
) -> None:
    label = result.prompt.label
    truth, prediction = reference.slices == label, found.labels == label
    areas = truth.sum(axis=(1, 2))
    index = int(areas.argmax()) if areas.any() else len(areas) // 2
    aspect = image.spacing_mm[1] / image.spacing_mm[2]
    titles = (f"{result.prompt.text[:60]}, slice {index}", "truth", "prediction")
    masks = (None, (truth, _TRUTH), (prediction, _PREDICTION))
    for axes, title, mask in zip(row, titles, masks, strict=True):
        axes.imshow(image.slices[index], cmap="gray", vmin=window_hu[0], vmax=window_hu[1], aspect=aspect)
        if mask is not None:
            axes.imshow(mask[0][index][..., None] * np.array(mask[1]), aspect=aspect, interpolation="nearest")
        axes.set_title(title, color="white", fontsize=9, parse_math=False)
        axes.axis("off")

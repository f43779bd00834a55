"""A loss of validations, for schedules that wait until it falls no more."""

import numpy as np
from ignite.engine import Engine
from monai.utils.enums import CommonKeys

from ..data.evaluation_cases import EvaluationCase
from .validation import PromptMean

_LEVELS = np.arange(256) / 255  # the probabilities that an inferer gives
# A wrong pixel that is quite certain costs log(510), not infinitely much.
_SURE = _LEVELS.clip(0.5 / 255, 1 - 0.5 / 255)


class ValidationLoss(PromptMean):
    """Mean of `dice_and_cross_entropy` over all (case, prompt) pairs of an `Evaluator`.

    It is not the training's own loss: parts of that compare a fixed number of prompts, and a case has as many
    as it has. Probabilities take a byte a voxel and prompt, so it counts only when it is `wanted`.

    Attributes:
        wanted: whether the loss is computed; False at first.
    """

    def __init__(self) -> None:
        super().__init__(lambda output: output[CommonKeys.LABEL])
        self.wanted = False

    def room_for(self, case: EvaluationCase) -> np.ndarray:
        """(P, D, H, W) uint8 zeros for the probabilities of the case that comes next."""
        self._probabilities = np.zeros((len(case.prompts), *case.image.slices.shape), np.uint8)
        return self._probabilities

    def update(self, asked: EvaluationCase) -> None:
        """Take the case whose probabilities are there."""
        if not self.wanted:
            return
        planes = slice(None) if asked.slice_index is None else [asked.slice_index]
        for row, target in enumerate(asked.targets):
            self._values[target.case, target.name, asked.prompts[row].text] = dice_and_cross_entropy(
                self._probabilities[row][planes], target.region.mask()[planes]
            )

    def completed(self, engine: Engine, name: str) -> None:
        """Put the loss into the engine's state, where it is wanted."""
        if self.wanted:
            super().completed(engine, name)


def dice_and_cross_entropy(probabilities: np.ndarray, mask: np.ndarray) -> float:
    """1 - soft Dice, and the mean binary cross-entropy of all voxels; of an empty mask the latter alone.

    Args:
        probabilities: (D, H, W) uint8, 0 to 255 is 0 to 1.
        mask: (D, H, W) bool.
    """
    inside, outside = np.zeros(256, np.int64), np.zeros(256, np.int64)
    for section, there in zip(probabilities, mask, strict=True):  # whole volumes of indices take much memory
        inside += np.bincount(section[there], minlength=256)
        outside += np.bincount(section[~there], minlength=256)
    cross_entropy = -float(inside @ np.log(_SURE) + outside @ np.log1p(-_SURE)) / mask.size
    if not inside.any():
        return cross_entropy
    return cross_entropy + 1 - 2 * float(inside @ _LEVELS / (inside.sum() + (inside + outside) @ _LEVELS))

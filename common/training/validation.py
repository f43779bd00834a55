"""The validation score that decides which checkpoint is kept."""

import numpy as np
from ignite.exceptions import NotComputableError
from ignite.metrics import Metric
from monai.handlers import from_engine
from monai.utils.enums import CommonKeys

from ..data.volumes import Volume
from ..inference.segmentation import Segmentation
from ..metrics.overlap import Counts


class VolumeDice(Metric):
    """Mean volume Dice over all (case, organ) pairs of MONAI's evaluator.

    A pair whose organ is in neither mask has no Dice and does not count; one whose organ is missed, or
    found where there is none, counts as 0.
    """

    def __init__(self) -> None:
        super().__init__(from_engine([CommonKeys.PRED, CommonKeys.LABEL]))

    def reset(self) -> None:
        self._dice: list[float] = []

    def update(self, output: tuple[Segmentation, Volume]) -> None:
        """Take one case: what was found, and its reference."""
        found, reference = output
        labels = [result.prompt.label for result in found.results]
        for label in labels:
            pred, ref = found.labels == label, reference.slices == label
            both, only_pred, only_ref = pred & ref, pred & ~ref, ref & ~pred
            counts = Counts(*(int(np.count_nonzero(mask)) for mask in (both, only_pred, only_ref)))
            if counts.status != "absent":
                self._dice.append(counts.overlap()["dsc"])

    def compute(self) -> float:
        """The mean.

        Raises:
            NotComputableError: no pair had a Dice.
        """
        if not self._dice:
            raise NotComputableError(
                "VolumeDice: no case had any of the organs, neither predicted nor labelled."
            )
        return sum(self._dice) / len(self._dice)

"""The validation score that decides which checkpoint is kept."""

import math
from typing import Any

from ignite.exceptions import NotComputableError
from ignite.metrics import Metric
from monai.utils.enums import CommonKeys

from ..data.volumes import Volume
from ..inference.segmentation import Segmentation
from ..metrics.segmentation import slice_counts


class VolumeDice(Metric):
    """Mean volume Dice over all (case, organ) pairs of the evaluating engine.

    A pair whose organ is in neither mask has no Dice and does not count; one whose organ is missed, or
    found where there is none, counts as 0.
    """

    required_output_keys = None  # the evaluator's whole output is handed to `update`

    def reset(self) -> None:
        self._dice: list[float] = []

    def update(self, output: dict[str, Any]) -> None:
        """Take the output of MONAI's evaluator: a `Segmentation` as prediction, a `Volume` as label."""
        found: Segmentation = output[CommonKeys.PRED]
        reference: Volume = output[CommonKeys.LABEL]
        labels = [result.prompt.label for result in found.results]
        for counts in slice_counts(found.labels, reference.slices, labels).values():
            dice = sum(counts[1:], start=counts[0]).overlap()["dsc"]
            if not math.isnan(dice):
                self._dice.append(dice)

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

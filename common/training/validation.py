"""When a training validates, and the score that decides which checkpoint is kept."""

import math
from collections import defaultdict
from typing import TYPE_CHECKING, cast

import ignite.distributed as idist
import numpy as np
from ignite.engine import Engine, Events
from ignite.exceptions import NotComputableError
from ignite.metrics import Metric
from monai.engines import Evaluator
from monai.handlers import from_engine
from monai.utils.enums import CommonKeys

from ..metrics.overlap import Counts

if TYPE_CHECKING:
    from ..data.evaluation_cases import EvaluationCase
    from ..inference.segmentation import Segmentation

FIRST_STEPS = 500


class ValidateLastEpoch:
    """Handler of the trainer that validates after its last epoch, where MONAI's ValidationHandler does not.

    That one comes every `interval` epochs: of 24 epochs with an interval of 5 it would never see the last
    four, and a training of 3 epochs would end without a checkpoint.

    Args:
        validator: the evaluating engine.
        interval: of the ValidationHandler beside it.
    """

    def __init__(self, *, validator: Evaluator, interval: int) -> None:
        self.validator = validator
        self.interval = interval

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_COMPLETED(event_filter=self._is_due), self)

    def _is_due(self, engine: Engine, epoch: int) -> bool:
        return epoch == engine.state.max_epochs and epoch % self.interval != 0

    def __call__(self, engine: Engine) -> None:
        self.validator.run(engine.state.epoch)


class ValidateEarly:
    """Handler of the trainer that validates once before its regular validations, where these begin late.

    So one sees after minutes, and not after an hour, that nothing is learnt.

    Args:
        validator: the evaluating engine.
        interval: of the ValidationHandler beside it, in epochs.
        steps: after how many steps at the latest the first validation comes; None: `FIRST_STEPS`.
    """

    def __init__(self, *, validator: Evaluator, interval: int, steps: int | None = None) -> None:
        self.validator = validator
        self.interval = interval
        self.steps = FIRST_STEPS if steps is None else steps

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.ITERATION_COMPLETED(once=self.steps), self)

    def __call__(self, engine: Engine) -> None:
        state = engine.state
        first = min(self.interval, state.max_epochs or self.interval) * (state.epoch_length or 0)
        if first > self.steps:
            self.validator.run(state.epoch)


class PromptMean(Metric):
    """A mean over all (case, prompt) pairs of an `Evaluator`.

    Processes share their pairs, and a case that several of them were given counts once: all have the same
    mean, to the bit. Beside the metric itself the engine gets the mean of each target, as "<name>/<target>".
    """

    def reset(self) -> None:
        self._values: dict[tuple[str, str, str], float] = {}  # by case, target and prompt

    def compute(self) -> float:
        """The mean.

        Raises:
            NotComputableError: no pair had a value.
        """
        values = self._of_all_processes()
        if not values:
            raise NotComputableError(
                f"{type(self).__name__}: no case had any of the targets, neither predicted nor labelled."
            )
        self._by_target: dict[str, list[float]] = defaultdict(list)
        for (_, target, _), value in sorted(values.items()):
            self._by_target[target].append(value)
        return math.fsum(values.values()) / len(values)

    def completed(self, engine: Engine, name: str) -> None:
        """Put the metric and the targets' means into the engine's state."""
        super().completed(engine, name)
        for target, values in self._by_target.items():
            engine.state.metrics[f"{name}/{target}"] = math.fsum(values) / len(values)

    def _of_all_processes(self) -> dict[tuple[str, str, str], float]:
        if idist.get_world_size() == 1:
            return self._values
        parts = cast(list[dict[tuple[str, str, str], float]], idist.all_gather(self._values))
        return {pair: value for part in parts for pair, value in part.items()}


class PromptDice(PromptMean):
    """Mean Dice over all (case, prompt) pairs of an `Evaluator`, of each prompt's own mask.

    What else was asked of a case does not count: own masks may overlap. A pair whose target is in neither
    mask has no Dice and does not count; one whose target is missed, or found where there is none, counts as
    0.
    """

    def __init__(self) -> None:
        super().__init__(from_engine([CommonKeys.PRED, CommonKeys.LABEL]))

    def update(self, output: "tuple[Segmentation, EvaluationCase]") -> None:
        """Take one case: what was found, and what was meant."""
        found, asked = output
        for row, target in enumerate(asked.targets):
            pred, ref = found.mask(row), target.region.mask()
            both, only_pred, only_ref = pred & ref, pred & ~ref, ref & ~pred
            counts = Counts(*(int(np.count_nonzero(mask)) for mask in (both, only_pred, only_ref)))
            if counts.status != "absent":
                self._values[target.case, target.name, asked.prompts[row].text] = counts.overlap()["dsc"]

"""Gradients of bounded length."""

from ignite.engine import Engine
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents
from torch import nn
from torch.optim import Optimizer

from ..errors import InputError


class ClipGradients:
    """Handler of the trainer that scales the gradients of each step down to a largest length.

    It clips once a step: where several batches make one, their sum. Gradients that a scaler enlarged
    (float16) are brought back to their own size first.

    Args:
        optimizer: whose parameters' gradients count, all of them together as one vector.
        max_norm: largest Euclidean length of that vector.

    Raises:
        InputError: `max_norm` is not above 0.
    """

    def __init__(self, *, optimizer: Optimizer, max_norm: float) -> None:
        if not max_norm > 0:
            raise InputError(f"clip_gradients: found {max_norm}, expected a number above 0; raise it.")
        self.optimizer = optimizer
        self.max_norm = max_norm

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self)

    def __call__(self, engine: SupervisedTrainer) -> None:
        if not _steps_now(engine):
            return
        if engine.scaler is not None:
            engine.scaler.unscale_(self.optimizer)
        parameters = [one for group in self.optimizer.param_groups for one in group["params"]]
        nn.utils.clip_grad_norm_(parameters, self.max_norm)


def _steps_now(engine: SupervisedTrainer) -> bool:
    """Whether MONAI's trainer steps after this batch: each `accumulation_steps`, and at an epoch's end."""
    length = engine.state.epoch_length
    assert length is not None
    done = (engine.state.iteration - 1) % length + 1
    return done % engine.accumulation_steps == 0 or done == length

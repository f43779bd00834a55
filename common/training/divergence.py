"""The end of a training that diverged: nothing of it is worth keeping."""

import math
from typing import Any, NoReturn

from ignite.engine import Engine, Events
from monai.engines.utils import IterationEvents
from torch import nn
from torch.optim import Optimizer

from ..errors import InputError
from ..weights.finite import non_finite


class EndAtDivergence:
    """Handler of the trainer that ends the run at the first step whose loss is NaN or infinite.

    The weights are then those of the step before. After each epoch the weights are looked at too, since its
    last step may have spoilt them. Attach it before what validates and keeps weights.

    Args:
        network: that is trained.
        optimizer: whose first group's learning rate the message names.

    Raises:
        InputError: (while the engine runs) the loss, a weight or a value of the optimizer is not finite.
    """

    def __init__(self, *, network: nn.Module, optimizer: Optimizer) -> None:
        self.network = network
        self.optimizer = optimizer

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(IterationEvents.LOSS_COMPLETED, self._check_loss)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._check_weights)

    def _check_loss(self, engine: Engine) -> None:
        output: dict[str, Any] = engine.state.output  # type: ignore[assignment]
        # Reading it waits for a GPU, but the pass back through the network is what comes next anyway.
        loss = float(output["loss"].detach())
        if not math.isfinite(loss):
            self._end(engine, f"the loss is {loss}")

    def _check_weights(self, engine: Engine) -> None:
        parts = {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}
        if wrong := non_finite(parts):
            self._end(engine, f"{len(wrong)} tensors ({wrong[0]} first) are NaN or infinite")

    def _end(self, engine: Engine, found: str) -> NoReturn:
        rate = self.optimizer.param_groups[0]["lr"]
        raise InputError(
            f"learning_rate: {found} at step {engine.state.iteration} (epoch {engine.state.epoch}), where "
            f"the rate is {rate:g}, expected finite numbers: the training diverged, nothing of this epoch is "
            "kept; start again with a lower learning_rate, a tenth for example, and another ckpt_dir."
        )

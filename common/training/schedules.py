"""How the learning rate falls, and when a training that gains nothing more ends."""

import logging
import math
from collections.abc import Mapping
from typing import Any

from ignite.engine import Engine, Events
from ignite.handlers import EarlyStopping
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, PolynomialLR, ReduceLROnPlateau

from ..errors import InputError

_log = logging.getLogger(__name__)


def learning_rate_schedule(
    name: str,
    optimizer: Optimizer,
    *,
    total: int,
    power: float = 0.9,
    factor: float = 0.1,
    patience: int = 5,
) -> LRScheduler:
    """One of torch's schedules.

    Args:
        name: "power" falls to 0 as (1 - t / total) ** power, "cosine" as half a cosine wave, and "plateau" by
            `factor` at each validation that is the (`patience` + 1)th in a row without a lower loss.
        optimizer: whose rate falls.
        total: t at the end, in what the trainer counts (`lr_every`: epochs or steps).
        power: of "power".
        factor, patience: of "plateau".

    Raises:
        InputError: another name, a factor that is not between 0 and 1, or a negative patience.
    """
    if not 0 < factor < 1:
        raise InputError(
            f"lr_scheduler#factor: found {factor}, expected a number between 0 and 1; the rate is multiplied "
            "by it, 0.1 for example."
        )
    if patience < 0:
        raise InputError(f"lr_scheduler#patience: found {patience}, expected 0 or more; raise it.")
    if name == "power":
        return PolynomialLR(optimizer, total_iters=total, power=power)
    if name == "cosine":
        return CosineAnnealingLR(optimizer, T_max=total)
    if name == "plateau":
        return ReduceLROnPlateau(optimizer, factor=factor, patience=patience)
    raise InputError(f"schedule: found '{name}', expected power, cosine or plateau; choose one.")


class EndWithoutGain:
    """Handler of the trainer that ends it once epochs have passed without a higher key metric.

    It looks at each regular validation, and at that of the last epoch. Its state is kept with the training:
    one that ended goes on no more. Processes have the same metric and so end together. Attach it after what
    validates, before what keeps the state.

    Args:
        validator: the evaluating engine.
        patience: epochs; the first validation that comes so many or more after the highest metric ends it.
        interval: of the validations, in epochs.

    Raises:
        InputError: `patience` is not 1 or more.
    """

    def __init__(self, *, validator: Engine, patience: int, interval: int) -> None:
        if patience < 1:
            raise InputError(f"patience: found {patience}, expected 1 or more, or None; raise it.")
        self.validator = validator
        self.patience = patience
        self.interval = interval
        self._counter: EarlyStopping

    def attach(self, engine: Engine) -> None:
        validations = math.ceil(self.patience / self.interval)
        self._counter = EarlyStopping(validations, lambda _trainer: self._metric(), trainer=engine)
        engine.add_event_handler(Events.EPOCH_COMPLETED(event_filter=self._is_validated), self)

    def _is_validated(self, engine: Engine, epoch: int) -> bool:
        return epoch % self.interval == 0 or epoch == engine.state.max_epochs

    def _metric(self) -> float:
        state: Any = self.validator.state
        return float(state.metrics[state.key_metric_name])

    def __call__(self, engine: Engine) -> None:
        self._counter(engine)
        if self._is_over:
            _log.info(
                "patience: %s did not rise above %.4f in %d epochs, so the training ends after epoch %d.",
                getattr(self.validator.state, "key_metric_name", ""),
                self._counter.best_score,
                self.patience,
                engine.state.epoch,
            )

    @property
    def _is_over(self) -> bool:
        return self._counter.counter >= self._counter.patience

    def state_dict(self) -> dict[str, Any]:
        return dict(self._counter.state_dict())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on counting; of a training that had ended, end the trainer."""
        self._counter.load_state_dict(state)
        if self._is_over:
            self._counter.trainer.terminate()

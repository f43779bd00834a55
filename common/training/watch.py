"""What one sees of a training while it runs."""

import sys
import time
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from torch import Tensor, nn
from torch.optim import Optimizer
from tqdm import tqdm


class EpochMetrics:
    """Handler that puts into the trainer's metrics, at the end of each epoch and as means over all processes:

    `epoch_loss`, `epoch_loss/<part>` for a loss with `values` (`WeightedSum`), `learning_rate` (that of the
    epoch), `slices_per_s` (of all processes together; what comes after an epoch, as validation and
    checkpoints, left out).
    Attach it first: handlers after it (TensorBoard, MLflow, progress) write them, and the schedule steps.

    Args:
        optimizer: whose first group's learning rate is shown.
        loss: whose parts are shown, if it has any.
    """

    def __init__(self, *, optimizer: Optimizer, loss: nn.Module) -> None:
        self.optimizer = optimizer
        self.loss = loss

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._finish)

    def _start(self, _engine: Engine) -> None:
        self._sums: dict[str, Tensor] = {}
        self._slices = 0
        self._begin = time.perf_counter()

    def _collect(self, engine: Engine) -> None:
        output: dict[str, Any] = engine.state.output  # type: ignore[assignment]
        values = {"epoch_loss": output["loss"].detach()}
        values |= {f"epoch_loss/{name}": value for name, value in getattr(self.loss, "values", {}).items()}
        for name, value in values.items():  # kept on the device: reading a number would wait for the GPU
            self._sums[name] = self._sums.get(name, torch.zeros_like(value)) + value
        self._slices += len(output["image"])

    def _finish(self, engine: Engine) -> None:
        count = engine.state.epoch_length or 1
        metrics = {name: float(value) / count for name, value in self._sums.items()}
        seconds = time.perf_counter() - self._begin
        processes = idist.get_world_size()
        if processes > 1:
            means = idist.all_reduce(torch.tensor([*metrics.values()], dtype=torch.float64), op="SUM")
            assert isinstance(means, Tensor)
            metrics = dict(zip(metrics, (means / processes).tolist(), strict=True))
        metrics["learning_rate"] = self.optimizer.param_groups[0]["lr"]
        metrics["slices_per_s"] = self._slices * processes / seconds
        engine.state.metrics.update(metrics)


class ProgressLine:
    """Handler that shows one line for the whole training: epoch, loss, Dice, slices/s, time that is left.

    On a terminal the line is drawn over again every second; elsewhere (a log file) a new one comes every 30
    seconds. The loss is the last step's, the speed that of the last epoch up to now.

    Args:
        validator: the evaluating engine whose key metric is shown.
    """

    def __init__(self, *, validator: Engine) -> None:
        self.validator = validator
        self._bar: tqdm[Any] | None = None
        self._pause_s = 1.0 if sys.stderr.isatty() else 30.0

    def attach(self, engine: Engine) -> None:
        if idist.get_rank() != 0:
            return
        engine.add_event_handler(Events.EPOCH_STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._count)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._show)
        engine.add_event_handler(Events.COMPLETED, self._close)

    def _start(self, engine: Engine) -> None:
        if self._bar is None:  # not before: a training that goes on knows only now where it is
            total = (engine.state.max_epochs or 0) * (engine.state.epoch_length or 0)
            self._bar = tqdm(total=total, initial=engine.state.iteration, unit="step", mininterval=0)
        self._slices, self._shown = 0, time.perf_counter()
        self._begin = self._shown

    def _count(self, engine: Engine) -> None:
        output: dict[str, Any] = engine.state.output  # type: ignore[assignment]
        self._slices += len(output["image"]) * idist.get_world_size()
        self._last_step = time.perf_counter()  # what an epoch's end takes besides is no matter of speed
        if self._last_step - self._shown >= self._pause_s:  # reading the loss waits for a GPU
            self._show(engine)

    def _show(self, engine: Engine) -> None:
        assert self._bar is not None
        state, validated = engine.state, self.validator.state
        output: dict[str, Any] = state.output  # type: ignore[assignment]
        name = getattr(validated, "key_metric_name", None)
        dice = validated.metrics.get(name) if name else None
        parts = [
            f"epoch {state.epoch}/{state.max_epochs}",
            f"loss {output['loss'].item():.4f}",
            f"Dice {dice:.4f}" if isinstance(dice, float) else "Dice not yet",
            f"{self._slices / (self._last_step - self._begin):.1f} slices/s",
        ]
        self._shown = time.perf_counter()
        self._bar.set_description(", ".join(parts), refresh=False)
        self._bar.n = state.iteration
        self._bar.refresh()

    def _close(self, _engine: Engine) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

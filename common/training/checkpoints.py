"""Reading and keeping checkpoints while an engine runs."""

import logging
import math
import os
from collections.abc import Mapping
from pathlib import Path

import ignite.distributed as idist
from ignite.engine import Engine, Events

from ..files import remove_partial_files
from ..networks.base import TextSegmenter
from ..weights.checkpoints import load_trained, save_trained

_log = logging.getLogger(__name__)


class LoadCheckpoint:
    """Handler that loads `path` when its engine starts, and checks the bases that it was trained with.

    Without a path the network stays as it is (a training that starts from random weights). `to_train` allows
    other settings, see `load_trained`.
    """

    def __init__(
        self, *, network: TextSegmenter, path: str | os.PathLike[str] | None, to_train: bool = False
    ) -> None:
        self.network = network
        self.path = path
        self.to_train = to_train

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self)

    def __call__(self, _engine: Engine) -> None:
        if self.path is not None:
            load_trained(self.network, self.path, to_train=self.to_train)
            _log.info("weights of %s", self.path)


class BestCheckpoint:
    """Handler of the validating engine that keeps the checkpoint with the highest key metric.

    Of several processes only the first one writes. Its own state is the best score so far, so that a training
    that goes on keeps a better checkpoint of before.

    Args:
        network: what is saved.
        path: of the checkpoint; `model.json` is written beside it.
        half: store float16.
    """

    def __init__(self, *, network: TextSegmenter, path: str | os.PathLike[str], half: bool = False) -> None:
        self.network = network
        self.path = Path(path)
        self.half = half
        self.best = -math.inf

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.COMPLETED, self)

    def state_dict(self) -> dict[str, float]:
        return {"best": self.best}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        self.best = state["best"]

    def __call__(self, engine: Engine) -> None:
        name = engine.state.key_metric_name  # type: ignore[attr-defined]  # MONAI's evaluator sets it
        value = engine.state.metrics[name]
        if not value > self.best:
            return
        self.best = value
        if idist.get_rank() != 0:
            return
        remove_partial_files(self.path.parent)
        save_trained(self.network, self.path, half=self.half)
        _log.info("%s = %.4f is the best so far: saved %s", name, value, self.path)

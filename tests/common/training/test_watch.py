"""What is shown of a training, against numbers taken by hand."""

import re
from typing import Any

import pytest
import torch
from ignite.engine import Engine
from torch import nn

from common.errors import InputError
from common.losses import WeightedSum
from common.networks.base import Prediction
from common.training.precision import PrecisionInferer
from common.training.watch import EpochMetrics, ProgressLine


def trained(handlers: list[Any], losses: list[float], loss: Any, epochs: int = 2) -> Engine:
    """An engine that gives these losses, epoch after epoch, for batches of 3 slices."""

    def step(engine: Engine, _batch: Any) -> dict[str, torch.Tensor]:
        value = losses[engine.state.iteration - 1]
        loss.values = {"dice": torch.tensor(value / 4), "bce": torch.tensor(value * 3 / 4)}
        return {"loss": torch.tensor(value, requires_grad=True), "image": torch.zeros(3, 1, 2, 2)}

    engine = Engine(step)
    for handler in handlers:
        handler.attach(engine)
    engine.run([0, 1], max_epochs=epochs)
    return engine


def test_facts_of_an_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    loss = WeightedSum({"dice": nn.Identity()})
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.25)
    validator = Engine(lambda _engine, _batch: None)
    validator.state.key_metric_name = "val_mean_dice"  # type: ignore[attr-defined]
    validator.state.metrics["val_mean_dice"] = 0.75
    handlers = [EpochMetrics(optimizer=optimizer, loss=loss), ProgressLine(validator=validator)]
    metrics = trained(handlers, [9.0, 9.0, 1.0, 3.0], loss).state.metrics
    assert metrics["epoch_loss"] == 2.0  # of the second epoch
    assert (metrics["epoch_loss/dice"], metrics["epoch_loss/bce"]) == (0.5, 1.5)
    assert metrics["learning_rate"] == 0.25
    assert metrics["slices_per_s"] > 0
    last = capsys.readouterr().err.replace("\n", "\r").split("\r")[-2]
    pattern = r"epoch 2/2, loss 3\.0000, Dice 0\.7500, [\d.]+ slices/s: 100%.*4/4 \[\d\d:\d\d<\d\d:\d\d"
    assert re.match(pattern, last), last


def test_bfloat16_runs_on_a_cpu_and_logits_come_back_in_float32() -> None:
    network = nn.Conv2d(1, 1, 1, bias=False)
    nn.init.constant_(network.weight, 1.0)
    seen = []
    network.register_forward_hook(lambda _module, _inputs, output: seen.append(output.dtype))
    image = torch.full((1, 1, 2, 2), 1.0 + 2.0**-10)  # bfloat16 has 8 bits: this rounds to 1
    exact = PrecisionInferer()(image, network)
    rounded = PrecisionInferer(amp=True)(image, network)
    assert seen == [torch.float32, torch.bfloat16]
    assert exact.dtype == rounded.dtype == torch.float32
    assert (exact.max(), rounded.max()) == (1.0 + 2.0**-10, 1.0)
    with pytest.raises(InputError, match="float16 needs CUDA"):
        PrecisionInferer(amp=True, dtype="float16")(image, network)
    with pytest.raises(InputError, match="amp_dtype: found 'half', expected one of bfloat16, float16"):
        PrecisionInferer(dtype="half")


def test_features_come_back_in_float32_too() -> None:
    """And they are computed in half precision, as the logits are."""
    seen = []

    def network(image: torch.Tensor, features: bool) -> Prediction:
        assert features
        rounded = torch.nn.functional.conv2d(image, torch.ones(1, 1, 1, 1))
        seen.append(rounded.dtype)
        return Prediction(rounded, {"words": 2 * rounded})

    found = PrecisionInferer(amp=True)(torch.full((1, 1, 2, 2), 3.0), network, features=True)
    assert isinstance(found, Prediction)
    assert seen == [torch.bfloat16]
    assert found.logits.dtype == found.features["words"].dtype == torch.float32
    assert found.features["words"].max() == 6.0

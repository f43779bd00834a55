"""Checkpoints that an engine loads and keeps."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine
from torch import Tensor, nn

from common.errors import InputError
from common.networks.base import TextSegmenter
from common.networks.guidance import Guidance
from common.training.checkpoints import BestCheckpoint, LoadCheckpoint
from common.weights.checkpoints import read_model_json, save_checkpoint, write_model_json
from common.weights.pretrained import FrozenBase

SIZE = 8
BASE = FrozenBase("some/bert", "abc", "1" * 64)


class OneNumber(TextSegmenter):
    """A network with one trained weight, beside a frozen base."""

    def __init__(self, value: float = 0.0, base: FrozenBase = BASE) -> None:
        super().__init__(image_size=SIZE, default_prompt="liver")
        self.weight = nn.Parameter(torch.tensor([value]))
        self._base = base

    def frozen_bases(self) -> dict[str, FrozenBase]:
        return {"text_encoder": self._base}

    def encode_image(self, image: Tensor) -> Tensor:
        return image

    def encode_text(self, prompts: Any) -> Guidance:
        return Guidance(torch.zeros(len(prompts), 1, 1), torch.ones(len(prompts), 1, dtype=torch.bool))

    def decode(self, image_features: Tensor, guidance: Guidance) -> Tensor:
        return image_features * self.weight


@pytest.fixture
def validate() -> Callable[..., None]:
    """Run an engine whose key metric comes out at `score`, with `handler` attached."""

    def run(handler: BestCheckpoint, score: float) -> None:
        def step(engine: Engine, _batch: Any) -> None:
            engine.state.key_metric_name = "val_mean_dice"
            engine.state.metrics["val_mean_dice"] = score

        engine = Engine(step)
        handler.attach(engine)
        engine.run([0], max_epochs=1)

    return run


def test_best_score_is_kept_and_nothing_else(tmp_path: Path, validate: Callable[..., None]) -> None:
    path = tmp_path / "models" / "model.pt"
    network = OneNumber()
    handler = BestCheckpoint(network=network, path=path)
    kept = []
    for epoch, score in enumerate([math.nan, 0.2, 0.5, 0.4, math.nan, 0.5, 0.7, 0.0], start=1):
        with torch.no_grad():
            network.weight.fill_(epoch)
        validate(handler, score)
        kept.append(float(torch.load(path, weights_only=True)["weight"]) if path.exists() else None)
    assert kept == [None, 2, 3, 3, 3, 3, 7, 7]  # an equal score does not replace an earlier one
    assert sorted(file.name for file in path.parent.iterdir()) == ["model.json", "model.pt"]
    assert read_model_json(path) == {"text_encoder": BASE}


def test_score_of_zero_is_better_than_no_checkpoint(tmp_path: Path, validate: Callable[..., None]) -> None:
    validate(BestCheckpoint(network=OneNumber(), path=tmp_path / "model.pt"), 0.0)
    assert (tmp_path / "model.pt").exists()


@pytest.mark.parametrize(("half", "dtype"), [(False, torch.float32), (True, torch.float16)])
def test_half_is_float16(
    tmp_path: Path, validate: Callable[..., None], half: bool, dtype: torch.dtype
) -> None:
    validate(BestCheckpoint(network=OneNumber(0.5), path=tmp_path / "model.pt", half=half), 0.1)
    assert torch.load(tmp_path / "model.pt", weights_only=True) == {
        "weight": torch.tensor([0.5], dtype=dtype)
    }


def test_only_the_first_process_writes(
    tmp_path: Path, validate: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("common.training.checkpoints.idist.get_rank", lambda: 1)
    validate(BestCheckpoint(network=OneNumber(), path=tmp_path / "model.pt"), 0.9)
    assert not list(tmp_path.iterdir())


def started(handler: LoadCheckpoint) -> None:
    engine = Engine(lambda _engine, _batch: None)
    handler.attach(engine)
    engine.run([0])


def test_checkpoint_is_loaded_when_the_engine_starts(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    save_checkpoint(OneNumber(3.0), path, half=True)
    write_model_json(path, {"text_encoder": BASE}, settings={"network_def": {"image_size": SIZE}})
    network = OneNumber()
    handler = LoadCheckpoint(network=network, path=path)
    assert network.weight.item() == 0.0  # nothing is read when the config is parsed
    started(handler)
    assert network.weight.item() == 3.0
    assert network.weight.dtype == torch.float32


def test_without_a_path_the_network_stays_as_it_is() -> None:
    network = OneNumber(2.0)
    started(LoadCheckpoint(network=network, path=None))
    assert network.weight.item() == 2.0


def test_a_training_that_goes_on_keeps_a_better_checkpoint_of_before(
    tmp_path: Path, validate: Callable[..., None]
) -> None:
    path = tmp_path / "model.pt"
    first = BestCheckpoint(network=OneNumber(1.0), path=path)
    validate(first, 0.8)
    second = BestCheckpoint(network=OneNumber(2.0), path=path)
    second.load_state_dict(first.state_dict())
    validate(second, 0.7)
    assert torch.load(path, weights_only=True)["weight"].item() == 1.0
    validate(second, 0.9)
    assert torch.load(path, weights_only=True)["weight"].item() == 2.0


def test_missing_checkpoint_and_other_base_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    with pytest.raises(
        InputError, match=r"model\.pt: there is no such checkpoint .*; train the model or fetch"
    ):
        started(LoadCheckpoint(network=OneNumber(), path=path))
    save_checkpoint(OneNumber(3.0), path, half=False)
    write_model_json(path, {"text_encoder": BASE}, settings={"network_def": {"image_size": SIZE}})
    other = OneNumber(base=FrozenBase("other/bert", "def", "2" * 64))
    with pytest.raises(InputError, match=r"trained with some/bert .* but other/bert .* is in use; give the"):
        started(LoadCheckpoint(network=other, path=path))


def test_checkpoint_of_another_image_size_is_refused_but_may_be_trained_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "model.pt"
    save_checkpoint(OneNumber(3.0), path, half=False)
    write_model_json(path, {"text_encoder": BASE}, settings={"network_def": {"image_size": 2 * SIZE}})
    expected = (
        r"model\.pt: trained with network_def#image_size 16 \(8 is in use\); override network_def#image_size"
    )
    with pytest.raises(InputError, match=expected):
        started(LoadCheckpoint(network=OneNumber(), path=path))
    network = OneNumber()
    started(LoadCheckpoint(network=network, path=path, to_train=True))
    said = "trained with network_def#image_size 16 (8 is in use); training continues with what is in use."
    assert said in caplog.text
    assert network.weight.item() == 3.0

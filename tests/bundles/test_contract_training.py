"""Every bundle's train.json, really run: its checkpoint, curves, images and record."""

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.bundles.subjects import TINY, Subject

MAX_MODEL_BYTES = 25_000_000  # what stands in git; larger files need large_files.yml


@pytest.fixture(scope="module")
def curves(trained: Any) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for file in trained.logs.glob("events.out.tfevents.*"):
        events = EventAccumulator(str(file)).Reload()
        found |= {tag: events.Scalars(tag) for tag in events.Tags()["scalars"]}
    return found


def test_config_has_all_that_monai_asks_for(trained: Any) -> None:
    assert trained.faults == []


def test_checkpoint_is_flat_and_holds_what_was_trained(trained: Any) -> None:
    assert sorted(path.name for path in trained.models.iterdir()) == ["model.json", "model.pt", "states"]
    tensors = torch.load(trained.checkpoint, weights_only=True)
    assert type(tensors) is dict
    assert all(isinstance(value, torch.Tensor) for value in tensors.values())
    assert {value.dtype for value in tensors.values() if value.is_floating_point()} == {torch.float16}
    assert trained.checkpoint.stat().st_size < MAX_MODEL_BYTES
    bases = json.loads((trained.models / "model.json").read_text())["frozen_bases"]
    assert not [name for name in tensors if name.split(".")[0] in bases and "lora_" not in name]


def test_record_says_what_the_network_is(trained: Any) -> None:
    record = json.loads((trained.models / "model.json").read_text())
    shipped = json.loads((trained.subject.root / "models" / "model.json").read_text())
    assert record["network_def"]["image_size"] == TINY["network_def#image_size"]
    assert record["network_def"].keys() == shipped["network_def"].keys()
    assert record["network_def"]["framing"] == shipped["network_def"]["framing"]
    assert record["frozen_bases"] == shipped["frozen_bases"]


def test_states_are_kept_to_go_on_from(trained: Any) -> None:
    states = sorted(path.name for path in (trained.models / "states").iterdir())
    assert [name[:11] for name in states] == ["epoch_00001", "epoch_00002"]


def test_curves(trained: Any, curves: dict[str, list[Any]]) -> None:
    epochs = trained.overrides["epochs"]
    batches = trained.overrides["draws_per_epoch"] // trained.overrides["batch_size"]
    assert [event.step for event in curves["val_mean_dice"]] == list(range(1, epochs + 1))
    parts = {f"epoch_loss/{name}" for name in trained.subject.config("train.json")["loss"].get("parts", ())}
    assert {"epoch_loss", "slices_per_s", "learning_rate"} | parts < curves.keys()
    assert [tag for tag in curves if tag.startswith("val_mean_dice/")]
    losses = [event.value for event in curves["train_loss"]]
    assert len(losses) == epochs * batches
    assert all(math.isfinite(value) for value in losses)
    assert np.mean(losses[-batches:]) < np.mean(losses[:batches])  # it learns


def test_validation_draws_cases(trained: Any) -> None:
    names = [path.name for path in (trained.logs / "images").iterdir()]
    assert {name[-9:] for name in names} == {"00001.png", "00002.png"}  # of both epochs


def test_record_of_the_run(trained: Any) -> None:
    (entry,) = json.loads((trained.logs / "run.json").read_text())
    content = (trained.subject.data / "datalist.json").read_bytes()
    assert entry["datalist"]["sha256"] == hashlib.sha256(content).hexdigest()
    split = {name: len(json.loads(content)[name]) for name in ("training", "validation", "test")}
    assert {name: len(cases) for name, cases in entry["split"].items()} == split


def test_config_of_the_run_runs_by_itself(trained: Any) -> None:
    config = json.loads((trained.logs / "config.json").read_text())
    network = config["network_def"]
    for key, value in trained.overrides.items():
        name = key.removeprefix("network_def#")
        assert (config if name == key else network)[name] == value
    assert config["train"]["trainer"]["_target_"] == "scripts.common.training.Trainer"


def test_nothing_is_left_elsewhere(trained: Any) -> None:
    assert sorted(path.name for path in trained.folder.iterdir()) == ["logs", "models"]


def test_two_networks_of_one_seed_are_the_same(subject: Subject, tmp_path: Path) -> None:
    """What is random at the start is seeded by the config."""
    built = []
    for _ in range(2):
        workflow = subject.workflow("train.json", **subject.training(tmp_path))
        workflow.initialize()
        built.append(workflow.parser.get_parsed_content("network_def").state_dict())
    for name, value in built[0].items():
        assert torch.equal(value, built[1][name]), name

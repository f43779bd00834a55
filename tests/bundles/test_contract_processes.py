"""Every bundle in two processes (gloo) on this machine: it trains, and scores as one process does."""

import json
import re
import shutil
import socket
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.bundles.commands import options, run
from tests.bundles.subjects import Subject

LAUNCHER = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
BUNDLE_RUN = ["-m", "monai.bundle", "run"]


class Trained(NamedTuple):
    """A training in two processes: where it wrote, what it was told and what it said."""

    subject: Subject
    folder: Path
    overrides: dict[str, Any]
    said: str


@pytest.fixture(scope="module")
def trained_by_two(subject: Subject, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("two")
    overrides = {**subject.training(folder), "epochs": 2, "draws_per_epoch": 8, "batch_size": 2}
    return Trained(subject, folder, overrides, train(subject, folder, overrides))


def train(subject: Subject, folder: Path, overrides: dict[str, Any]) -> str:
    configs = options(subject.root, "train.json", "multi_gpu_train.json", **overrides)
    return run(*LAUNCHER, *BUNDLE_RUN, "training", *configs, cwd=folder)


@pytest.mark.parametrize(
    "configs",
    [("multi_gpu_train.json",), ("evaluate.json", "multi_gpu_evaluate.json")],
    ids=["training", "evaluation"],
)
def test_config_has_all_that_monai_asks_for(
    subject: Subject, configs: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a group of one process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "RANK": 0, "LOCAL_RANK": 0, "WORLD_SIZE": 1}
    for name, value in group.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.chdir(tmp_path)
    workflow = subject.workflow("train.json", *configs, **subject.training(tmp_path))
    workflow.initialize()
    try:
        assert workflow.check_properties() == []
        if configs[0] == "multi_gpu_train.json":
            network = workflow.parser.get_parsed_content("network")
            assert isinstance(network, torch.nn.parallel.DistributedDataParallel)
            assert network.module is workflow.parser.get_parsed_content("model")
    finally:
        workflow.finalize()
    assert not torch.distributed.is_initialized()


@pytest.mark.slow
def test_two_processes_share_the_draws_and_one_writes(trained_by_two: Trained) -> None:
    saved = re.findall(r"val_mean_dice = ([\d.]+) is the best so far: saved", trained_by_two.said)
    assert 1 <= len(saved) == len(set(saved))  # two that write would say each score twice
    models = sorted(path.name for path in (trained_by_two.folder / "models").iterdir())
    assert models == ["model.json", "model.pt", "states"]
    steps: list[int] = []
    for file in (trained_by_two.folder / "logs").glob("events.out.tfevents.*"):
        events = EventAccumulator(str(file)).Reload()
        if "train_loss" in events.Tags()["scalars"]:
            steps += [event.step for event in events.Scalars("train_loss")]
    assert steps == [1, 2, 3, 4]  # two epochs of 8 draws in batches of 2 are 8 steps, 4 for each process


@pytest.mark.slow
def test_two_processes_go_on_bit_for_bit(trained_by_two: Trained, tmp_path: Path) -> None:
    """From the state after the first epoch, as if they had been killed in the second one."""
    shutil.copytree(trained_by_two.folder / "models", tmp_path / "models")
    first, second = sorted((tmp_path / "models" / "states").iterdir())
    second.unlink()
    places = {"ckpt_dir": tmp_path / "models", "output_dir": tmp_path / "logs"}
    said = train(trained_by_two.subject, tmp_path, {**trained_by_two.overrides, **places})
    assert said.count(f"going on from {first}: epoch 1 is done, 1 to go") == 2  # said by both
    assert second.is_file()  # its name holds the SHA-256 of all that is kept


def odd_test_section(data: Path, path: Path) -> int:
    """Write a datalist to test on an odd number of items, so that one process gets one more; returns it."""
    datalist = json.loads((data / "datalist.json").read_text())
    items = datalist["training"] + datalist["test"]
    for item in items:
        item |= {kind: str(data / item[kind]) for kind in ("image", "label")}
    datalist["test"], datalist["training"] = items[: len(items) - 1 + len(items) % 2], []
    path.write_text(json.dumps(datalist))
    return len(datalist["test"])


def key_metric(said: str) -> float:
    values = {float(value) for value in re.findall(r"new best metric of val_mean_dice: ([\d.e-]+)", said)}
    (value,) = values
    return value


@pytest.mark.slow
def test_evaluating_in_two_processes_scores_as_one_does(trained_by_two: Trained, tmp_path: Path) -> None:
    subject, overrides = trained_by_two.subject, dict(trained_by_two.overrides)
    count = odd_test_section(subject.data, tmp_path / "datalist.json")
    assert count % 2 == 1
    overrides["datalist"] = tmp_path / "datalist.json"
    configs = ("train.json", "evaluate.json")
    one = options(subject.root, *configs, **{**overrides, "output_dir": tmp_path / "one"})
    alone = run(*BUNDLE_RUN, "evaluating", *one, cwd=tmp_path)
    configs = (*configs, "multi_gpu_evaluate.json")
    two = options(subject.root, *configs, **{**overrides, "output_dir": tmp_path / "two"})
    together = run(*LAUNCHER, *BUNDLE_RUN, "evaluating", *two, cwd=tmp_path)
    for name in ("volumes.csv", "slices.csv"):
        first, second = (sorted((tmp_path / part / name).read_text().splitlines()) for part in ("one", "two"))
        assert first == second
    assert len((tmp_path / "one" / "volumes.csv").read_text().splitlines()) > count
    assert key_metric(together) == pytest.approx(key_metric(alone), rel=1e-9)

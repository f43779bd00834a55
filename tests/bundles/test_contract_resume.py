"""A real training of each bundle, killed between and during the writing of its states, and one left alone."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.bundles.commands import environment, options
from tests.bundles.subjects import Subject

SECONDS = 550
EPOCHS = 4


class Training(NamedTuple):
    """The command of a training and where it writes."""

    folder: Path
    command: list[str]

    @property
    def states(self) -> Path:
        return self.folder / "models" / "states"

    def start(self) -> "subprocess.Popen[str]":
        log = open(self.folder / "log.txt", "a")  # noqa: SIM115 - the child writes to it
        return subprocess.Popen(
            self.command, cwd=self.folder, env=environment(), stdout=log, stderr=subprocess.STDOUT, text=True
        )

    def finish(self) -> str:
        """Run to the end; returns all that was said so far, and fails with it."""
        code = self.start().wait(SECONDS)
        said = (self.folder / "log.txt").read_text()
        assert code == 0, said[-2000:]
        return said

    def kill_when(self, seen: Callable[[], bool]) -> None:
        """Start, and send SIGKILL as soon as `seen()`."""
        process = self.start()
        end = time.monotonic() + SECONDS
        while not seen():
            assert process.poll() is None, (self.folder / "log.txt").read_text()[-2000:]
            assert time.monotonic() < end
            time.sleep(0.0005)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL

    def newest(self) -> Path:
        return sorted(self.states.glob("*.pt"))[-1]

    def losses(self) -> dict[int, float]:
        """Loss by step. What a killed run had done beyond its last state is there twice, and has to agree."""
        found: dict[int, set[float]] = {}
        for file in (self.folder / "logs").glob("events.out.tfevents.*"):
            events = EventAccumulator(str(file)).Reload()
            if "train_loss" in events.Tags()["scalars"]:
                for event in events.Scalars("train_loss"):
                    found.setdefault(event.step, set()).add(event.value)
        assert all(len(values) == 1 for values in found.values())
        return {step: values.pop() for step, values in sorted(found.items())}


@pytest.fixture
def make_training(subject: Subject, tmp_path: Path) -> Callable[..., Training]:
    def make(name: str, **more: Any) -> Training:
        folder = tmp_path / name
        folder.mkdir()
        few = {"epochs": EPOCHS, "draws_per_epoch": 16, "num_workers": 1} | more
        changes = options(subject.root, "train.json", **{**subject.training(folder), **few})
        return Training(folder, [sys.executable, "-m", "monai.bundle", "run", "training", *changes])

    return make


def flat(content: Any, where: str = "") -> dict[str, Any]:
    """Leaves of nested dicts and lists by their place."""
    if not isinstance(content, dict | list):
        return {where: content}
    items = content.items() if isinstance(content, dict) else enumerate(content)
    return {place: leaf for key, value in items for place, leaf in flat(value, f"{where}/{key}").items()}


def assert_same(one: Path, other: Path) -> None:
    """Bitwise."""
    first, second = (flat(torch.load(path, weights_only=True)) for path in (one, other))
    assert first.keys() == second.keys()
    for name, value in first.items():
        same = torch.equal(value, second[name]) if isinstance(value, torch.Tensor) else value == second[name]
        assert same, name


@pytest.mark.slow
def test_killed_training_ends_as_one_that_was_left_alone(make_training: Callable[[str], Training]) -> None:
    whole, killed = make_training("whole"), make_training("killed")
    whole.finish()
    assert len(whole.losses()) == EPOCHS * 4

    killed.kill_when(lambda: bool(list(killed.states.glob("epoch_00001-*.pt"))))  # between two states
    assert not list(killed.states.glob("epoch_00002-*.pt"))
    killed.kill_when(
        lambda: any(path.stat().st_size for path in killed.states.glob(".partial-*/epoch_00002*"))
    )
    assert list(killed.states.glob(".partial-*")), "it was killed after the writing, not during it"
    assert not list(killed.states.glob("epoch_00002-*.pt"))
    killed.kill_when(lambda: bool(list(killed.states.glob("epoch_00003-*.pt"))))
    newest = killed.newest()
    with newest.open("r+b") as file:
        file.truncate(newest.stat().st_size // 2)

    said = killed.finish()
    assert f"{newest}: cut short or changed" in said
    goes_on = [line for line in said.splitlines() if "going on from" in line]
    assert [f"epoch {epoch} is done" in line for epoch, line in zip((1, 1, 2), goes_on, strict=True)] == [
        True
    ] * 3
    assert killed.losses() == whole.losses()
    assert killed.newest().name == whole.newest().name  # the name holds the SHA-256 of all that was kept
    assert_same(killed.newest(), whole.newest())
    assert_same(killed.folder / "models" / "model.pt", whole.folder / "models" / "model.pt")
    assert len(list(killed.states.iterdir())) == 2  # the two newest, and nothing half-written


@pytest.mark.slow
def test_a_plateau_and_patience_go_on_where_they_were(make_training: Callable[..., Training]) -> None:
    """With a rate of nearly nothing the Dice hardly moves: most bundles end before the last epoch."""
    settings = {"learning_rate": 1e-7, "schedule": "plateau", "patience": 1, "clip_gradients": 0.5}
    whole, killed = (make_training(name, **settings) for name in ("whole", "killed"))
    said = whole.finish()
    last = whole.newest().name[:11]
    assert ("patience: val_mean_dice did not rise above" in said) or last == f"epoch_{EPOCHS:05d}"
    killed.kill_when(lambda: bool(list(killed.states.glob("epoch_00001-*.pt"))))
    killed.finish()
    assert killed.newest().name[:11] == last
    assert_same(killed.newest(), whole.newest())
    kept = torch.load(whole.newest(), weights_only=True)["objects"]
    assert kept["lr_scheduler"]["last_epoch"] == int(last[-5:])  # a step for each validation
    assert kept["patience"]["best_score"] is not None
    assert f"epoch {int(last[-5:])} is done, none is left" in killed.finish()

"""States of a training: what goes on from them, and what is refused."""

import logging
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events
from torch import nn

from common.errors import InputError
from common.training.states import TrainingStates, newest_sound_state, states
from common.training.trainer import SeedIterations

STEPS = 5
EMPTY = os.devnull  # a datalist of no bytes
DATA = [torch.full((4, 3), float(number)) for number in range(STEPS)]


class Run:
    """A small training with dropout, Adam and a schedule; `losses` by iteration.

    Its engine has `config` and what else is given as its config, unless that is `unknown`.
    """

    def __init__(self, folder: Path, *, keep: int = 2, unknown: bool = False, **config: Any) -> None:
        torch.manual_seed(0)
        self.network = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Linear(8, 1))
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=0.1)
        self.scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, T_max=6)
        self.losses: dict[int, float] = {}
        self.engine = Engine(self._step)
        SeedIterations(7).attach(self.engine)
        self.engine.add_event_handler(Events.EPOCH_COMPLETED, lambda: self.scheduler.step())
        objects = {"network": self.network, "optimizer": self.optimizer, "scheduler": self.scheduler}
        arguments = {"ckpt_dir": str(folder), "datalist": EMPTY, "init_checkpoint": None, "keep_states": keep}
        settings = arguments | config
        self.engine.config = None if unknown else settings  # type: ignore[attr-defined]
        files = {name: settings[name] for name in ("datalist", "init_checkpoint")}
        kept = TrainingStates(folder=folder, objects=objects, keep=keep, **files)
        kept.attach(self.engine)

    def _step(self, engine: Engine, batch: torch.Tensor) -> None:
        self.network.train()
        self.optimizer.zero_grad()
        loss = self.network(batch).square().mean()
        loss.backward()
        self.optimizer.step()
        self.losses[engine.state.iteration] = loss.item()

    def until(self, epochs: int) -> "Run":
        self.engine.run(DATA, max_epochs=epochs)
        return self

    def weights(self) -> torch.Tensor:
        return nn.utils.parameters_to_vector(self.network.parameters()).detach()


def test_a_run_that_goes_on_equals_one_that_never_stopped(tmp_path: Path) -> None:
    whole = Run(tmp_path / "whole").until(6)
    first = Run(tmp_path / "parts").until(2)
    torch.rand(100)  # whatever happened to the generators meanwhile
    second = Run(tmp_path / "parts").until(6)
    assert first.losses | second.losses == whole.losses
    assert min(second.losses) == 2 * STEPS + 1
    assert torch.equal(second.weights(), whole.weights())
    assert second.scheduler.get_last_lr() == whole.scheduler.get_last_lr()
    assert len(set(whole.losses.values())) == 6 * STEPS  # and dropout does draw something new each time


@pytest.mark.parametrize("keep", [1, 3])
def test_the_last_ones_are_kept(tmp_path: Path, keep: int) -> None:
    Run(tmp_path, keep=keep).until(4)
    assert [path.name[:11] for path in states(tmp_path)] == [f"epoch_{4 - age:05d}" for age in range(keep)]
    assert len(list(tmp_path.iterdir())) == keep
    with pytest.raises(InputError, match="keep_states: found 0, expected 1 or more"):
        TrainingStates(folder=tmp_path, objects={}, datalist=EMPTY, keep=0)


@pytest.mark.parametrize("damage", ["truncate", "flip", "empty"])
def test_a_damaged_newest_state_gives_way_to_the_one_before(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    Run(tmp_path).until(3)
    newest, before = states(tmp_path)
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes({"truncate": content[:-1], "flip": content, "empty": b""}[damage])
    found = newest_sound_state(tmp_path)
    assert found is not None
    assert found[0] == before
    assert found[1]["epoch"] == 2
    assert f"{newest}: cut short or changed" in caplog.text
    before.write_bytes(b"")
    with pytest.raises(
        InputError, match=r"none of the 2 training states is whole .* remove them to train from"
    ):
        newest_sound_state(tmp_path)


def test_a_damaged_state_does_not_take_the_place_of_a_sound_one(tmp_path: Path) -> None:
    Run(tmp_path, keep=2).until(3)
    newest = states(tmp_path)[0]
    newest.write_bytes(b"")
    newest.rename(tmp_path / "epoch_00003-ffffffffffffffff.pt")  # sorts after whatever comes in its place
    Run(tmp_path, keep=2).until(3)
    assert [path.name[:11] for path in states(tmp_path)] == ["epoch_00003", "epoch_00002"]
    found = newest_sound_state(tmp_path)
    assert found is not None
    assert found[0] == states(tmp_path)[0]


def test_half_written_files_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    Run(tmp_path).until(1)
    left = tmp_path / ".partial-abc"
    left.mkdir()
    (left / "epoch_00002-0123456789abcdef.pt").write_bytes(b"half")
    Run(tmp_path).until(1)
    assert [path.name[:11] for path in tmp_path.iterdir()] == ["epoch_00001"]


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    """The system refuses to write more: to the program, much like a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_the_older_states_usable(tmp_path: Path) -> None:
    Run(tmp_path).until(2)
    kept = states(tmp_path)
    with (
        no_file_larger_than(2000),
        pytest.raises(
            InputError, match=r"cannot be written .* make room on the disk, then start the same"
        ) as caught,
    ):
        Run(tmp_path).until(4)
    assert f"Older states are whole: {kept[0].name}, {kept[1].name}." in str(caught.value)
    assert sorted(tmp_path.iterdir()) == sorted(kept)
    assert Run(tmp_path).until(4).engine.state.epoch == 4


def test_other_settings_are_refused(tmp_path: Path) -> None:
    Run(tmp_path, learning_rate=0.1, epochs=6).until(1)
    with pytest.raises(
        InputError, match=r"\(learning_rate was 0\.1 and is 0\.2\); give the same settings to go on"
    ):
        Run(tmp_path, learning_rate=0.2, epochs=6).until(2)
    with pytest.raises(InputError, match='network_def#preset was not set and is "paper"'):
        Run(tmp_path, learning_rate=0.1, epochs=6, network_def={"preset": "paper"}).until(2)


def test_settings_that_are_not_known_are_not_compared_and_that_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Run(tmp_path, unknown=True, epochs=6).until(1)
    assert "not compared" not in caplog.text
    assert Run(tmp_path, unknown=True, epochs=7).until(2).engine.state.epoch == 2
    assert "the settings of this training are not known, so they are not compared; set" in caplog.text
    with pytest.raises(InputError, match="epochs was not set and is 6"):
        Run(tmp_path, epochs=6).until(3)


def test_many_other_settings_are_counted(tmp_path: Path) -> None:
    Run(tmp_path).until(1)
    with pytest.raises(InputError, match=r"s7 was not set and is 0; and 2 more\); give the same settings"):
        Run(tmp_path, **{f"s{number}": 0 for number in range(10)}).until(2)


def transforms(prob: float) -> dict[str, Any]:
    flip = {"_target_": "RandFlipd", "keys": ["image"], "prob": prob}
    return {"preprocessing": {"_target_": "Compose", "transforms": [flip]}}


def test_another_transform_is_refused(tmp_path: Path) -> None:
    Run(tmp_path, train=transforms(0.5)).until(1)
    expected = r"\(train#preprocessing#transforms#0#prob was 0\.5 and is 0\.25\); give the same settings"
    with pytest.raises(InputError, match=expected):
        Run(tmp_path, train=transforms(0.25)).until(2)
    assert Run(tmp_path, train=transforms(0.5)).until(2).engine.state.epoch == 2


def test_places_and_speed_may_differ(tmp_path: Path) -> None:
    """Another handler in training, too: it watches, and shares no draw."""
    config: dict[str, Any] = {"seed": 0, "train": {"handlers": ["a"], **transforms(0.5)}}
    Run(tmp_path, dataset_dir="a", num_workers=0, **config).until(1)
    config["train"] = config["train"] | {"handlers": ["a", "b"]}
    changes: dict[str, Any] = {"dataset_dir": "b", "num_workers": 2, "keep": 3, "_meta_": {"version": "0.2"}}
    assert Run(tmp_path, **changes, **config).until(2).engine.state.epoch == 2


@pytest.mark.parametrize("file", ["datalist", "init_checkpoint"])
def test_another_file_is_refused_and_the_same_in_another_place_is_not(tmp_path: Path, file: str) -> None:
    first, moved = tmp_path / "first", tmp_path / "moved"
    for path in (first, moved):
        path.write_text('{"training": ["a.nii.gz"]}')
    Run(tmp_path / "states", **{file: str(first)}).until(1)
    assert Run(tmp_path / "states", **{file: str(moved)}).until(2).engine.state.epoch == 2
    moved.write_text('{"training": ["b.nii.gz"]}')
    with pytest.raises(
        InputError, match=rf"\({file}_sha256 was f9ffbd1491.* and is .*; give the same settings"
    ):
        Run(tmp_path / "states", **{file: str(moved)}).until(3)


def test_beginning_from_a_checkpoint_is_not_beginning_from_none(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(b"weights")
    Run(tmp_path / "states").until(1)
    with pytest.raises(InputError, match=r"\(init_checkpoint_sha256 was none and is [0-9a-f]{64}\); give"):
        Run(tmp_path / "states", init_checkpoint=str(tmp_path / "model.pt")).until(2)


def test_a_finished_run_says_that_there_is_nothing_to_do(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    Run(tmp_path).until(2)
    again = Run(tmp_path).until(2)
    assert again.losses == {}
    assert "epoch 2 is done, none is left; give its checkpoint as init_checkpoint" in caplog.text


def test_states_are_read_without_running_code(tmp_path: Path) -> None:
    Run(tmp_path).until(1)
    content = torch.load(states(tmp_path)[0], weights_only=True)
    assert content.keys() == {"epoch", "iteration", "settings", "objects"}
    assert (content["epoch"], content["iteration"]) == (1, STEPS)

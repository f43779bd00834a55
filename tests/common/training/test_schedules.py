"""Learning rates and the end of trainings, against their formulas; stopped trainings that go on."""

import logging
from collections.abc import Sequence
from math import cos, pi
from pathlib import Path

import pytest
import torch
from ignite.engine import Engine, Events
from monai.handlers import ValidationHandler

from common.errors import InputError
from common.training import learning_rate_schedule
from common.training.states import states
from tests.common.training.parts import Training

LOSS, DICE = "val_loss", "val_mean_dice"


def rates(name: str, steps: Sequence[float | None], **options: float) -> list[float]:
    """The rate before each step and after the last one, from 0.1; a plateau steps with these losses."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    schedule = learning_rate_schedule(name, optimizer, total=len(steps), **options)  # type: ignore[arg-type]
    found = [optimizer.param_groups[0]["lr"]]
    for loss in steps:
        optimizer.step()
        schedule.step(*([] if loss is None else [loss]))  # type: ignore[arg-type]
        found.append(optimizer.param_groups[0]["lr"])
    return found


def test_power_and_cosine_end_at_zero() -> None:
    assert rates("power", [None] * 4) == pytest.approx([0.1 * (1 - t / 4) ** 0.9 for t in range(5)])
    assert rates("power", [None] * 4, power=2) == pytest.approx([0.1 * (1 - t / 4) ** 2 for t in range(5)])
    cosine = [0.05 * (1 + cos(pi * t / 4)) for t in range(5)]
    assert rates("cosine", [None] * 4) == pytest.approx(cosine, abs=1e-12)


def test_a_plateau_of_six_validations_costs_nine_tenths() -> None:
    """The first loss is the one to fall below; the sixth that does not, and each sixth from there, counts."""
    assert rates("plateau", [1.0] * 13) == pytest.approx([0.1] * 7 + [0.01] * 6 + [0.001])
    falling = [1.0, *[1.0] * 5, 0.9, *[0.95] * 6]
    assert rates("plateau", falling) == pytest.approx([0.1] * 13 + [0.01])
    assert rates("plateau", [1.0] * 5, patience=1, factor=0.5) == pytest.approx(
        [0.1] * 3 + [0.05] * 2 + [0.025]
    )


def test_what_is_no_schedule_is_refused() -> None:
    with pytest.raises(InputError, match="schedule: found 'step', expected power, cosine or plateau; choose"):
        rates("step", [])
    for factor in (0.0, 1.0):
        with pytest.raises(InputError, match=rf"lr_scheduler#factor: found {factor}, expected a number betw"):
            rates("plateau", [], factor=factor)
    with pytest.raises(InputError, match="lr_scheduler#patience: found -1, expected 0 or more"):
        rates("plateau", [], patience=-1)


def scored(epoch: int) -> dict[str, float]:
    """Of validations after every second epoch: the loss never falls, the Dice is highest after epoch 4."""
    return {LOSS: 1.0, DICE: {2: 0.5, 4: 0.6, 6: 0.6, 8: 0.55}.get(epoch, 0.9)}


def steered(folder: Path) -> Training:
    return Training(folder, epochs=12, plateau=1, patience=4, clip_gradients=0.05, scored=scored)


def stop_before(training: Training, epoch: int) -> None:
    """As a kill does."""

    def stop(engine: Engine) -> None:
        if engine.state.epoch == epoch:
            raise InterruptedError

    training.trainer.add_event_handler(Events.EPOCH_STARTED, stop)
    with pytest.raises(InterruptedError):
        training.run()


def rates_of(training: Training) -> list[float]:
    """The rate of each epoch that a training made."""
    return [float(note.split()[1]) for note in training.order if note.startswith("rate")]


def test_a_training_takes_a_plateaus_rate_and_ends_when_nothing_is_gained(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Losses of epochs 2, 4 and 6 are one plateau; the Dice of 4 stands for four epochs, until 8."""
    caplog.set_level(logging.INFO)
    done = steered(tmp_path).run()
    assert rates_of(done) == pytest.approx([0.1] * 6 + [0.01] * 2)
    assert done.trainer.state.epoch == 8
    assert [note for note in done.order if note.startswith("validated")][-1] == "validated 8"
    said = "val_mean_dice did not rise above 0.6000 in 4 epochs, so the training ends after epoch 8."
    assert said in caplog.text


@pytest.mark.parametrize(("patience", "last"), [(3, 8), (5, 10), (None, 12)])
def test_patience_is_in_epochs_and_ends_at_a_validation(
    tmp_path: Path, patience: int | None, last: int
) -> None:
    """Validations come after every second epoch, and the Dice falls from epoch 4 on."""
    fallen = Training(
        tmp_path,
        epochs=12,
        patience=patience,
        scored=lambda epoch: {DICE: 0.5 if epoch == 2 else 1 / epoch + 0.5},
    )
    assert fallen.run().trainer.state.epoch == last


def test_a_training_stopped_twice_ends_as_one_that_was_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """To the bit, after the same epoch; and then it goes on no more."""
    caplog.set_level(logging.INFO)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir()
    parts.mkdir()
    done = steered(whole).run()
    stop_before(steered(parts), 6)  # one validation of the plateau is behind it
    stop_before(steered(parts), 8)  # and one without a gain
    last = steered(parts).run()
    assert last.trainer.state.epoch == 8
    assert rates_of(last) == pytest.approx([0.01])
    for name, value in done.network.state_dict().items():
        assert torch.equal(last.network.state_dict()[name], value), name
    newest = [states(folder / "models" / "states")[0] for folder in (whole, parts)]
    kept = [torch.load(path, weights_only=True)["objects"] for path in newest]
    assert kept[0].keys() == {"network", "optimizer", "lr_scheduler", "best", "patience"}
    torch.testing.assert_close(kept[0]["optimizer"]["state"], kept[1]["optimizer"]["state"], rtol=0, atol=0)
    for name in ("lr_scheduler", "best", "patience"):
        assert kept[0][name] == kept[1][name], name
    caplog.clear()
    again = steered(parts).run()
    assert again.order == []
    assert "epoch 8 is done, none is left; give its checkpoint as init_checkpoint" in caplog.text


def test_a_validation_that_steers_comes_as_often_when_it_goes_on(tmp_path: Path) -> None:
    """Where it does not, the interval may differ."""
    first = steered(tmp_path)
    stop_before(first, 3)
    other = Training(tmp_path, epochs=12, plateau=1)
    with pytest.raises(InputError, match=r"val_interval was 2 and is 1"):
        Training(
            tmp_path, epochs=12, plateau=1, train_handlers=[ValidationHandler(1, validator=other.evaluator)]
        ).run()


@pytest.mark.parametrize("patience", [0, -3])
def test_patience_of_no_epoch_is_refused(tmp_path: Path, patience: int) -> None:
    with pytest.raises(InputError, match=rf"patience: found {patience}, expected 1 or more, or None"):
        Training(tmp_path, patience=patience)

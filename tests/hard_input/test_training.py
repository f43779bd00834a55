"""Trainings that go wrong end with a sentence, and leave nothing that looks sound."""

import json
from pathlib import Path

import nibabel as nib
import pytest
import torch
from ignite.engine import Engine, Events
from monai.engines import SupervisedEvaluator
from monai.handlers import ValidationHandler

from common.data.datalist import load_referring
from common.data.framing import contradiction
from common.data.sentence_draws import ReferringImages
from common.errors import InputError
from common.training.states import newest_sound_state, states
from common.training.validation import ValidateEarly, ValidateLastEpoch
from common.weights.checkpoints import load_trained, save_trained
from tests.common.training.parts import BATCH, DRAWS, Tiny, Training, write_volumes
from tests.hard_input.datalists import AFFINE
from tests.hard_input.training import (
    NO_NUMBERS,
    NOT_HOUNSFIELD,
    DivergesAt,
    SpoilsAt,
    spoil_newest_state,
    write_spoilt_checkpoint,
)

STEPS = DRAWS // BATCH


@pytest.mark.parametrize("value", NO_NUMBERS)
def test_a_loss_that_is_no_number_ends_the_run_at_that_step(tmp_path: Path, value: str) -> None:
    training = Training(tmp_path, loss=DivergesAt(STEPS + 2, NO_NUMBERS[value]))
    expected = (
        rf"learning_rate: the loss is {value} at step {STEPS + 2} \(epoch 2\), where the rate is 0\.05, "
        r"expected finite numbers: .* start again with a lower learning_rate"
    )
    with pytest.raises(InputError, match=expected):
        training.run()
    assert all(weights.isfinite().all() for weights in training.network.state_dict().values())
    assert [path.name[:11] for path in states(tmp_path / "models" / "states")] == ["epoch_00001"]


def test_a_rate_of_a_million_millions_ends_without_a_state(tmp_path: Path) -> None:
    training = Training(tmp_path, epochs=60)
    for group in training.optimizer.param_groups:
        group["lr"] = group["initial_lr"] = 1e30
    with pytest.raises(InputError, match=r"learning_rate: .* the rate is 1e\+30, expected finite numbers"):
        training.run()
    assert not list((tmp_path / "models").rglob("*.pt"))


def test_a_last_step_that_spoils_the_weights_leaves_neither_state_nor_checkpoint(tmp_path: Path) -> None:
    """The loss is finite; only the weights show it. The validation after the epoch never runs."""
    training = Training(tmp_path, epochs=1, loss=SpoilsAt(STEPS, 1.0))
    expected = rf"learning_rate: \d+ tensors \(network\.\S+ first\) are NaN or infinite at step {STEPS}"
    with pytest.raises(InputError, match=expected):
        training.run()
    assert not list((tmp_path / "models").rglob("*.pt"))


@pytest.mark.parametrize("value", NO_NUMBERS)
def test_a_spoilt_state_gives_way_to_the_one_before(
    tmp_path: Path, value: str, caplog: pytest.LogCaptureFixture
) -> None:
    Training(tmp_path, epochs=2).run()
    folder = tmp_path / "models" / "states"
    spoilt = spoil_newest_state(folder, NO_NUMBERS[value])
    found = newest_sound_state(folder)
    assert found is not None
    assert found[1]["epoch"] == 1
    assert f"{spoilt}: 1 tensors (network.pixel.weight first) hold NaN or infinite values" in caplog.text
    states(folder)[1].unlink()
    with pytest.raises(InputError, match="none of the 1 training states is whole and of finite numbers"):
        newest_sound_state(folder)


@pytest.mark.parametrize("value", NO_NUMBERS)
def test_a_spoilt_checkpoint_is_loaded_by_nobody(tmp_path: Path, value: str) -> None:
    """Neither by inference and evaluation, nor to begin a training with it."""
    path = write_spoilt_checkpoint(tmp_path / "spoilt.pt", NO_NUMBERS[value])
    expected = (
        r"spoilt\.pt: 1 of 7 tensors hold NaN or infinite values \(head\.weight\), expected finite numbers; "
        "a training that diverged wrote it"
    )
    network = Tiny()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(InputError, match=expected):
        load_trained(network, path)
    assert all(torch.equal(network.state_dict()[name], value) for name, value in before.items())
    with pytest.raises(InputError, match=expected):
        Training(tmp_path, init_checkpoint=path).run()


@pytest.mark.parametrize("half", [True, False])
def test_spoilt_weights_are_not_written_over_good_ones(tmp_path: Path, half: bool) -> None:
    network = Tiny()
    save_trained(network, tmp_path / "model.pt", half=half)
    good = (tmp_path / "model.pt").read_bytes()
    torch.nn.init.constant_(network.head.weight, float("nan"))
    with pytest.raises(InputError, match=r"model\.pt: 1 of 7 tensors .* lower its learning_rate"):
        save_trained(network, tmp_path / "model.pt", half=half)
    assert (tmp_path / "model.pt").read_bytes() == good


@pytest.mark.parametrize("kind", NOT_HOUNSFIELD)
def test_training_and_evaluation_say_what_is_not_in_hounsfield_units(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Each volume once, however often it is validated."""
    write_volumes(tmp_path)
    voxels, found = NOT_HOUNSFIELD[kind]
    for name in "ab":
        nib.save(nib.Nifti1Image(voxels, AFFINE), tmp_path / f"{name}_image.nii.gz")
    training = Training(tmp_path, epochs=3)
    (said,) = [record.getMessage() for record in caplog.records if "Hounsfield" in record.getMessage()]
    assert said.startswith(f"{tmp_path / 'a_image.nii.gz'}: found {found}")
    assert "expected CT in Hounsfield units (air -1000, fat -100) for the window from -160 to 240" in said
    training.run()
    (_, said) = [record.getMessage() for record in caplog.records if "Hounsfield" in record.getMessage()]
    assert said.startswith(f"{tmp_path / 'b_image.nii.gz'}: found {found}")


def test_sentences_about_slices_are_looked_at_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_volumes(tmp_path)
    voxels, _ = NOT_HOUNSFIELD["mr"]
    nib.save(nib.Nifti1Image(voxels, AFFINE), tmp_path / "a_image.nii.gz")
    files = {"image": "a_image.nii.gz", "label": "a_label.nii.gz", "slice": 1, "prompts": ["the bright one"]}
    (tmp_path / "slices.json").write_text(json.dumps({"training": [files]}))
    ReferringImages(load_referring(tmp_path / "slices.json", "training"), network=Tiny())
    assert caplog.text.count("a_image.nii.gz: found no value below 300, expected CT in Hounsfield") == 1


@pytest.mark.parametrize(
    ("low", "high", "window"),
    [(-1024, 3071, (-160, 240)), (-120, 90, (-160, 240)), (-3, 800, (-160, 240)), (0, 900, (0, 800))],
)
def test_ct_cropped_ct_and_windows_for_mr_are_in_order(
    low: float, high: float, window: tuple[float, float]
) -> None:
    assert contradiction(low, high, window) is None


@pytest.mark.parametrize(
    ("interval", "expected"), [(1, [4, 8, 12]), (2, [6, 8, 12]), (3, [6, 12]), (9, [6, 12])]
)
def test_the_first_validation_comes_early(interval: int, expected: list[int]) -> None:
    """Here after six steps of the twelve of three epochs, unless a regular one comes before."""
    run: list[int] = []
    validator = SupervisedEvaluator(
        device=torch.device("cpu"), val_data_loader=[{"image": torch.zeros(1)}], network=torch.nn.Identity()
    )
    trainer = Engine(lambda _engine, _batch: None)
    for handler in (
        ValidateEarly(validator=validator, interval=interval, steps=6),
        ValidationHandler(validator=validator, interval=interval),
        ValidateLastEpoch(validator=validator, interval=interval),
    ):
        handler.attach(trainer)
    validator.add_event_handler(Events.STARTED, lambda _engine: run.append(trainer.state.iteration))
    trainer.run(range(4), max_epochs=3)
    assert run == expected


def test_every_training_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the first epoch where that is long; the learning goes on as if it had not been."""
    for name in ("plain", "early"):
        (tmp_path / name).mkdir()
    plain = Training(tmp_path / "plain", epochs=1).run()
    monkeypatch.setattr("common.training.validation.FIRST_STEPS", 3)
    early = Training(tmp_path / "early", epochs=1).run()
    assert (plain.order, early.order) == (
        ["rate 0.05", "states 0", "validated 1"],
        ["validated 1", "rate 0.05", "states 0", "validated 1"],
    )
    for name, value in plain.network.state_dict().items():
        assert torch.equal(early.network.state_dict()[name], value), name


def test_a_run_that_began_from_the_checkpoint_it_replaces_goes_on(tmp_path: Path) -> None:
    """As the bundles' pages train; and a moved init_checkpoint of the same content is the same."""
    (tmp_path / "models").mkdir()
    own = tmp_path / "models" / "model.pt"
    save_trained(Tiny(), own, half=False)
    before = own.read_bytes()
    Training(tmp_path, epochs=2, init_checkpoint=own).run()
    assert own.read_bytes() != before
    again = Training(tmp_path, epochs=3, init_checkpoint=own).run()
    assert again.trainer.state.iteration == 3 * STEPS
    assert [note for note in again.order if note.startswith("rate")] == ["rate 0.0125"]

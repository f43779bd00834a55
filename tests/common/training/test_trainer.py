"""What every training of a bundle does, on a network of 20 weights and volumes of four slices."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Events
from monai.handlers import ValidationHandler
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from common.data.datalist import load_referring
from common.data.evaluation_cases import EvaluationCases
from common.data.framing import Framing
from common.errors import InputError
from common.inference import VolumeInferer
from common.losses import WeightedSum
from common.training import Evaluator
from common.training.states import states
from common.weights.checkpoints import load_trained, save_trained
from tests.common.training.parts import (
    BATCH,
    CPU,
    DRAWS,
    Noting,
    Tiny,
    Training,
    WordsNearZero,
    image_cases,
    volume_cases,
    write_images,
    write_volumes,
)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Training]:
    folder = tmp_path_factory.mktemp("training")
    return folder, Training(folder).run()


def test_own_handlers_come_after_the_rates_step_and_before_the_state_is_kept(
    done: tuple[Path, Training],
) -> None:
    """In their own order; with an interval of two, the second epoch is validated and the last one too."""
    assert done[1].order == [
        *("rate 0.05", "states 0"),
        *("rate 0.025", "validated 2", "states 1"),
        *("rate 0.0125", "states 2", "validated 3"),
    ]


def test_the_best_weights_and_the_newest_states_are_kept(done: tuple[Path, Training]) -> None:
    folder, _ = done
    files = sorted(path.name for path in (folder / "models").iterdir())
    assert files == ["model.json", "model.pt", "states"]
    kept = torch.load(states(folder / "models" / "states")[0], weights_only=True)
    assert [path.name[:11] for path in states(folder / "models" / "states")] == ["epoch_00003", "epoch_00002"]
    assert kept["objects"].keys() == {"network", "optimizer", "lr_scheduler", "best"}
    assert (kept["epoch"], kept["iteration"]) == (3, 3 * DRAWS // BATCH)
    # The kept weights score what was best: segmented anew, by an evaluator of their own.
    network = load_trained(Tiny(), folder / "models" / "model.pt")
    again = Evaluator(
        device=CPU,
        dataset=volume_cases(folder / "datalist.json"),
        network=network,
        inferer=VolumeInferer(),
    )
    again.run()
    assert again.state.metrics["val_mean_dice"] == pytest.approx(kept["objects"]["best"]["best"], abs=0.02)
    assert again.state.metrics.keys() == {"val_mean_dice", "val_mean_dice/liver", "val_mean_dice/spleen"}


def test_curves_images_and_record_are_written(done: tuple[Path, Training]) -> None:
    folder, _ = done
    curves = EventAccumulator(str(folder / "out")).Reload()
    scalars = curves.Tags()["scalars"]
    assert {"train_loss", "epoch_loss", "epoch_loss/bce", "learning_rate", "val_mean_dice"} <= set(scalars)
    assert [point.step for point in curves.Scalars("val_mean_dice")] == [2, 3]
    assert curves.Scalars("epoch_loss")[-1].value < curves.Scalars("epoch_loss")[0].value
    assert curves.Tags()["images"] == ["validation/b"]
    drawn = sorted(path.name for path in (folder / "out" / "images").iterdir())
    assert drawn == ["b_epoch_00002.png", "b_epoch_00003.png"]
    (entry,) = json.loads((folder / "out" / "run.json").read_text())
    assert entry["split"]["training"] == {"a": "a"}


def test_a_training_that_was_stopped_goes_on(done: tuple[Path, Training], tmp_path: Path) -> None:
    """And ends as one that was not: the same weights, to the bit."""
    Training(tmp_path, epochs=2).run()
    second = Training(tmp_path, epochs=3).run()
    assert [note for note in second.order if note.startswith("rate")] == ["rate 0.0125"]
    for name, value in done[1].network.state_dict().items():
        assert torch.equal(second.network.state_dict()[name], value), name


def test_a_refused_run_leaves_the_record_of_the_earlier_one(tmp_path: Path) -> None:
    first, second = Training(tmp_path, epochs=1), Training(tmp_path, epochs=1)
    first.trainer.config, second.trainer.config = {"learning_rate": 0.1}, {"learning_rate": 0.2}
    first.run()
    with pytest.raises(InputError, match=r"learning_rate was 0\.1 and is 0\.2"):
        second.run()
    assert json.loads((tmp_path / "out" / "config.json").read_text()) == {"learning_rate": 0.1}
    assert len(json.loads((tmp_path / "out" / "run.json").read_text())) == 1


def test_training_starts_from_the_init_checkpoint(tmp_path: Path) -> None:
    network = Tiny()
    with torch.no_grad():
        network.pixel.bias.fill_(3.0)
    save_trained(network, tmp_path / "first.pt", half=False)
    training = Training(tmp_path, epochs=1, init_checkpoint=tmp_path / "first.pt")
    seen: list[float] = []
    training.trainer.add_event_handler(
        Events.EPOCH_STARTED, lambda _engine: seen.append(training.network.pixel.bias.item())
    )
    training.run()
    assert seen == [3.0]


def test_prompts_reach_the_network_as_they_are_and_features_where_a_loss_asks(tmp_path: Path) -> None:
    batch = {
        "image": torch.rand(2, 1, 4, 4),
        "label": torch.ones(4, 1, 4, 4),
        "prompt": ["liver", "$1+1", "spleen", "liver"],
        "target": ["liver", "liver", "spleen", "liver"],
    }
    plain = Training(tmp_path).trainer
    image, label, args, kwargs = plain.prepare_batch(batch, CPU, False, dtype=torch.float64)  # type: ignore[call-arg]
    assert image is batch["image"]
    assert label is batch["label"]
    assert (args, kwargs) == ((), {"guidance": batch["prompt"]})
    asking = Training(tmp_path, loss=WeightedSum({"near": WordsNearZero()})).trainer
    assert asking.prepare_batch(batch, CPU, False)[3] == {"guidance": batch["prompt"], "features": True}  # type: ignore[call-arg]


def test_a_loss_on_features_trains_what_gives_them(tmp_path: Path) -> None:
    loss = WeightedSum({"bce": nn.BCEWithLogitsLoss(), "near": WordsNearZero()})
    training = Training(tmp_path, epochs=1, loss=loss)
    before = training.network.side.weight.detach().clone()
    training.run()
    assert (training.network.side.weight - before).abs().min() > 0.01
    assert loss.values.keys() == {"bce", "near"}


def test_a_training_that_does_not_validate_is_refused(tmp_path: Path) -> None:
    expected = (
        r"train#handlers: found Noting, expected one ValidationHandler with an Evaluator among them; add"
    )
    with pytest.raises(InputError, match=expected):
        Training(tmp_path, train_handlers=[Noting(lambda _engine: None)])
    with pytest.raises(InputError, match="train#handlers: found none, expected one ValidationHandler"):
        Training(tmp_path, train_handlers=[])
    other = ValidationHandler(interval=1, validator=Training(tmp_path).evaluator)
    with pytest.raises(InputError, match="found ValidationHandler, ValidationHandler, expected one"):
        Training(tmp_path, train_handlers=[other, other])


def test_an_evaluator_gives_volume_case_and_segmentation(tmp_path: Path) -> None:
    """And hands the inferer the only slice that was asked for."""
    cases = volume_cases(write_volumes(tmp_path))
    seen: list[dict[str, Any]] = []
    network = Tiny()
    evaluator = Evaluator(device=CPU, dataset=cases, network=network, inferer=VolumeInferer())
    evaluator.add_event_handler(
        Events.ITERATION_COMPLETED, lambda engine: seen.append(dict(engine.state.output))
    )
    evaluator.run()
    assert [output["label"].case for output in seen] == ["b", "c"]
    for output in seen:
        assert output["image"] is output["label"].image
        assert [result.prompt for result in output["pred"].results] == list(output["label"].prompts)
        assert output["pred"].slice_index is None
    assert network.heard == [["liver", "spleen"]] * 2


def test_a_network_of_volumes_is_judged_on_no_2d_images(tmp_path: Path) -> None:
    """As inference refuses them; a training says so before its first epoch."""
    cases = image_cases(write_images(tmp_path, ["a"]))
    options: dict[str, Any] = {"device": CPU, "dataset": cases, "inferer": VolumeInferer()}
    Evaluator(network=Tiny(Framing(crop="whole", images=True)), **options)
    with pytest.raises(
        InputError, match=r"a_image\.png: found the ending '\.png', expected NIfTI .*; convert"
    ):
        Evaluator(network=Tiny(Framing(crop="whole")), **options)


def test_a_case_about_one_slice_is_segmented_there_alone(tmp_path: Path) -> None:
    write_volumes(tmp_path)
    item = {"image": "b_image.nii.gz", "label": "b_label.nii.gz", "slice": 2, "prompts": ["the bright one"]}
    (tmp_path / "slices.json").write_text(json.dumps({"test": [item | {"lesion": 1}]}))
    seen: list[Any] = []
    network = Tiny()
    with torch.no_grad():
        network.pixel.bias.fill_(9.0)
    cases = EvaluationCases(load_referring(tmp_path / "slices.json", "test"))
    evaluator = Evaluator(device=CPU, dataset=cases, network=network, inferer=VolumeInferer())
    evaluator.add_event_handler(
        Events.ITERATION_COMPLETED, lambda engine: seen.append(engine.state.output["pred"])
    )
    evaluator.run()
    assert seen[0].mask(0).any(axis=(1, 2)).tolist() == [False, False, True, False]
    # All of the slice, 20 x 16 pixels, is taken for the liver's 7 x 7: 2 * 49 / (320 + 49).
    assert evaluator.state.metrics["val_mean_dice"] == pytest.approx(98 / 369)

"""What is shown of a training, against numbers taken by hand."""

import re
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from common.training.pictures import ReferredSlices, VolumeSlices, draw
from ignite.engine import Engine, State
from monai.losses import DiceCELoss, DiceLoss
from torch import nn

from common.data.volumes import Grid, Volume
from common.errors import InputError
from common.inference.segmentation import Segmentation, summarise
from common.losses import WeightedSum
from common.text.prompts import Prompt
from common.training import EpochFacts, PrecisionInferer, ProgressLine, ValidationPictures


def test_parts_sum_to_monais_loss_and_can_be_read() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 1, 8, 8, generator=generator)
    target = (torch.rand(4, 1, 8, 8, generator=generator) > 0.5).float()
    parts = {"dice": DiceLoss(sigmoid=True, smooth_nr=0.0), "bce": nn.BCEWithLogitsLoss()}
    loss = WeightedSum(parts)
    expected = DiceCELoss(sigmoid=True, smooth_nr=0.0)(logits, target)
    torch.testing.assert_close(loss(logits, target), expected, rtol=1e-6, atol=0)
    assert loss.values["bce"] == nn.functional.binary_cross_entropy_with_logits(logits, target)
    weighted = WeightedSum(parts, {"bce": 0.25})(logits, target)
    assert weighted.item() == pytest.approx(float(loss.values["dice"] + 0.25 * loss.values["bce"]), rel=1e-6)
    with pytest.raises(InputError, match="loss_weights: found ce, expected some of dice, bce; correct"):
        WeightedSum(parts, {"ce": 1.0})


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
    handlers = [EpochFacts(optimizer=optimizer, loss=loss), ProgressLine(validator=validator)]
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


def volume(slices: np.ndarray) -> Volume:
    depth, height, width = slices.shape
    grid = Grid(Path("a.nii.gz"), (width, height, depth), np.diag([-1.0, -1.0, 1.0, 1.0]), nib.Nifti1Header())
    return Volume(slices, (1.0, 1.0, 1.0), grid)


@pytest.fixture
def drawn() -> tuple[Volume, Volume, Segmentation]:
    """Image, reference and answer; the second prompt, which is no code, has nothing in either."""
    reference, labels = np.zeros((3, 6, 8), np.int32), np.zeros((3, 6, 8), np.uint8)
    reference[2, 1:4, 1:4], reference[1, 1, 1], labels[2, 2:5, 2:5] = 1, 1, 1
    prompts = [Prompt("the liver", "liver", 1), Prompt("$1+1", "sum", 2)]
    ones = np.ones(2)
    results = summarise(
        labels,
        prompts,
        spacing_mm=(1.0, 1.0, 1.0),
        scores=ones,
        present=ones.astype(bool),
        lost=np.zeros(2, int),
    )
    image = np.random.default_rng(0).normal(40, 20, reference.shape).astype(np.float32)
    return volume(image), volume(reference), Segmentation(labels, results, {})


def state_of(batch: Any, image: Any, label: Any, pred: Any) -> State:
    state = State()
    state.batch = batch
    output = {"image": image, "label": label, "pred": pred}
    state.output = [output] if isinstance(batch, list) else output
    return state


def test_picture_has_a_row_a_prompt_and_the_masks_where_they_are(drawn: Any) -> None:
    image, reference, found = drawn
    state = state_of({"case": "a"}, image, reference, found)
    figure = draw(VolumeSlices(prompts=4)(state))
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["the liver, slice 2", "truth", "prediction", "$1+1, slice 1", "truth", "prediction"]
    truth, prediction = (
        np.asarray(figure.axes[column].images[1].get_array())[..., 3] > 0 for column in (1, 2)
    )
    np.testing.assert_array_equal(truth, reference.slices[2] == 1)
    np.testing.assert_array_equal(prediction, found.labels[2] == 1)
    assert len(draw(VolumeSlices(prompts=1)(state)).axes) == 3
    with pytest.raises(InputError, match="pictures: found -1, expected 0 or more"):
        ValidationPictures(output_dir="nowhere", cases=-1)


def test_picture_of_a_referred_lesion_lies_over_the_masks_in_the_files_own_pixels() -> None:
    """The network's field of 8 x 8 pixels is drawn over a file of 3 rows and 6 columns, 2 mm x 1 mm each."""
    field = torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(0))
    label, pred = torch.zeros(1, 3, 6), torch.zeros(1, 3, 6)
    label[0, 1, 2], pred[0, 2, 4] = 1, 1
    item = {"case": "p1-2", "prompt": "the $left$ one", "spacing_mm": torch.tensor([2.0, 1.0])}
    (row,) = ReferredSlices()(state_of([item], field, label, pred))
    assert (row.case, row.title, row.aspect) == ("p1-2", "the $left$ one", 2.0)
    figure = draw([row])
    for axes, mask in zip(figure.axes[1:], (label, pred), strict=True):
        below, above = axes.images
        assert list(below.get_extent()) == list(above.get_extent()) == [0, 6, 3, 0]
        np.testing.assert_array_equal(np.asarray(below.get_array()), field[0].numpy())
        np.testing.assert_array_equal(np.asarray(above.get_array())[..., 3] > 0, mask[0].numpy() > 0)

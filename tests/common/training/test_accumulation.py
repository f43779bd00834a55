"""Accumulated and clipped gradients: the trainer against one plain torch step."""

from pathlib import Path
from typing import Any

import pytest
import torch
from monai.handlers import ValidationHandler
from monai.losses import DiceLoss
from torch import nn
from torch.utils.data import Dataset

from common.data.draws import collate_slices
from common.inference import VolumeInferer
from common.losses import PromptCompetition, WeightedSum
from common.training import Evaluator, PrecisionInferer, Trainer
from tests.common.training.parts import volume_cases, write_volumes
from tests.common.training.training_process import SIZE, small_network

WORDS = ["the left kidney", "liver"]
RATE = 0.5


class Draws(Dataset[dict[str, Any]]):
    """Noise with two prompts an image, and masks."""

    def __init__(self, length: int) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Any]:
        generator = torch.Generator().manual_seed(index)
        return {
            "image": torch.rand(1, SIZE, SIZE, generator=generator),
            "label": (torch.rand(2, SIZE, SIZE, generator=generator) > 0.7).float(),
            "prompt": WORDS,
            "target": WORDS,
            "case": "noise",
            "slice_index": index,
            "spacing_mm": (1.0, 1.0, 1.0),
        }


def loss_function() -> WeightedSum:
    parts = {
        "dice": DiceLoss(sigmoid=True, smooth_nr=0.0),
        "bce": nn.BCEWithLogitsLoss(),
        "competition": PromptCompetition(2),
    }
    return WeightedSum(parts)


def trained(folder: Path, *, draws: int = 4, lengths: list[float] | None = None, **options: Any) -> nn.Module:
    """The network after one epoch; `lengths` gets that of each step's gradients."""
    network, datalist = small_network(), write_volumes(folder)
    optimizer = torch.optim.SGD(network.parameters(), lr=RATE)

    def note(*_: Any) -> None:
        if lengths is not None:
            found = [one.grad.norm() for one in network.parameters() if one.grad is not None]
            lengths.append(float(torch.stack(found).norm()))

    optimizer.register_step_pre_hook(note)
    device = torch.device("cpu")
    evaluator = Evaluator(
        device=device, dataset=volume_cases(datalist), network=network, inferer=VolumeInferer()
    )
    Trainer(
        device=device,
        max_epochs=1,
        dataset=Draws(draws),
        network=network,
        loss_function=loss_function(),
        optimizer=optimizer,
        lr_scheduler=torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0),
        train_handlers=[ValidationHandler(interval=1, validator=evaluator)],
        inferer=PrecisionInferer(),
        datalist=datalist,
        checkpoint=folder / "models" / "model.pt",
        output_dir=folder / "out",
        images=0,
        **options,
    ).run()
    return network


def test_two_accumulated_halves_make_the_step_of_the_whole_batch(tmp_path: Path) -> None:
    whole = collate_slices([Draws(4)[index] for index in range(4)])
    plain = small_network().train()
    before = {name: value.detach().clone() for name, value in plain.named_parameters()}
    loss_function()(plain(whole["image"], whole["prompt"]), whole["label"]).backward()
    runs = []
    for steps in (2, 1):
        folder = tmp_path / str(steps)
        folder.mkdir()
        runs.append(dict(trained(folder, batch_size=2, accumulation_steps=steps).named_parameters()))
    found, stepwise = runs
    moved = [name for name, value in plain.named_parameters() if value.grad is not None]
    assert len(moved) > 50
    apart = 0
    for name, value in plain.named_parameters():
        step = torch.zeros_like(value) if value.grad is None else RATE * value.grad
        torch.testing.assert_close(before[name] - found[name], step, rtol=1e-3, atol=1e-6, msg=name)
        apart += not torch.allclose(before[name] - stepwise[name], step, rtol=1e-3, atol=1e-6)
    assert apart > 50  # two steps of half a batch each are something else


def test_the_sum_of_accumulated_gradients_is_clipped_once(tmp_path: Path) -> None:
    """The step is the plain one of the whole batch, shortened to the largest length; not of each half."""
    whole = collate_slices([Draws(4)[index] for index in range(4)])
    plain = small_network().train()
    before = {name: value.detach().clone() for name, value in plain.named_parameters()}
    loss_function()(plain(whole["image"], whole["prompt"]), whole["label"]).backward()
    gradients = {name: one.grad for name, one in plain.named_parameters() if one.grad is not None}
    length = float(torch.stack([one.norm() for one in gradients.values()]).norm())
    most = length / 4
    found = dict(
        trained(tmp_path, batch_size=2, accumulation_steps=2, clip_gradients=most).named_parameters()
    )
    for name, gradient in gradients.items():
        step = RATE * gradient / 4
        torch.testing.assert_close(before[name] - found[name], step, rtol=1e-3, atol=1e-6, msg=name)


def test_every_step_is_clipped_the_short_one_at_an_epochs_end_too(tmp_path: Path) -> None:
    clipped, free = [tmp_path / name for name in ("clipped", "free")]
    clipped.mkdir()
    free.mkdir()
    lengths: list[float] = []
    trained(free, draws=6, batch_size=2, accumulation_steps=2, lengths=lengths)
    assert len(lengths) == 2  # of two batches, and of the third one alone
    most = min(lengths) / 2
    lengths.clear()
    trained(clipped, draws=6, batch_size=2, accumulation_steps=2, lengths=lengths, clip_gradients=most)
    assert lengths == pytest.approx([most, most], rel=1e-4)

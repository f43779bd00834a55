"""Accumulated gradients: the trainer against one plain torch step."""

from pathlib import Path
from typing import Any

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


def trained(folder: Path, *, batch_size: int, accumulation_steps: int) -> nn.Module:
    """The network after one epoch over four draws."""
    network, datalist = small_network(), write_volumes(folder)
    optimizer = torch.optim.SGD(network.parameters(), lr=RATE)
    device = torch.device("cpu")
    evaluator = Evaluator(
        device=device, dataset=volume_cases(datalist), network=network, inferer=VolumeInferer()
    )
    Trainer(
        device=device,
        max_epochs=1,
        dataset=Draws(4),
        network=network,
        loss_function=loss_function(),
        optimizer=optimizer,
        lr_scheduler=torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0),
        train_handlers=[ValidationHandler(interval=1, validator=evaluator)],
        inferer=PrecisionInferer(),
        batch_size=batch_size,
        datalist=datalist,
        checkpoint=folder / "models" / "model.pt",
        output_dir=folder / "out",
        accumulation_steps=accumulation_steps,
        images=0,
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

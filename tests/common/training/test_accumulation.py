"""Accumulated gradients: MONAI's trainer, as the bundles' configs set it up, against one plain torch step."""

from typing import Any

import torch
from monai.engines import SupervisedTrainer
from monai.losses import DiceLoss
from torch import nn

from common.losses import PromptCompetition, WeightedSum
from common.training import PrecisionInferer, PreparePrompts
from tests.common.training.worker import SIZE, small_network

WORDS = ["the left kidney", "liver"]
RATE = 0.5


def batch_of(images: int) -> dict[str, Any]:
    """Noise with two prompts each."""
    generator = torch.Generator().manual_seed(5)
    masks = torch.rand(images * 2, 1, SIZE, SIZE, generator=generator) > 0.7
    image = torch.rand(images, 1, SIZE, SIZE, generator=generator)
    return {"image": image, "label": masks.float(), "prompt": WORDS * images}


def halves(batch: dict[str, Any]) -> list[dict[str, Any]]:
    middle = len(batch["image"]) // 2
    prompts = [slice(0, 2 * middle), slice(2 * middle, None)]
    images = [slice(0, middle), slice(middle, None)]
    return [
        {"image": batch["image"][i], "label": batch["label"][p], "prompt": batch["prompt"][p]}
        for i, p in zip(images, prompts, strict=True)
    ]


def loss_function() -> WeightedSum:
    parts = {
        "dice": DiceLoss(sigmoid=True, smooth_nr=0.0),
        "bce": nn.BCEWithLogitsLoss(),
        "competition": PromptCompetition(2),
    }
    return WeightedSum(parts)


def trained(batches: list[dict[str, Any]], accumulation_steps: int) -> nn.Module:
    """The network after one epoch over the batches."""
    network = small_network()
    SupervisedTrainer(
        max_epochs=1,
        device=torch.device("cpu"),
        train_data_loader=batches,
        prepare_batch=PreparePrompts(),
        network=network,
        loss_function=loss_function(),
        optimizer=torch.optim.SGD(network.parameters(), lr=RATE),
        inferer=PrecisionInferer(),
        decollate=False,
        accumulation_steps=accumulation_steps,
    ).run()
    return network


def test_two_accumulated_halves_make_the_step_of_the_whole_batch() -> None:
    whole = batch_of(4)
    plain = small_network().train()
    before = {name: value.detach().clone() for name, value in plain.named_parameters()}
    loss_function()(plain(whole["image"], whole["prompt"]), whole["label"]).backward()
    found = dict(trained(halves(whole), accumulation_steps=2).named_parameters())
    stepwise = dict(trained(halves(whole), accumulation_steps=1).named_parameters())
    moved = [name for name, value in plain.named_parameters() if value.grad is not None]
    assert len(moved) > 50
    apart = 0
    for name, value in plain.named_parameters():
        step = torch.zeros_like(value) if value.grad is None else RATE * value.grad
        torch.testing.assert_close(before[name] - found[name], step, rtol=1e-3, atol=1e-6, msg=name)
        apart += not torch.allclose(before[name] - stepwise[name], step, rtol=1e-3, atol=1e-6)
    assert apart > 50  # two steps of half a batch each are something else

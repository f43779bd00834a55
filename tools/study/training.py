"""A plain training loop that stops after a stated time, the same for every network of a study."""

import math
import time
from collections.abc import Iterator
from typing import Any

import torch
from monai.losses import DiceCELoss
from torch.utils.data import DataLoader
from tqdm import tqdm

from common.data.organ_slices import EpochSampler, OrganSlices, collate_slices
from common.networks.base import TextSegmenter


def train_for(
    network: TextSegmenter,
    dataset: OrganSlices,
    *,
    words: str,
    minutes: float,
    device: torch.device,
    batch_size: int,
    learning_rate: float = 1e-3,
) -> dict[str, float]:
    """Train with AdamW and Dice + BCE; the learning rate rises for 3 % of the time, then falls as a cosine.

    Args:
        network: moved to `device` and left in eval mode.
        words: key of the batch whose strings are the text: "prompt", or "target" for the bare organ names.
        minutes: wall-clock time.
        batch_size: slices a step.

    Returns:
        Steps, slices a second and the mean loss of the last tenth of the steps.
    """
    network.to(device).train()
    loss_function = DiceCELoss(sigmoid=True, smooth_nr=1.0, smooth_dr=1.0)
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=0.01)
    start, losses = time.monotonic(), []
    with tqdm(total=round(minutes * 60), unit="s", desc=type(network).__name__) as bar:
        for batch in _batches(dataset, batch_size):
            share = (time.monotonic() - start) / (minutes * 60)
            if share >= 1:
                break
            for group in optimizer.param_groups:
                group["lr"] = learning_rate * min(share / 0.03, 0.5 * (1 + math.cos(math.pi * share)))
            logits = network(batch["image"].to(device), batch[words])
            loss = loss_function(logits, batch["label"].to(device))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            losses.append(loss.item())
            bar.update(round(share * minutes * 60) - bar.n)
            bar.set_postfix(loss=f"{losses[-1]:.3f}", steps=len(losses), refresh=False)
    network.eval()
    last = losses[-max(1, len(losses) // 10) :]
    seconds = time.monotonic() - start
    return {
        "steps": len(losses),
        "slices_per_s": len(losses) * batch_size / seconds,
        "loss": sum(last) / len(last),
    }


def _batches(dataset: OrganSlices, batch_size: int) -> Iterator[dict[str, Any]]:
    """Batches without end."""
    loader = DataLoader(
        dataset, batch_size, sampler=EpochSampler(dataset), collate_fn=collate_slices, drop_last=True
    )
    while True:
        yield from loader

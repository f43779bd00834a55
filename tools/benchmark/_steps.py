"""Training steps of any preset on images that are drawn here: how fast, and can it learn them by heart?"""

import time
from collections.abc import Callable
from typing import Any

import torch
from monai.losses import DiceCELoss
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from common.networks.base import TextSegmenter
from common.training import PrecisionInferer

from ._networks import SENTENCE


class Steps:
    """Optimiser steps of a network on one batch of blobs, one prompt an image.

    Args:
        network: on its device.
        batch_size: images.
        amp: bfloat16.
        learning_rate: of AdamW.
        compiled: `torch.compile` the network.
    """

    def __init__(
        self,
        network: TextSegmenter,
        *,
        batch_size: int,
        amp: bool,
        learning_rate: float = 1e-4,
        compiled: bool = False,
    ) -> None:
        self.network = network.train()
        self.device = next(network.parameters()).device
        self.image, self.label = blobs(batch_size, network.field_shape, self.device)
        self.prompts = [SENTENCE] * batch_size
        self._forward: Callable[..., Any] = torch.compile(network) if compiled else network
        self._optimizer = torch.optim.AdamW(
            [value for value in network.parameters() if value.requires_grad], lr=learning_rate
        )
        self._loss = DiceCELoss(sigmoid=True, smooth_nr=0.0)
        self._inferer = PrecisionInferer(amp=amp, dtype="bfloat16")

    def __call__(self) -> Tensor:
        """One step; returns the loss."""
        self._optimizer.zero_grad(set_to_none=True)
        loss: Tensor = self._loss(self._inferer(self.image, self._forward, guidance=self.prompts), self.label)
        loss.backward()
        self._optimizer.step()
        return loss.detach()

    def images_per_s(self, seconds: float) -> float:
        """Images a second over about so many seconds, after two steps that choose kernels."""
        for _ in range(2):
            self()
        self.wait()
        begin, count = time.perf_counter(), 0
        while time.perf_counter() - begin < seconds:
            self()
            self.wait()
            count += 1
        return count * len(self.image) / (time.perf_counter() - begin)

    def tflop(self) -> float:
        """10^12 floating-point operations of a step, forwards and backwards."""
        with FlopCounterMode(display=False) as counter:
            self()
        return float(counter.get_total_flops()) / 1e12

    def dice(self) -> float:
        """Mean Dice of the masks that the network draws for its images."""
        self.network.eval()
        with torch.no_grad():
            found = self.network(self.image, self.prompts) > 0
        self.network.train()
        both = (found & (self.label > 0)).sum(dim=(1, 2, 3))
        total = found.sum(dim=(1, 2, 3)) + self.label.sum(dim=(1, 2, 3))
        return float((2 * both / total).mean())

    def wait(self) -> None:
        """Until the device is done."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def blobs(count: int, shape: tuple[int, int, int], device: torch.device) -> tuple[Tensor, Tensor]:
    """Noisy images (B, C, S, S) with a brighter disc each, and the discs' masks (B, 1, S, S)."""
    generator = torch.Generator().manual_seed(0)
    channels, side, _ = shape
    place = torch.rand(count, 2, 1, 1, generator=generator) * 0.6 + 0.2
    radius = torch.rand(count, 1, 1, generator=generator) * 0.1 + 0.08
    axis = (torch.arange(side) + 0.5) / side
    y, x = axis.view(1, -1, 1), axis.view(1, 1, -1)
    mask = ((y - place[:, 0]) ** 2 + (x - place[:, 1]) ** 2 < radius**2).float()[:, None]
    noise = 0.15 * torch.rand(count, channels, side, side, generator=generator)
    return (0.3 + noise + 0.35 * mask).to(device), mask.to(device)

"""How a network is used at work: its mode, the rows of text that it takes, what is read off its logits."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..data.slices import SliceFrame

if TYPE_CHECKING:
    from ..networks.base import TextFeatures

TOP_FRACTION = 0.01  # of a slice's pixels: those whose mean probability is the presence score
HALF = 128  # scaled probabilities from here on are above 0.5


@contextmanager
def working(network: nn.Module, device: torch.device, *, amp: bool) -> Iterator[None]:
    """Eval mode, no gradients, mixed precision as asked; each module's training flag comes back.

    Not torch.inference_mode: what a network remembers meanwhile, such as encoded texts, could not be
    used in training afterwards.
    """
    training = {module: module.training for module in network.modules()}
    network.eval()
    try:
        with torch.no_grad(), torch.autocast(device.type, enabled=amp):
            yield
    finally:
        for module, flag in training.items():
            module.training = flag


def rows_of(text: "TextFeatures", group: Sequence[int], images: int) -> "TextFeatures":
    """The text rows of `group`, repeated for every image: row i belongs to image i // len(group)."""
    return type(text)(*(part[list(group)].repeat(images, *(1,) * (part.ndim - 1)) for part in text))


def top_mean(logits: Tensor, frame: SliceFrame) -> Tensor:
    """(N, 1, S, S) logits of the field -> (N,) mean of the top 1 % of probabilities inside the frame."""
    inner = frame.inner(logits).flatten(1)
    return inner.topk(math.ceil(TOP_FRACTION * inner.shape[1])).values.sigmoid().mean(dim=1)


def scaled_probability(logits: Tensor) -> Tensor:
    """Probabilities as uint8: 0 to 255 is 0 to 1, and 128 or more exactly where they exceed 0.5."""
    scaled = (logits.sigmoid() * 255.0).round()
    return torch.where(logits > 0, scaled.clamp(min=HALF), scaled.clamp(max=HALF - 1)).to(torch.uint8)

"""Which voxels a prompt claims, which of several prompts gets a voxel, and what is noted on the way.

Logits here are those of `Passes`, less the logit of the network's threshold: above 0 is inside a mask, and
probabilities are relative, 0.5 at the threshold. With a threshold of 0.5 they are the network's own.
"""

import math

import numpy as np
import torch
from torch import Tensor

HALF = 128  # scaled probabilities from here on are above the threshold


def top_mean(inner: Tensor, share: float) -> Tensor:
    """(..., h, w) logits inside the frame -> (...) mean of the highest `share` (0 to 1] of probabilities."""
    flat = inner.flatten(-2)
    count = math.ceil(share * flat.shape[-1])
    if flat.device.type == "cpu":  # four to seven times as fast as torch.topk there
        top = torch.from_numpy(np.partition(flat.numpy(), -count, axis=-1)[..., -count:])
    else:
        top = flat.topk(count, sorted=False).values
    return top.sigmoid().mean(dim=-1)


def scaled_probability(logits: Tensor) -> Tensor:
    """Relative probabilities as uint8: 0 to 255 is 0 to 1, 128 or more exactly inside the mask."""
    scaled = (logits.sigmoid() * 255.0).round()
    return torch.where(logits > 0, scaled.clamp(min=HALF), scaled.clamp(max=HALF - 1)).to(torch.uint8)


class LabelFusion:
    """The best claim on every voxel of B slices so far.

    A claim is a logit above 0, and the highest one wins; of equal ones the first.

    Args:
        slices: B.
        shape: (h, w) of a slice's box.
    """

    def __init__(self, slices: int, shape: tuple[int, int], device: torch.device) -> None:
        self._best = torch.zeros(slices, *shape, device=device)
        self._labels = torch.zeros(slices, *shape, dtype=torch.uint8, device=device)

    @property
    def labels(self) -> np.ndarray:
        """(B, h, w) uint8, the label numbers that won."""
        return self._labels.cpu().numpy()

    def add(self, index: int, logits: Tensor, label: int) -> np.ndarray:
        """Let a prompt claim voxels of slice `index` with logits (h, w); returns its own mask, bool."""
        best, labels = self._best[index], self._labels[index]
        if logits.device.type != "cpu":
            labels.masked_fill_(logits > best, label)
            torch.maximum(best, logits, out=best)
            return (logits > 0).cpu().numpy()
        # numpy's loops over one plane, which stays in the cache, are ten times as fast as torch's here
        own, highest = logits.numpy(), best.numpy()
        np.copyto(labels.numpy(), np.uint8(label), where=own > highest)
        np.maximum(highest, own, out=highest)
        mask: np.ndarray = own > 0
        return mask

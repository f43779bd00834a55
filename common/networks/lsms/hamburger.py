"""The Hamburger: global context as a low-rank non-negative factorisation (Geng et al. 2021; SegNeXt)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...layers.blocks import full_precision

STEPS_IN_TRAINING, STEPS_IN_EVALUATION = 6, 7  # upstream's; gradients flow through all of them
TINY = 1e-6


def nmf(x: Tensor, bases: Tensor, *, steps: int) -> Tensor:
    """Multiplicative updates (Lee and Seung 2001) towards X = B C^T with no negative entry.

    Args:
        x: (B, D, N) float32, none negative.
        bases: (B or 1, D, R) float32, the start of B, none negative.
        steps: updates of the coefficients C and the bases B; the coefficients have one more at the end.

    Returns:
        B C^T, (B, D, N).
    """
    projected = x.mT @ bases
    coefficients = projected.softmax(dim=-1)
    for _ in range(steps):
        coefficients = _update(coefficients, projected, bases.mT @ bases)
        bases = _update(bases, x @ coefficients, coefficients.mT @ coefficients)
        projected = x.mT @ bases
    return bases @ _update(coefficients, projected, bases.mT @ bases).mT


def _update(factor: Tensor, wanted: Tensor, gram: Tensor) -> Tensor:
    return factor * wanted / (factor @ gram + TINY)


class Hamburger(nn.Module):
    """ReLU(x + GN(Conv(NMF(ReLU(Conv(x)))))), (B, D, H, W) -> same shape.

    Training draws the first bases anew each time, as upstream does. Evaluation takes the same ones for
    every map, so that a mask repeats bit for bit and, but for rounding, does not depend on what else is in
    the batch. The factorisation runs in float32 under autocast too: its quotients leave float16's range.

    Args:
        channels: D, a multiple of 32.
        rank: R, columns of the bases.
        seed: of the bases used in evaluation; these belong to no checkpoint.
    """

    first_bases: Tensor

    def __init__(self, channels: int, *, rank: int = 16, seed: int = 0) -> None:
        super().__init__()
        self.lower = nn.Conv2d(channels, channels, 1)
        self.upper = nn.Conv2d(channels, channels, 1, bias=False)
        self.norm = nn.GroupNorm(32, channels)
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.rand(1, channels, rank, generator=generator, device="cpu")
        self.register_buffer("first_bases", drawn, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        positive = F.relu(self.lower(x)).flatten(2)
        with full_precision(x.device.type):
            context = self._factorise(positive.float())
        context = context.to(positive.dtype).unflatten(2, x.shape[-2:])
        return F.relu(x + self.norm(self.upper(context)))

    def _factorise(self, x: Tensor) -> Tensor:
        bases = self.first_bases.float()
        if self.training:
            bases = torch.rand(len(x), *bases.shape[1:], device=x.device)
        steps = STEPS_IN_TRAINING if self.training else STEPS_IN_EVALUATION
        return nmf(x, F.normalize(bases, dim=1), steps=steps)

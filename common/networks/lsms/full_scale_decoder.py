"""The Full-Scale Decoder of LSMS: align the stages' maps, read them together, segment (eqs 11-12)."""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .hamburger import Hamburger

Design = Literal["hamburger", "mlp", "mlp_hamburger", "none"]
DESIGNS: tuple[Design, ...] = get_args(Design)
DROPOUT = 0.1  # of whole channels before the last convolution, upstream's


def _reduce(before: int, after: int) -> nn.Sequential:
    """1 x 1 convolution, GroupNorm (32 groups), ReLU."""
    return nn.Sequential(nn.Conv2d(before, after, 1, bias=False), nn.GroupNorm(32, after), nn.ReLU())


class FullScaleDecoder(nn.Module):
    """Maps of several stages -> logits on the grid `size`.

    Designs compared in the paper's Table 3:
        "hamburger": concatenate, Hamburger (the chosen one).
        "mlp": a 1 x 1 convolution a stage, concatenate, 1 x 1 convolution.
        "mlp_hamburger": a 1 x 1 convolution a stage, concatenate, Hamburger.
        "none": concatenate, and only the last 1 x 1 convolution.

    Args:
        channels: of each map that enters.
        design: see above.
        ham_channels: width of the Hamburger and of what stands before it, a multiple of 32.
        align_channels: width before the last convolution, a multiple of 32.
        rank: of the Hamburger.
    """

    def __init__(
        self,
        channels: Sequence[int],
        *,
        design: Design = "hamburger",
        ham_channels: int = 256,
        align_channels: int = 256,
        rank: int = 16,
    ) -> None:
        super().__init__()
        self.stages = nn.ModuleList()
        if design.startswith("mlp"):
            self.stages.extend(nn.Conv2d(before, align_channels, 1) for before in channels)
        joined = align_channels * len(channels) if design.startswith("mlp") else sum(channels)
        self.body = nn.Sequential()
        if design.endswith("hamburger"):
            self.body.extend(
                [
                    _reduce(joined, ham_channels),
                    Hamburger(ham_channels, rank=rank),
                    _reduce(ham_channels, align_channels),
                ]
            )
        elif design == "mlp":
            self.body.append(_reduce(joined, align_channels))
        last = joined if design == "none" else align_channels
        self.segment = nn.Sequential(nn.Dropout2d(DROPOUT), nn.Conv2d(last, 1, 1))

    def forward(self, maps: Sequence[Tensor], *, size: tuple[int, int]) -> Tensor:
        """Segment.

        Args:
            maps: (B, C_i, h_i, w_i) of each stage that enters.
            size: (h, w) that all of them are resized to (PositionAlign).

        Returns:
            Logits (B, 1, h, w).
        """
        if self.stages:
            maps = [stage(x) for stage, x in zip(self.stages, maps, strict=True)]
        return self.segment(self.body(torch.cat([resize(x, size) for x in maps], dim=1)))


def resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear, (B, C, H, W) -> (B, C, *size)."""
    if x.shape[-2:] == size:
        return x
    return F.interpolate(x, size, mode="bilinear", align_corners=False)

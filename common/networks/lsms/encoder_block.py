"""What the stages of LSMS's encoder are made of, around SVLA."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...layers.blocks import LayerNorm2d
from .svla import SVLA, Scale, depthwise

NormOrder = Literal["post", "pre"]
NORM_ORDERS: tuple[NormOrder, ...] = get_args(NormOrder)
LAYER_SCALE = 0.01  # SegNeXt's first value


def stem(channels: int) -> nn.Sequential:
    """Embedding block, (B, 3, H, W) -> (B, channels, H / 4, W / 4), sizes rounded up."""
    return nn.Sequential(
        nn.Conv2d(3, channels // 2, 3, stride=2, padding=1),
        nn.BatchNorm2d(channels // 2),
        nn.GELU(),
        nn.Conv2d(channels // 2, channels, 3, stride=2, padding=1),
        nn.BatchNorm2d(channels),
    )


def down(before: int, after: int) -> nn.Sequential:
    """Down block, (B, before, H, W) -> (B, after, H / 2, W / 2), sizes rounded up."""
    return nn.Sequential(nn.Conv2d(before, after, 3, stride=2, padding=1), nn.BatchNorm2d(after))


def feed_forward(channels: int, ratio: int) -> nn.Sequential:
    """1 x 1 convolution to `ratio` times the channels, depthwise 3 x 3, GELU, 1 x 1 back."""
    inner = channels * ratio
    return nn.Sequential(
        nn.Conv2d(channels, inner, 1), depthwise(inner, (3, 3)), nn.GELU(), nn.Conv2d(inner, channels, 1)
    )


@dataclass(frozen=True)
class BlockDesign:
    """What is the same in all blocks of the encoder.

    Attributes:
        norm_order: see `EncoderBlock`.
        projected: `ProjectedSVLA` instead of `SVLA`.
        kernels, pixel_map, scale: see `SVLA`.
    """

    norm_order: NormOrder = "post"
    projected: bool = False
    kernels: Sequence[int] = (7, 11, 21)
    pixel_map: bool = True
    scale: Scale = "text"

    def svla(self, channels: int, text_width: int | None) -> SVLA:
        """An `SVLA` of this design."""
        return SVLA(channels, text_width, kernels=self.kernels, pixel_map=self.pixel_map, scale=self.scale)


class ProjectedSVLA(nn.Module):
    """SVLA between two 1 x 1 convolutions, with a shortcut around all three (SegNeXt and SLViT)."""

    def __init__(self, channels: int, text_width: int | None, design: BlockDesign) -> None:
        super().__init__()
        self.before = nn.Conv2d(channels, channels, 1)
        self.svla = design.svla(channels, text_width)
        self.after = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, tokens: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """The arguments are those of SVLA."""
        return x + self.after(self.svla(F.gelu(self.before(x)), tokens, mask))


class EncoderBlock(nn.Module):
    """One block of the encoder, with batch norms.

        "post": F' = Norm(SVLA(V, L) + V), F = Norm(FFN(F') + F')      as printed, eqs 2-3
        "pre":  F' = V + a SVLA(Norm(V), L), F = F' + b FFN(Norm(F'))  as in SegNeXt, a and b learnt a channel

    Args:
        channels: C.
        text_width: see `SVLA`.
        design: norm order and attention.
        ratio: of the feed-forward part.
    """

    def __init__(self, channels: int, text_width: int | None, design: BlockDesign, *, ratio: int) -> None:
        super().__init__()
        self.attention: nn.Module = (
            ProjectedSVLA(channels, text_width, design)
            if design.projected
            else design.svla(channels, text_width)
        )
        self.feed_forward = feed_forward(channels, ratio)
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(2))
        self.scales: nn.ParameterList | None = None
        if design.norm_order == "pre":
            self.scales = nn.ParameterList(torch.full((channels,), LAYER_SCALE) for _ in range(2))

    def forward(self, x: Tensor, tokens: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """(B, C, H, W) -> same shape; `tokens` and `mask` as in SVLA."""
        first, second = self.norms
        if self.scales is None:
            x = first(x + self.attention(x, tokens, mask))
            return second(x + self.feed_forward(x))
        a, b = (scale[:, None, None] for scale in self.scales)
        x = x + a * self.attention(first(x), tokens, mask)
        return x + b * self.feed_forward(second(x))


class EncoderStage(nn.Module):
    """Blocks on one grid, and after blocks in "pre" order a layer norm over the channels.

    Args:
        channels, text_width, design, ratio: see `EncoderBlock`.
        depth: number of blocks.
    """

    def __init__(
        self, channels: int, text_width: int | None, design: BlockDesign, *, depth: int, ratio: int = 4
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            EncoderBlock(channels, text_width, design, ratio=ratio) for _ in range(depth)
        )
        self.norm = LayerNorm2d(channels) if design.norm_order == "pre" else nn.Identity()

    def forward(self, x: Tensor, tokens: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """(B, C, H, W) -> same shape; `tokens` and `mask` as in SVLA."""
        for block in self.blocks:
            x = block(x, tokens, mask)
        return self.norm(x)

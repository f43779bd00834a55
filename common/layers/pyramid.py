"""A small convolutional image encoder that is trained in full, for two CPU cores."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .encoded_image import EncodedImage


class ResidualBlock(nn.Module):
    """x + conv(norm, act(conv(x))): two 3 x 3 convolutions with GroupNorm, (B, C, H, W) -> same shape.

    GroupNorm rather than BatchNorm: a slice is normalised the same alone and in any batch, so that
    training, inference and several GPUs agree.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.GroupNorm(8, channels),
            nn.GELU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.GroupNorm(8, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(x + self.body(x))


def _downsample(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False), nn.GroupNorm(8, after), nn.GELU()
    )


class PyramidEncoder(nn.Module):
    """Residual stages at strides 1, 2, 4, ..., the deepest added onto the one that becomes the tokens.

    Args:
        channels: of each stage; stage i has stride 2^i.
        depths: residual blocks of each stage.
        token_stage: the stage whose grid becomes the image tokens; finer stages are the decoder's skips,
            coarser ones are brought back to it by 1 x 1 convolutions and bilinear upsampling.

    Attributes:
        width: channels of the tokens.
        skip_channels: channels of the finer stages, coarse to fine.
        stride: pixels a token's side covers.
    """

    def __init__(
        self,
        *,
        channels: Sequence[int] = (16, 32, 64, 128, 256),
        depths: Sequence[int] = (0, 1, 2, 2, 2),
        token_stage: int = 4,
    ) -> None:
        super().__init__()
        self.token_stage = token_stage
        self.width = channels[token_stage]
        self.skip_channels = tuple(reversed(channels[:token_stage]))
        self.stride = 2**token_stage
        stem = nn.Sequential(
            nn.Conv2d(1, channels[0], 3, padding=1, bias=False), nn.GroupNorm(8, channels[0]), nn.GELU()
        )
        entries = [stem] + [_downsample(a, b) for a, b in pairwise(channels)]
        self.stages = nn.ModuleList(
            nn.Sequential(entry, *(ResidualBlock(c) for _ in range(depth)))
            for entry, c, depth in zip(entries, channels, depths, strict=True)
        )
        self.laterals = nn.ModuleList(
            nn.Conv2d(coarse, fine, 1)
            for fine, coarse in zip(channels[token_stage:-1], channels[token_stage + 1 :], strict=True)
        )

    def forward(self, image: Tensor) -> EncodedImage:
        """(B, 1, H, W) in [0, 1], H and W multiples of the deepest stride -> tokens' map and skips."""
        maps: list[Tensor] = []
        x = image
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        deep = maps[-1]
        for lateral, fine in zip(reversed(self.laterals), reversed(maps[self.token_stage : -1]), strict=True):
            deep = fine + F.interpolate(lateral(deep), fine.shape[-2:], mode="bilinear", align_corners=False)
        return EncodedImage(deep, embedded=torch.empty(0), skips=tuple(reversed(maps[: self.token_stage])))

    def project(self, features: Tensor) -> Tensor:
        """Nothing lies between this encoder's map and the mixers."""
        return features

"""A small convolutional image encoder that is trained in full, for two CPU cores."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...layers.vision_towers import EncodedImage


def _convolution(before: int, after: int, *, stride: int = 1) -> nn.Sequential:
    """3 x 3 convolution, norm, GELU.

    GroupNorm rather than BatchNorm: a slice is normalised the same alone and in any batch, so that
    training, inference and several GPUs agree.
    """
    return nn.Sequential(
        nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False),
        nn.GroupNorm(8, after),
        nn.GELU(),
    )


class ResidualBlock(nn.Module):
    """GELU(x + convolutions(x)), (B, C, H, W) -> same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _convolution(channels, channels),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.GroupNorm(8, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(x + self.body(x))


class PyramidEncoder(nn.Module):
    """Residual stages down to the image tokens, then back up to maps for the decoder (a feature pyramid).

    Everything that does not depend on words happens here, once an image: a ViT's plain decoder has to find
    fine borders anew for every prompt, and at a small width on a CPU that costs more than the encoder.

    The first stage works on squares of 2 x 2 pixels and the finest map is unfolded from such squares, so that
    no convolution runs at full resolution.

    Args:
        in_channels: of the images.
        channels: of each stage; stage i has stride 2^(i + 1), the last one gives the tokens.
        depths: residual blocks of each stage.
        finest: channels of the map at full resolution.

    Attributes:
        width: channels of the tokens.
        skip_channels: channels of the maps on the way up, coarse to fine; the last one has stride 1.
        stride: pixels a token's side covers.
        takes_channels: how many channels an image may have.
        normalisation: of the pixels, see `Normalise`.
    """

    source = None  # no pretrained weights: all of it belongs in a checkpoint
    normalisation = "unit"

    def __init__(
        self,
        *,
        in_channels: int = 1,
        channels: Sequence[int] = (32, 64, 128, 256),
        depths: Sequence[int] = (0, 1, 1, 2),
        finest: int = 16,
    ) -> None:
        super().__init__()
        self.takes_channels = (in_channels,)
        self.width = channels[-1]
        self.skip_channels = (*reversed(channels[:-1]), finest)
        self.stride = 2 ** len(channels)
        entries = [_convolution(4 * in_channels, channels[0])] + [
            _convolution(a, b, stride=2) for a, b in pairwise(channels)
        ]
        self.down = nn.ModuleList(
            nn.Sequential(entry, *(ResidualBlock(c) for _ in range(depth)))
            for entry, c, depth in zip(entries, channels, depths, strict=True)
        )
        steps = list(pairwise(reversed(channels)))
        self.laterals = nn.ModuleList(nn.Conv2d(coarse, fine, 1) for coarse, fine in steps)
        self.up = nn.ModuleList(_convolution(fine, fine) for _, fine in steps)
        self.finest = nn.Conv2d(channels[0], 4 * finest, 1)

    def forward(self, image: Tensor) -> EncodedImage:
        """(B, in_channels, H, W) in [0, 1], H and W multiples of the stride -> tokens' map and finer maps."""
        maps: list[Tensor] = []
        x = F.pixel_unshuffle(image, 2)
        for stage in self.down:
            x = stage(x)
            maps.append(x)
        skips: list[Tensor] = []
        for lateral, up, fine in zip(self.laterals, self.up, reversed(maps[:-1]), strict=True):
            coarse = F.interpolate(lateral(x), scale_factor=2.0, mode="bilinear", align_corners=False)
            x = up(fine + coarse)
            skips.append(x)
        skips.append(F.gelu(F.pixel_shuffle(self.finest(x), 2)))
        return EncodedImage(maps[-1], embedded=torch.empty(0), skips=tuple(skips))

    def project(self, features: Tensor) -> Tensor:
        """Nothing lies between this encoder's map and the mixers."""
        return features

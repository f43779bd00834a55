"""EfficientNet-Lite0's trunk: maps at strides 2 to 32 from 3 million weights, for images in colour."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .normalisation import Normalise

STRIDES = (2, 4, 8, 16, 32)
CHANNELS = (16, 24, 40, 112, 320)  # of the maps at those strides
STEM = 32
NORM_EPS = 1e-3


class Stage(NamedTuple):
    """A row of the network's table (Tan and Le 2019, without squeeze-and-excitation): blocks of one width."""

    blocks: int
    kernel: int
    stride: int
    expansion: int
    channels: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
LAST_OF_STRIDE = (0, 1, 2, 4, 6)  # stages whose output is the last one of its stride


class ConvNorm(nn.Module):
    """A convolution without bias, padded as TensorFlow does, and its batch norm.

    While the norm is frozen it is a constant scale and shift of each channel and becomes part of the
    convolution: the result is the same and no pass over the map is spent on it.
    """

    def __init__(self, before: int, after: int, kernel: int, *, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, after, kernel, stride=stride, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(after, eps=NORM_EPS, momentum=0.01)

    def forward(self, x: Tensor) -> Tensor:
        """(B, before, H, W) -> (B, after, ceil(H / stride), ceil(W / stride))."""
        conv, norm = self.conv, self.norm
        x, padding = same_padded(x, conv.kernel_size[0], conv.stride[0])
        if norm.training:
            return norm(F.conv2d(x, conv.weight, None, conv.stride, padding, groups=conv.groups))
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
        shift = norm.bias - norm.running_mean * scale
        weight = conv.weight * scale.view(-1, 1, 1, 1)
        return F.conv2d(x, weight, shift, conv.stride, padding, groups=conv.groups)


class InvertedResidual(nn.Module):
    """Widen by 1 x 1, filter each channel, narrow by 1 x 1; the input is added where the shapes are equal."""

    def __init__(self, before: int, after: int, *, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = before * expansion
        self.expand = ConvNorm(before, wide, 1) if expansion > 1 else None
        self.depthwise = ConvNorm(wide, wide, kernel, stride=stride, groups=wide)
        self.project = ConvNorm(wide, after, 1)
        self.adds = stride == 1 and before == after

    def forward(self, x: Tensor) -> Tensor:
        """(B, before, H, W) -> (B, after, H / stride, W / stride)."""
        wide = x if self.expand is None else F.relu6(self.expand(x), inplace=True)
        narrow = self.project(F.relu6(self.depthwise(wide), inplace=True))
        return x + narrow if self.adds else narrow


class EfficientNetLite0(nn.Module):
    """The trunk, up to its last stage: what of the network is not for ImageNet's classes alone.

    Args:
        in_channels: of the image. Weights for three channels serve any number, see
            `common.weights.efficientnet`.
        frozen_norms: keep the batch norms as they are, statistics, scales and shifts, also in training. Then
            a step does not depend on which images share a batch.

    Attributes:
        channels: of the five maps, a tuple; the pooled vector has the last one's.
    """

    channels = CHANNELS
    strides = STRIDES
    table = STAGES

    def __init__(self, in_channels: int = 3, *, frozen_norms: bool = True) -> None:
        super().__init__()
        self.normalise = Normalise("lite")
        self.in_channels = in_channels
        self.stem = ConvNorm(in_channels, STEM, 3, stride=2)
        self.stages = nn.ModuleList()
        before = STEM
        for stage in STAGES:
            blocks = []
            for number in range(stage.blocks):
                stride = stage.stride if number == 0 else 1
                blocks.append(
                    InvertedResidual(
                        before, stage.channels, kernel=stage.kernel, stride=stride, expansion=stage.expansion
                    )
                )
                before = stage.channels
            self.stages.append(nn.Sequential(*blocks))
        self.frozen_norms = frozen_norms
        for norm in self._norms():
            norm.requires_grad_(not frozen_norms)
        # The layout in which depthwise convolutions run best, on CPUs too.
        nn.utils.convert_conv2d_weight_memory_format(self, torch.channels_last)
        self.train()

    def _norms(self) -> list[nn.BatchNorm2d]:
        return [module for module in self.modules() if isinstance(module, nn.BatchNorm2d)]

    def train(self, mode: bool = True) -> "EfficientNetLite0":
        """Set the mode; frozen norms stay in evaluation mode."""
        super().train(mode)
        for norm in self._norms():
            norm.train(mode and not self.frozen_norms)
        return self

    def forward(self, image: Tensor) -> tuple[list[Tensor], Tensor]:
        """Images to maps and one vector.

        Args:
            image: (B, in_channels, H, W), float, [0, 1]; red, green and blue for three. One channel is
                taken for three equal ones.

        Returns:
            Maps (B, CHANNELS[i], ceil(H / STRIDES[i]), ceil(W / STRIDES[i])) from fine to coarse, and the
            mean of the coarsest one (B, CHANNELS[-1]).
        """
        pixels = self.normalise(image)[:, : self.in_channels]  # which makes three channels of one
        x = F.relu6(self.stem(pixels.contiguous(memory_format=torch.channels_last)), inplace=True)
        maps = []
        for number, stage in enumerate(self.stages):
            x = stage(x)
            if number in LAST_OF_STRIDE:
                maps.append(x)
        return maps, x.mean(dim=(2, 3))


def same_padded(x: Tensor, kernel: int, stride: int) -> tuple[Tensor, int]:
    """The map and the padding still to be added evenly, so that the output has ceil(size / stride) places.

    TensorFlow adds the odd row and column at the end; an even padding is left to the convolution.
    """
    missing = [max((-(-size // stride) - 1) * stride + kernel - size, 0) for size in x.shape[-2:]]
    if missing[0] == missing[1] and missing[0] % 2 == 0:
        return x, missing[0] // 2
    (top, left) = (missing[0] // 2, missing[1] // 2)
    return F.pad(x, (left, missing[1] - left, top, missing[0] - top)), 0

"""A U-Net on the pretrained EfficientNet-Lite0 trunk: the image-only opponent of studies of colour images."""

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from common.layers.efficientnet_lite import EfficientNetLite0
from common.weights.efficientnet import load_imagenet

GROUPS = 8  # of its group norms: a step does not depend on which images share a batch


class TrunkUNet(nn.Module):
    """Maps at strides 32 to 2 are joined from coarse to fine; the logits are enlarged to the image.

    Args:
        in_channels: of the image.
        out_channels: maps of logits.
        width: channels of the joined maps, a multiple of GROUPS.
        pretrained: begin with ImageNet's weights, see `common.weights.efficientnet`.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, width: int = 64, pretrained: bool = True
    ) -> None:
        super().__init__()
        self.trunk = EfficientNetLite0(in_channels)
        if pretrained:
            load_imagenet(self.trunk)
        self.lateral = nn.ModuleList(nn.Conv2d(channels, width, 1) for channels in self.trunk.channels)
        self.join = nn.ModuleList(_block(width) for _ in pairwise(self.trunk.channels))
        self.head = nn.Conv2d(width, out_channels, 1)

    def forward(self, image: Tensor) -> Tensor:
        """(B, in_channels, H, W) in [0, 1] -> logits (B, out_channels, H, W)."""
        maps, _ = self.trunk(image)
        x = self.lateral[-1](maps[-1])
        for level in reversed(range(len(maps) - 1)):
            x = F.interpolate(x, maps[level].shape[-2:], mode="bilinear", align_corners=False)
            x = self.join[level](x + self.lateral[level](maps[level]))
        return F.interpolate(self.head(x), image.shape[-2:], mode="bilinear", align_corners=False)


def _block(width: int) -> nn.Sequential:
    convolution = nn.Conv2d(width, width, 3, padding=1, bias=False)
    return nn.Sequential(convolution, nn.GroupNorm(GROUPS, width), nn.ReLU(inplace=True))

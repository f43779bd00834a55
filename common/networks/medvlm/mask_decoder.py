"""From mixed words and image to a mask (Med-VLM eqs 8-10)."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...layers.blocks import Attention, LayerNorm2d, mlp


class DilatedUpscaler(nn.Module):
    """Doubles a map once per entry of `channels`: bilinear x2, a 3 x 3 convolution of dilation 2 (eq 8)."""

    def __init__(self, width: int, channels: Sequence[int]) -> None:
        super().__init__()
        widths = (width, *channels)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, 3, padding=2, dilation=2) for before, after in pairwise(widths)
        )
        # SAM normalises all but the last map, which the mask vector is multiplied with.
        self.norms = nn.ModuleList(LayerNorm2d(c) for c in channels[:-1])

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, h, w) -> (B, channels[-1], h * 2^n, w * 2^n); no channels: `x` as it is."""
        for step, convolution in enumerate(self.convolutions):
            x = convolution(F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False))
            if step < len(self.norms):
                x = self.norms[step](x)
            x = F.gelu(x)
        return x


class MaskDecoder(nn.Module):
    """Two-way attention, an enlarged map and a mask vector whose product with it is the mask (eqs 8-10).

    The printed product of MLP(F2) and F1 has two shapes that do not fit; this is the reading of SAM's
    decoder: the words, pooled, give one vector, and its dot product with every pixel is the logit.

    Where the image encoder has finer maps, the words give a vector for each of them too, and the logits are
    added up from coarse to fine. The maps are the same for all prompts, so that borders of full resolution
    cost a product a prompt instead of convolutions.

    Args:
        width: channels of words and image.
        heads: attention heads.
        downsample: of the attention's inner width.
        channels: of the enlarged map, see `DilatedUpscaler`.
        skip_channels: of the image encoder's finer maps, coarse to fine.
    """

    def __init__(
        self,
        width: int,
        *,
        heads: int,
        downsample: int = 2,
        channels: Sequence[int] = (64, 32),
        skip_channels: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.text_to_image = Attention(width, heads, downsample=downsample)
        self.image_to_text = Attention(width, heads, downsample=downsample, few_keys=True)
        self.text_norm = nn.LayerNorm(width)
        self.image_norm = nn.LayerNorm(width)
        self.upscaler = DilatedUpscaler(width, channels)
        self.mask_vector = mlp((width, width, width, *(channels[-1:] or (width,))))
        self.skip_vectors = nn.ModuleList(mlp((width, width, skip)) for skip in skip_channels)

    def forward(
        self,
        text: Tensor,
        image: Tensor,
        *,
        text_start: Tensor,
        positions: Tensor,
        mask: Tensor,
        grid: tuple[int, int],
        skips: Sequence[Tensor] = (),
    ) -> Tensor:
        """Logits (P, 1, h * 2^n, w * 2^n), or of the finest map's size, for image tokens on a `grid` (h, w).

        Args:
            skips: finer maps of B images, P a multiple of B: map i serves rows i * P / B and following.

        The other arguments are those of FeatureMixer.
        """
        placed = image + positions
        text = self.text_norm(text + self.text_to_image(text + text_start, placed, image))
        image = self.image_norm(image + self.image_to_text(placed, text + text_start, text, mask))
        fine = self.upscaler(image.transpose(1, 2).unflatten(2, grid))
        weight = mask.unsqueeze(-1).to(text.dtype)
        # The words as they came in, beside what they read in the image: without them, two prompts of one
        # image take longer to be told apart.
        pooled = ((text + text_start) * weight).sum(1) / weight.sum(1)
        logits = torch.einsum("pc,pchw->phw", self.mask_vector(pooled), fine).unsqueeze(1)
        for to_vector, skip in zip(self.skip_vectors, skips, strict=True):
            images = skip.shape[0]  # not len(), which would fix the batch in exports
            vectors = to_vector(pooled).unflatten(0, (images, -1)) * skip.shape[1] ** -0.5
            added = torch.einsum("bkc,bchw->bkhw", vectors, skip).flatten(0, 1).unsqueeze(1)
            logits = added + F.interpolate(logits, added.shape[-2:], mode="bilinear", align_corners=False)
        return logits

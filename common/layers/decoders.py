"""From mixed words and image to a mask (Med-VLM eqs 8-10)."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .attention import Attention
from .mlp import mlp


class LayerNorm2d(nn.LayerNorm):
    """LayerNorm over the channels of (B, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class DilatedUpscaler(nn.Module):
    """Doubles a map once per entry of `channels`: bilinear x2, then a 3 x 3 convolution of dilation 2 (eq 8).

    A finer map of the image encoder, where there is one, joins each doubling through a 1 x 1 convolution.
    """

    def __init__(self, width: int, channels: Sequence[int], *, skip_channels: Sequence[int] = ()) -> None:
        super().__init__()
        widths = (width, *channels)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, 3, padding=2, dilation=2) for before, after in pairwise(widths)
        )
        self.skips = nn.ModuleList(
            nn.Conv2d(skip, out, 1, bias=False) for skip, out in zip(skip_channels, channels, strict=False)
        )
        # SAM normalises all but the last map, which the mask vector is multiplied with.
        self.norms = nn.ModuleList(LayerNorm2d(c) for c in channels[:-1])

    def forward(self, x: Tensor, skips: Sequence[Tensor] = ()) -> Tensor:
        """(B, width, h, w) -> (B, channels[-1], h * 2^n, w * 2^n).

        Args:
            x: the coarse map.
            skips: maps of B or of fewer images, coarse to fine; with fewer, B must be a multiple of their
                number and map i serves rows i * k to (i + 1) * k.
        """
        for step, convolution in enumerate(self.convolutions):
            x = convolution(F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False))
            if step < len(self.skips):
                skip = self.skips[step](skips[step])
                x = x + skip.repeat_interleave(x.shape[0] // skip.shape[0], dim=0)
            if step < len(self.norms):
                x = self.norms[step](x)
            x = F.gelu(x)
        return x


class MaskDecoder(nn.Module):
    """Two-way attention, an enlarged map and a mask vector whose product with it is the mask (eqs 8-10).

    The printed product of MLP(F2) and F1 has two shapes that do not fit; this is the reading of SAM's
    decoder: the words, pooled, give one vector, and its dot product with every pixel is the logit.

    Where the image encoder has a map finer than the enlarged one, a second vector is multiplied with it:
    it is the same for all prompts, so borders of full resolution cost a product a prompt instead of
    convolutions (measured for 32 prompts at 128 pixels: 0.25 s instead of 0.65 s, forward and back).
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
        self.image_to_text = Attention(width, heads, downsample=downsample)
        self.text_norm = nn.LayerNorm(width)
        self.image_norm = nn.LayerNorm(width)
        self.upscaler = DilatedUpscaler(width, channels, skip_channels=skip_channels)
        self.mask_vector = mlp((width, width, width, channels[-1]))
        finer = skip_channels[len(channels) :][:1]
        self.detail_vector = mlp((width, width, *finer)) if finer else None

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
        """Logits (B, 1, h * 2^n, w * 2^n), or of the finer map's size, for image tokens on a `grid` (h, w).

        The other arguments are those of FeatureMixer.
        """
        text = self.text_norm(text + self.text_to_image(text + text_start, image + positions, image))
        image = self.image_norm(image + self.image_to_text(image + positions, text + text_start, text, mask))
        fine = self.upscaler(image.transpose(1, 2).unflatten(2, grid), skips)
        weight = mask.unsqueeze(-1).to(text.dtype)
        pooled = (text * weight).sum(1) / weight.sum(1)
        logits = torch.einsum("bc,bchw->bhw", self.mask_vector(pooled), fine).unsqueeze(1)
        if self.detail_vector is None:
            return logits
        detail = skips[len(self.upscaler.convolutions)]
        images = detail.shape[0]  # not len(), which would fix the batch in exports
        vectors = self.detail_vector(pooled).unflatten(0, (images, -1))
        added = torch.einsum("bkc,bchw->bkhw", vectors, detail).flatten(0, 1).unsqueeze(1)
        return F.interpolate(logits, added.shape[-2:], mode="bilinear", align_corners=False) + added

"""Blocks that several networks are made of: attention, MLP and layer norm as in SAM's mask decoder.

Kirillov et al. 2023, section A. `full_precision` is around the steps that half precision would spoil.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Attention(nn.Module):
    """Multi-head attention whose inner width, `width // downsample`, may be narrower.

    Args:
        width: of queries, keys, values and results.
        heads: attention heads.
        downsample: see above.
        few_keys: many queries read few keys, as pixels read words. Then scores are computed with the queries
            last, so that the softmax runs along thousands of pixels instead of along a dozen words, for which
            torch's fused kernel is slow on CPUs.

    Raises:
        ValueError: the inner width is not a multiple of `heads`.
    """

    def __init__(self, width: int, heads: int, *, downsample: int = 1, few_keys: bool = False) -> None:
        super().__init__()
        inner = width // downsample
        if inner % heads:
            raise ValueError(f"inner width {inner} is not a multiple of {heads} heads.")
        self.heads, self.few_keys = heads, few_keys
        self.query = nn.Linear(width, inner)
        self.key = nn.Linear(width, inner)
        self.value = nn.Linear(width, inner)
        self.out = nn.Linear(inner, width)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attend from `query` to `key`.

        Args:
            query: (B, N_q, width).
            key, value: (B, N_k, width).
            mask: (B, N_k) bool, True where a key is real (not padding); None: all are.

        Returns:
            (B, N_q, width).
        """
        q, k, v = (
            self._split(layer(x)) for layer, x in ((self.query, query), (self.key, key), (self.value, value))
        )
        attn_mask = None if mask is None else mask[:, None, None, :]
        if self.few_keys:
            return self.out(_read_few(q, k, v, attn_mask))
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=attn_mask)
        return self.out(mixed.transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        """(B, N, inner) -> (B, heads, N, inner / heads)."""
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)


def _read_few(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Scaled dot-product attention with scores (B, heads, N_k, N_q); returns (B, N_q, heads * width)."""
    scores = (k * k.shape[-1] ** -0.5) @ q.mT
    if mask is not None:
        scores = scores.masked_fill(~mask.mT, torch.finfo(scores.dtype).min)
    return (v.mT @ scores.softmax(dim=2)).flatten(1, 2).mT.contiguous()


def mlp(widths: Sequence[int]) -> nn.Sequential:
    """Linear layers between `widths` with ReLU between them: (..., widths[0]) -> (..., widths[-1])."""
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class LayerNorm2d(nn.LayerNorm):
    """LayerNorm over the channels of (B, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def full_precision(device: str) -> AbstractContextManager[object]:
    """No autocast; the meta device, on which operations are counted, has none to switch off."""
    if torch.amp.is_autocast_available(device):
        return torch.autocast(device, enabled=False)
    return nullcontext()

"""Attention with a narrower inner width, as in SAM's mask decoder (Kirillov et al. 2023, section A)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Attention(nn.Module):
    """Multi-head attention whose inner width is `width // downsample`.

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

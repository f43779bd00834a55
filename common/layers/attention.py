"""Attention with a narrower inner width, as in SAM's mask decoder (Kirillov et al. 2023, section A)."""

from torch import Tensor, nn
from torch.nn import functional as F


class Attention(nn.Module):
    """Multi-head attention whose inner width is `width // downsample`."""

    def __init__(self, width: int, heads: int, *, downsample: int = 1) -> None:
        super().__init__()
        inner = width // downsample
        if inner % heads:
            raise ValueError(f"inner width {inner} is not a multiple of {heads} heads.")
        self.heads = heads
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
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=attn_mask)
        return self.out(mixed.transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        """(B, N, inner) -> (B, heads, N, inner / heads)."""
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)

"""Attention against PyTorch's own and against its formula."""

import pytest
import torch
from torch import Tensor, nn

from common.layers.blocks import Attention


def by_formula(layer: Attention, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """softmax(Q K^T / sqrt(d)) V, head by head (Vaswani et al. 2017, eq 1)."""
    q, k, v = layer.query(query), layer.key(key), layer.value(value)
    width = q.shape[-1] // layer.heads
    heads = []
    for head in range(layer.heads):
        part = slice(head * width, (head + 1) * width)
        scores = q[..., part] @ k[..., part].transpose(1, 2) / width**0.5
        if mask is not None:
            scores = scores.masked_fill(~mask[:, None, :], -torch.inf)
        heads.append(scores.softmax(dim=-1) @ v[..., part])
    return layer.out(torch.cat(heads, dim=-1))


@pytest.mark.parametrize("few_keys", [False, True])
def test_equals_pytorchs_multi_head_attention(few_keys: bool) -> None:
    torch.manual_seed(0)
    layer, peer = Attention(24, 3, few_keys=few_keys), nn.MultiheadAttention(24, 3, batch_first=True)
    projections = (layer.query, layer.key, layer.value)
    peer.in_proj_weight.data = torch.cat([p.weight.data for p in projections])
    peer.in_proj_bias.data = torch.cat([p.bias.data for p in projections])
    peer.out_proj.load_state_dict(layer.out.state_dict())
    query, key, value = torch.randn(2, 5, 24), torch.randn(2, 7, 24), torch.randn(2, 7, 24)
    mask = torch.arange(7)[None] < torch.tensor([[7], [4]])
    torch.testing.assert_close(layer(query, key, value), peer(query, key, value)[0])
    expected = peer(query, key, value, key_padding_mask=~mask)[0]  # there, True is what to leave out
    torch.testing.assert_close(layer(query, key, value, mask), expected)


@pytest.mark.parametrize("few_keys", [False, True])
@pytest.mark.parametrize("downsample", [1, 2, 4])
def test_narrower_attention_follows_the_formula(downsample: int, few_keys: bool) -> None:
    torch.manual_seed(1)
    layer = Attention(32, 4, downsample=downsample, few_keys=few_keys)
    query, key, value = torch.randn(3, 5, 32), torch.randn(3, 6, 32), torch.randn(3, 6, 32)
    mask = torch.arange(6)[None] < torch.tensor([[6], [2], [5]])
    for given in (None, mask):
        expected = by_formula(layer, query, key, value, given)
        torch.testing.assert_close(layer(query, key, value, given), expected)
    inner = 32 // downsample
    assert sum(p.numel() for p in layer.parameters()) == 4 * 32 * inner + 3 * inner + 32


def test_heads_must_divide_the_inner_width() -> None:
    with pytest.raises(ValueError, match="inner width 16 is not a multiple of 3 heads"):
        Attention(32, 3, downsample=2)

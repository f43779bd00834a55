"""Order of norms in a block, and SegNeXt's own count."""

import pytest
import torch
from torch.nn import functional as F

from common.networks.lsms.encoder_block import BlockDesign, EncoderBlock, NormOrder, ProjectedSVLA, down, stem

C, D = 8, 12


def block(norm_order: NormOrder, *, projected: bool = False) -> EncoderBlock:
    torch.manual_seed(0)
    built = EncoderBlock(C, D, BlockDesign(norm_order, projected), ratio=2).eval()
    for norm in built.norms:  # else they do next to nothing in evaluation
        norm.running_mean.uniform_(-1, 1)
        norm.running_var.uniform_(0.5, 2)
    return built


def test_post_norm_follows_equations_2_and_3() -> None:
    layer = block("post")
    x, tokens, mask = torch.randn(2, C, 6, 6), torch.randn(2, 3, D), torch.ones(2, 3, dtype=torch.bool)
    first = layer.norms[0](layer.attention(x, tokens, mask) + x)
    torch.testing.assert_close(layer(x, tokens, mask), layer.norms[1](layer.feed_forward(first) + first))


def test_pre_norm_is_the_identity_where_its_scales_are_zero() -> None:
    layer = block("pre", projected=True)
    x = torch.randn(2, C, 6, 6)
    scales = layer.scales
    assert scales is not None
    assert all((scale == 0.01).all() for scale in scales)
    attention = scales[0][:, None, None] * layer.attention(layer.norms[0](x))
    torch.nn.init.zeros_(scales[1])
    torch.testing.assert_close(layer(x), x + attention)
    torch.nn.init.zeros_(scales[0])
    assert torch.equal(layer(x), x)


def test_projected_attention_has_a_shortcut_of_its_own() -> None:
    layer = ProjectedSVLA(C, D, BlockDesign())
    x = torch.randn(1, C, 6, 6)
    torch.testing.assert_close(layer(x), x + layer.after(layer.svla(F.gelu(layer.before(x)))))
    torch.nn.init.zeros_(layer.after.weight)
    torch.nn.init.zeros_(layer.after.bias)
    assert torch.equal(layer(x), x)


@pytest.mark.parametrize("side", [480, 33, 50])
def test_grids_halve_and_round_up(side: int) -> None:
    with torch.device("meta"):
        x = stem(C)(torch.empty(1, 3, side, side))
        assert x.shape == (1, C, -(-side // 4), -(-side // 4))
        assert down(C, 2 * C)(x).shape == (1, 2 * C, -(-side // 8), -(-side // 8))

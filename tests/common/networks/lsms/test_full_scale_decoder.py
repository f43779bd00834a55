"""The Full-Scale Decoder's designs: counts by hand, and alignment against exact values."""

import pytest
import torch

from common.networks.lsms.full_scale_decoder import Design, FullScaleDecoder, resize

HAM, ALIGN = 64, 32
HAMBURGER = (HAM * HAM + HAM) + HAM * HAM + 2 * HAM
SQUEEZED = HAM * ALIGN + 2 * ALIGN + ALIGN + 1  # to the align width, its norm, the last convolution


@pytest.mark.parametrize(
    ("design", "count"),
    [
        ("hamburger", 48 * HAM + 2 * HAM + HAMBURGER + SQUEEZED),
        ("mlp_hamburger", (48 + 2) * ALIGN + 2 * ALIGN * HAM + 2 * HAM + HAMBURGER + SQUEEZED),
        ("mlp", (48 + 2) * ALIGN + 2 * ALIGN * ALIGN + 2 * ALIGN + ALIGN + 1),
        ("none", 48 + 1),
    ],
)
def test_designs_have_the_weights_counted_by_hand(design: Design, count: int) -> None:
    decoder = FullScaleDecoder([16, 32], design=design, ham_channels=HAM, align_channels=ALIGN)
    assert sum(parameter.numel() for parameter in decoder.parameters()) == count
    maps = [torch.randn(2, 16, 8, 6), torch.randn(2, 32, 4, 3)]
    assert decoder(maps, size=(8, 6)).shape == (2, 1, 8, 6)


def test_without_a_head_it_is_a_linear_map_of_the_aligned_maps() -> None:
    torch.manual_seed(0)
    decoder = FullScaleDecoder([3, 5], design="none").eval()
    maps = [torch.randn(1, 3, 8, 8), torch.randn(1, 5, 1, 1)]  # one pixel is the same everywhere
    weight, bias = decoder.segment[1].weight[0, :, 0, 0], decoder.segment[1].bias
    expected = torch.einsum("c,bchw->bhw", weight[:3], maps[0]) + weight[3:] @ maps[1][0, :, 0, 0] + bias
    torch.testing.assert_close(decoder(maps, size=(8, 8))[:, 0], expected)


def test_resizing_keeps_a_slope() -> None:
    slope = torch.arange(8.0).view(1, 1, 1, 8).expand(1, 1, 4, 8)
    twice = resize(slope, (8, 16))  # pixel centres: value x / 2 - 1/4 away from the border
    torch.testing.assert_close(twice[0, 0, 3, 1:-1], torch.arange(1.0, 15) / 2 - 0.25)
    assert resize(slope, (4, 8)) is slope

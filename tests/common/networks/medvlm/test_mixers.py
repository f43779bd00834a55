"""The feature mixer against equations 4-7 written out with PyTorch's attention; positions of pixels."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.layers.blocks import Attention
from common.networks.medvlm.mixers import FeatureMixer, FourierPositions

WIDTH, HEADS = 32, 4


def attend(layer: Attention, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    """The layer's weights in a softmax(Q K^T / sqrt(d)) V of einsums."""
    q, k, v = (
        projection(x).unflatten(-1, (HEADS, -1))
        for projection, x in ((layer.query, query), (layer.key, key), (layer.value, value))
    )
    scores = torch.einsum("bqhc,bkhc->bhqk", q, k) / q.shape[-1] ** 0.5
    if mask is not None:
        scores = scores + torch.where(mask, 0.0, -torch.inf)[:, None, None]
    return layer.out(torch.einsum("bhqk,bkhc->bqhc", scores.softmax(-1), v).flatten(2))


def normal(norm: nn.LayerNorm, x: Tensor) -> Tensor:
    mean, variance = x.mean(-1, keepdim=True), x.var(-1, keepdim=True, unbiased=False)
    return (x - mean) / (variance + norm.eps).sqrt() * norm.weight + norm.bias


@pytest.fixture
def mixer() -> FeatureMixer:
    torch.manual_seed(0)
    mixer = FeatureMixer(WIDTH, heads=HEADS, mlp_width=48)
    for norm in mixer.norms:  # so that a norm in the wrong place is seen
        nn.init.normal_(norm.weight, 1.0, 0.3)
        nn.init.normal_(norm.bias, 0.0, 0.3)
    return mixer.double()


@pytest.fixture
def inputs() -> dict[str, Tensor]:
    torch.manual_seed(1)
    return {
        "text": torch.randn(2, 5, WIDTH).double(),
        "image": torch.randn(2, 9, WIDTH).double(),
        "text_start": torch.randn(2, 5, WIDTH).double(),
        "positions": torch.randn(9, WIDTH).double(),
        "mask": torch.arange(5)[None] < torch.tensor([[5], [3]]),
    }


def test_follows_the_equations(mixer: FeatureMixer, inputs: dict[str, Tensor]) -> None:
    t, i, start, where, mask = inputs.values()
    q = t + start
    t1 = normal(mixer.norms[0], t + attend(mixer.self_attention, q, q, t, mask))  # eq 4
    t2 = normal(mixer.norms[1], t1 + attend(mixer.text_to_image, t1 + start, i + where, i))  # eq 5
    first, second = mixer.mlp[0], mixer.mlp[2]
    hidden = (t2 @ first.weight.T + first.bias).clamp(min=0)
    t3 = normal(mixer.norms[2], t2 + hidden @ second.weight.T + second.bias)  # eq 6
    i1 = normal(mixer.norms[3], i + attend(mixer.image_to_text, i + where, t3 + start, t3, mask))  # eq 7
    text, image = mixer(**inputs)
    torch.testing.assert_close(text, t3)
    torch.testing.assert_close(image, i1)


def test_padding_reaches_neither_words_nor_image(mixer: FeatureMixer, inputs: dict[str, Tensor]) -> None:
    """Text 1 has two pieces of padding: what stands there, and how much of it, must not matter."""
    text, image = mixer(**inputs)
    changed = {key: inputs[key].clone() for key in inputs}
    changed["text"][1, 3:], changed["text_start"][1, 3:] = 1e3, -1e3
    garbage_text, garbage_image = mixer(**changed)
    longer = {key: F.pad(inputs[key], (0, 0, 0, 4), value=7.0) for key in ("text", "text_start")}
    longer_text, longer_image = mixer(**{**inputs, **longer, "mask": F.pad(inputs["mask"], (0, 4))})
    for other_text, other_image in ((garbage_text, garbage_image), (longer_text, longer_image)):
        torch.testing.assert_close(other_text[0, :5], text[0])
        torch.testing.assert_close(other_text[1, :3], text[1, :3])
        torch.testing.assert_close(other_image, image)


def test_order_of_the_prompts_does_not_matter(mixer: FeatureMixer, inputs: dict[str, Tensor]) -> None:
    text, image = mixer(**inputs)
    swapped = {key: value if key == "positions" else value.flip(0) for key, value in inputs.items()}
    other_text, other_image = mixer(**swapped)
    torch.testing.assert_close(other_text.flip(0), text)
    torch.testing.assert_close(other_image.flip(0), image)


def test_size_of_the_papers_mixer() -> None:
    """Four mixers of width 256, MLP 1024 and attention at half width between words and image: 4.217 M."""
    with torch.device("meta"):
        mixer = FeatureMixer(256, heads=8, mlp_width=1024)
    self_attention = 4 * (256 * 256 + 256)
    cross_attention = 2 * (4 * 256 * 128 + 3 * 128 + 256)
    mlp = 2 * 256 * 1024 + 1024 + 256
    norms = 4 * 2 * 256
    count = sum(p.numel() for p in mixer.parameters())
    assert count == self_attention + cross_attention + mlp + norms
    assert 4 * count / 1e6 == pytest.approx(4.217, abs=5e-4)


def test_features_are_sine_and_cosine_of_the_pixel_centres() -> None:
    positions = FourierPositions(12)
    height, width = 3, 5
    got = positions(height, width)
    assert got.shape == (15, 12)
    f = positions.frequencies
    for row in range(height):
        for column in range(width):
            y, x = -1 + (2 * row + 1) / height, -1 + (2 * column + 1) / width
            phase = [y * float(f[0, k]) + x * float(f[1, k]) for k in range(6)]
            expected = torch.tensor([*map(math.sin, phase), *map(math.cos, phase)])
            torch.testing.assert_close(got[row * width + column], expected, rtol=0, atol=1e-5)


def test_middle_is_sine_0_and_cosine_1_and_opposite_pixels_mirror() -> None:
    got = FourierPositions(16)(5, 7)
    torch.testing.assert_close(got[17], torch.tensor([0.0] * 8 + [1.0] * 8), rtol=0, atol=1e-6)
    sign = torch.tensor([-1.0] * 8 + [1.0] * 8)
    torch.testing.assert_close(got.flip(0), got * sign, rtol=0, atol=1e-5)
    torch.testing.assert_close(got[:, :8] ** 2 + got[:, 8:] ** 2, torch.ones(35, 8))


def test_frequencies_are_standard_normal_times_two_pi_and_need_no_checkpoint() -> None:
    positions = FourierPositions(20_000)
    standard = positions.frequencies / (2 * math.pi)
    assert float(standard.mean()) == pytest.approx(0, abs=0.04)  # 20,000 draws: 5 sigma is 0.035
    assert float(standard.std()) == pytest.approx(1, abs=0.03)
    assert not positions.state_dict()
    state = torch.get_rng_state()
    torch.testing.assert_close(FourierPositions(64).frequencies, FourierPositions(64).frequencies)
    assert torch.equal(torch.get_rng_state(), state)  # the global generator is left alone

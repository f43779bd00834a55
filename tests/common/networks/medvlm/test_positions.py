"""Fourier features of pixel centres."""

import math

import pytest
import torch

from common.networks.medvlm.positions import FourierPositions


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

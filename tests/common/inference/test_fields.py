"""What a network is shown: its own framing, whatever it declares, by way of the inferer."""

import numpy as np
import pytest
import torch
from PIL import Image

from common.data.framing import RGB, Channel
from common.data.images import read_image_2d
from common.inference import VolumeInferer
from common.text.prompts import Prompt

ASKED = [Prompt("5 at 49.5", "bright", 1)]


def windowed(hu, low, high):
    return np.clip((hu - low) / (high - low), 0.0, 1.0)


def test_a_network_of_two_windows_sees_both_and_the_slices_beside(make_network, make_volume, random_hu):
    """Slices are 2 mm apart; above the last one there is none, which then stands for it."""
    channels = [Channel(), Channel(window=(0, 80)), Channel(offset_mm=4.0), Channel(offset_mm=-2.0)]
    hu, network = random_hu(5, 8, 8), make_network(8, channels=channels)
    result = VolumeInferer(slice_batch=2)(make_volume(hu, (2.0, 1.0, 1.0)), network, ASKED)
    for index, image in enumerate(network.images):
        above, below = hu[min(index + 2, 4)], hu[max(index - 1, 0)]
        expected = [windowed(hu[index], -160, 240), windowed(hu[index], 0, 80)]
        expected += [windowed(above, -160, 240), windowed(below, -160, 240)]
        np.testing.assert_allclose(image.numpy(), expected, atol=1e-6)
    np.testing.assert_array_equal(result.labels, hu > 49.5)


def test_an_asked_slice_still_has_its_neighbours(make_network, make_volume, random_hu):
    hu, network = random_hu(5, 8, 8), make_network(8, channels=[Channel(), Channel(offset_mm=1.0)])
    VolumeInferer()(make_volume(hu), network, ASKED, slice_index=2)
    (image,) = network.images
    np.testing.assert_allclose(image.numpy(), windowed(hu[2:4], -160, 240), atol=1e-6)


def test_a_network_of_colours_sees_those_of_the_image(make_network, tmp_path):
    pixels = np.random.default_rng(5).integers(0, 256, (8, 8, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    network = make_network(8, channels=["blue", "red"], images=True)
    VolumeInferer()(read_image_2d(tmp_path / "a.png"), network, ASKED)
    (image,) = network.images
    np.testing.assert_allclose(image.numpy(), pixels[..., [2, 0]].transpose(2, 0, 1) / 255, atol=1e-6)


@pytest.mark.parametrize(
    "framing",
    [
        {"channels": RGB},
        {"channels": [Channel(), Channel(window=(-1000, 400))], "crop": "whole"},
        {"channels": [Channel(offset_mm=3.0), Channel()], "mirrored": True},
    ],
)
def test_a_field_is_what_the_networks_framing_makes(framing, make_network, make_volume, random_hu):
    """In training the same call makes it: a body of another shape than the field, which is resampled."""
    hu = np.full((4, 20, 30), -1000)
    hu[:, 3:17, 5:25] = random_hu(4, 14, 20)
    volume, network = make_volume(hu, (3.0, 1.0, 0.8)), make_network(16, **framing)
    VolumeInferer(slice_batch=3)(volume, network, ASKED)
    frame = network.framing.frame(volume, 16)
    expected = network.framing.field(volume, range(4), frame)
    assert expected.shape == (4, *network.field_shape)
    torch.testing.assert_close(torch.stack(network.images), expected, rtol=0, atol=0)

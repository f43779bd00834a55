"""Normalisations against the constants of transformers' image processors."""

import pytest
import torch
from transformers import image_utils

from common.errors import InputError
from common.layers.normalisation import Normalise

PUBLISHED = {
    "half": (image_utils.IMAGENET_STANDARD_MEAN, image_utils.IMAGENET_STANDARD_STD),
    "imagenet": (image_utils.IMAGENET_DEFAULT_MEAN, image_utils.IMAGENET_DEFAULT_STD),
    "clip": (image_utils.OPENAI_CLIP_MEAN, image_utils.OPENAI_CLIP_STD),
    "unit": ([0.0] * 3, [1.0] * 3),
}


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("channels", [1, 3])
def test_three_channels_with_the_published_mean_and_deviation(name: str, channels: int) -> None:
    image = torch.rand(2, channels, 4, 5)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in PUBLISHED[name])
    torch.testing.assert_close(Normalise(name)(image), (image.expand(2, 3, 4, 5) - mean) / std)


@pytest.mark.parametrize("channels", [2, 4, 5])
def test_any_number_of_channels_where_all_are_treated_alike(channels: int) -> None:
    image = torch.rand(2, channels, 8, 8)
    assert torch.equal(Normalise("unit")(image), image)
    torch.testing.assert_close(Normalise("half")(image), 2 * image - 1)
    assert Normalise("per_image")(image).shape == image.shape
    for name in ("imagenet", "clip"):
        sentence = (
            f"found '{name}' for an image of {channels} channels, expected 1 or 3 channels for it; chan"
        )
        with pytest.raises(InputError, match=sentence):
            Normalise(name)(image)


def test_each_image_by_itself() -> None:
    image = torch.rand(2, 1, 8, 8) * torch.tensor([0.1, 1.0]).view(2, 1, 1, 1)
    pixels = Normalise("per_image")(image)
    assert pixels.shape == (2, 3, 8, 8)
    torch.testing.assert_close(pixels.mean((1, 2, 3)), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(pixels.var((1, 2, 3), correction=0), torch.ones(2))
    torch.testing.assert_close(Normalise("per_image")(image[:1] * 0.3 + 0.2), pixels[:1], atol=1e-4, rtol=0)
    assert not Normalise("per_image")(torch.full((1, 1, 4, 4), 0.5)).any()


def test_a_checkpoint_does_not_hold_it() -> None:
    assert not Normalise("imagenet").state_dict()


def test_an_unknown_one_is_refused() -> None:
    sentence = (
        r"image_normalisation: found 'medsam', expected one of unit, half, lite, imagenet, clip, per_image"
    )
    with pytest.raises(InputError, match=sentence):
        Normalise("medsam")

"""Augmentation: a draw is given what its number says, and image, masks and words stay together."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from common.errors import InputError
from common.training import Augmentation

NOTHING: dict[str, Any] = {"affine": 0.0, "intensity": 0.0, "gamma": 0.0, "noise": 0.0}
SIDE = 16


def batch_of(
    count: int, *, first: int = 0, prompt: str = "liver", free: bool = True, square: bool = True
) -> Any:
    """Images whose pixels all differ, each with two masks that are functions of them."""
    image = torch.linspace(0, 1, SIDE * SIDE).view(1, 1, SIDE, SIDE).repeat(count, 2, 1, 1)
    masks = torch.stack([image[:, 0] > 0.7, (image[:, 0] * 255).round() % 3 == 0], dim=1).float()
    words = {"prompt": [prompt, prompt] * count, "target": [prompt, prompt] * count}
    facts = {"orientation_free": [free] * count, "square": [square] * count}
    return image, masks.view(-1, 1, SIDE, SIDE), {"draw": list(range(first, first + count)), **words, **facts}


def apply(augmentation: Augmentation, count: int, **options: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    image, label, batch = batch_of(count, **options)
    return image, label, *augmentation(image, label, batch)


def test_a_draw_is_the_same_alone_and_in_any_batch() -> None:
    augmentation = Augmentation(seed=4, affine=0.7, intensity=0.5, gamma=0.5, noise=0.5, flip=0.5)
    _, _, image, label = apply(augmentation, 12)
    for number in range(12):
        _, _, alone, masks = apply(augmentation, 1, first=number)
        assert torch.equal(alone[0], image[number])
        assert torch.equal(masks, label[2 * number : 2 * number + 2])
    _, _, other, _ = apply(Augmentation(seed=5, affine=0.7), 12)
    assert not torch.equal(other, image)


def test_the_batch_that_is_given_stays_as_it_was() -> None:
    image, label, batch = batch_of(4)
    before = image.clone(), label.clone()
    Augmentation(affine=1.0, noise=1.0, intensity=1.0)(image, label, batch)
    assert torch.equal(image, before[0])
    assert torch.equal(label, before[1])


def test_nothing_is_nothing() -> None:
    image, label, new_image, new_label = apply(Augmentation(**NOTHING), 3)
    torch.testing.assert_close(new_image, image, rtol=0, atol=1e-7)
    assert torch.equal(new_label, label)


def test_masks_go_where_the_image_goes() -> None:
    """A block of ones is shifted, turned and zoomed: its mask is what the image shows, to half a pixel."""
    image = torch.zeros(40, 1, 64, 64)
    image[..., 20:44, 16:36] = 1
    batch = {"draw": list(range(40)), "prompt": ["liver"] * 40, "target": ["liver"] * 40}
    only = {**NOTHING, "affine": 1.0}
    new_image, new_label = Augmentation(**only)(image, image.clone(), batch)
    shown = new_image > 0.5
    both = (shown & (new_label > 0)).sum()
    assert 2 * both / (shown.sum() + new_label.sum()) > 0.98
    assert set(new_label.unique().tolist()) == {0.0, 1.0}
    # At most 10 % larger or smaller along each axis, 4 pixels away, so that the block is never cut.
    areas = new_label.sum(dim=(1, 2, 3)) / (24 * 20)
    assert 0.9**2 - 0.05 < areas.min() < 0.95
    assert 1.05 < areas.max() < 1.1**2 + 0.05
    rows = torch.arange(64.0).view(1, 1, 64, 1)
    centres = (new_label * rows).sum(dim=(1, 2, 3)) / new_label.sum(dim=(1, 2, 3))
    assert 2 < (centres - centres.mean()).abs().max() < 64 * 0.0625 + 2


def test_the_angle_is_at_most_what_is_said() -> None:
    image = torch.zeros(30, 1, 65, 65)
    image[..., 32, 8:57] = 1  # a horizontal line
    batch = {"draw": list(range(30)), "prompt": ["liver"] * 30, "target": ["liver"] * 30}
    _, label = Augmentation(**{**NOTHING, "affine": 1.0}, zoom=0.0, shift=0.0, turn_rad=0.5)(
        image, image, batch
    )
    angles = []
    for mask in label[:, 0]:
        y, x = np.nonzero(mask.numpy())
        angles.append(np.arctan(np.polyfit(x, y, 1)[0]))
    assert 0.35 < np.abs(angles).max() < 0.53
    assert np.sign(angles).min() < 0 < np.sign(angles).max()


@pytest.mark.parametrize("words", ["the left kidney", "cyst in segment IV", "spleen, left of the stomach"])
def test_what_names_a_side_is_never_mirrored(words: str) -> None:
    image, _, new_image, _ = apply(Augmentation(**NOTHING, flip=1.0), 50, prompt=words)
    torch.testing.assert_close(new_image, image, rtol=0, atol=1e-7)


@pytest.mark.parametrize("flip", [0.3, 1.0])
def test_the_rest_is_mirrored_at_the_stated_rate(flip: float) -> None:
    image, label, new_image, new_label = apply(Augmentation(**NOTHING, flip=flip), 1000)
    mirrored = (new_image - image.flip(-1)).abs().amax(dim=(1, 2, 3)) < 1e-5
    kept = (new_image - image).abs().amax(dim=(1, 2, 3)) < 1e-5
    assert (mirrored ^ kept).all()
    assert mirrored.float().mean().item() == pytest.approx(flip, abs=5 * np.sqrt(flip * (1 - flip) / 1000))
    expected = torch.where(mirrored.repeat_interleave(2).view(-1, 1, 1, 1), label.flip(-1), label)
    assert torch.equal(new_label, expected)


def ways(image: np.ndarray) -> list[np.ndarray]:
    """The eight ways to turn and mirror a square."""
    return [np.rot90(one, quarters) for one in (image, image[:, ::-1]) for quarters in range(4)]


@pytest.mark.parametrize(
    ("turns", "free", "square", "expected"),
    [("free", True, True, range(8)), ("free", True, False, (0, 2, 4, 6)), ("free", False, True, (0,)),
     ("none", True, True, (0,)), ("all", False, False, range(8))],
)  # fmt: skip
def test_turns_are_exact_and_as_likely(turns: str, free: bool, square: bool, expected: range) -> None:
    count = 800
    image, label, new_image, new_label = apply(
        Augmentation(**NOTHING, turns=turns), count, free=free, square=square
    )
    known = np.stack(ways(image[0, 0].numpy()))
    found = [int(np.abs(known - one.numpy()).max(axis=(1, 2)).argmin()) for one in new_image[:, 0]]
    assert sorted(set(found)) == list(expected)
    for way, one, masks in zip(found, new_image[:, 0], new_label.view(count, 2, SIDE, SIDE), strict=True):
        np.testing.assert_allclose(one, known[way], atol=1e-5)
        np.testing.assert_array_equal(masks[0], ways(label[0, 0].numpy())[way])
    share = np.bincount(found, minlength=8)[list(expected)] / count
    np.testing.assert_allclose(share, 1 / len(expected), atol=5 * np.sqrt(0.25 / count))


def test_a_mask_that_is_asked_for_is_not_lost() -> None:
    """One pixel in a corner leaves the field in about half of the shifts."""
    image, batch = torch.rand(60, 1, 32, 32), batch_of(60)[2]
    label = torch.zeros(120, 1, 32, 32)
    label[0::2, 0, 0, 0] = 1
    options = {**NOTHING, "affine": 1.0, "shift": 0.2}
    assert 0 < (Augmentation(**options)(image, label, batch)[1].flatten(1).any(dim=1)[0::2]).sum() < 60
    new_image, new_label = Augmentation(**options, keep_masks=True)(image, label, batch)
    assert new_label.flatten(1).any(dim=1)[0::2].all()
    untouched = (new_image == image).flatten(1).all(dim=1)
    assert 0 < untouched.sum() < 60
    assert (new_label[0::2][untouched] == label[0::2][untouched]).all()


def test_intensities_change_as_stated() -> None:
    image = torch.full((400, 1, 4, 4), 0.5)
    batch = {"draw": list(range(400)), "prompt": ["liver"] * 400, "target": ["liver"] * 400}
    label = torch.zeros(400, 1, 4, 4)
    scaled = Augmentation(**{**NOTHING, "intensity": 0.3})(image, label, batch)[0][:, 0, 0, 0] / 0.5
    changed = scaled[scaled != 1]
    assert len(changed) / 400 == pytest.approx(0.3, abs=5 * np.sqrt(0.21 / 400))
    assert 0.9 <= changed.min() < 0.92
    assert 1.08 < changed.max() <= 1.1
    bent = Augmentation(**{**NOTHING, "gamma": 1.0})(image, label, batch)[0][:, 0, 0, 0]
    assert 0.5**1.25 - 1e-6 <= bent.min() < 0.5**1.2
    assert 0.5**0.85 < bent.max() <= 0.5**0.8 + 1e-6


def test_noise_has_at_most_the_stated_deviation() -> None:
    image = torch.full((200, 1, 32, 32), 0.5)
    batch = {"draw": list(range(200)), "prompt": ["liver"] * 200, "target": ["liver"] * 200}
    noisy, _ = Augmentation(**{**NOTHING, "noise": 0.5})(image, torch.zeros(200, 1, 32, 32), batch)
    deviations = (noisy - image).flatten(1).std(dim=1)
    drawn = deviations[deviations > 0]
    assert len(drawn) / 200 == pytest.approx(0.5, abs=5 * np.sqrt(0.25 / 200))
    assert 0.027 < drawn.max() < 0.033
    assert drawn.mean().item() == pytest.approx(0.015, abs=0.003)


def test_other_turns_are_refused() -> None:
    with pytest.raises(InputError, match="turns: found 'some', expected one of none, free, all; choose one"):
        Augmentation(turns="some")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_same_images() -> None:
    augmentation = Augmentation(affine=0.9, intensity=0.5, gamma=0.5, noise=0.5, flip=0.5)
    image, label, batch = batch_of(16)
    expected, found = augmentation(image, label, batch), augmentation(image.cuda(), label.cuda(), batch)
    torch.testing.assert_close(found[0].cpu(), expected[0], rtol=0, atol=1e-4)
    assert (found[1].cpu() != expected[1]).float().mean() < 1e-3

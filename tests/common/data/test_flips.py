"""Left and right, above and below stay what the words say."""

from typing import Any

import numpy as np
import pytest
import torch
from monai.transforms import Compose

from common.data.flips import RandLeftRightFlipd, RandQuarterTurnd


def sample(prompt: list[str], target: list[str]) -> dict[str, Any]:
    image = torch.arange(12.0).reshape(1, 3, 4)
    label = torch.stack([(image[0] % (k + 2) == 0).float() for k in range(len(prompt))])
    return {"image": image, "label": label, "prompt": prompt, "target": target}


@pytest.mark.parametrize(
    ("prompt", "target"),
    [
        (["the left kidney"], ["left kidney"]),
        (["kidney on the RIGHT"], ["right kidney"]),
        (["liver", "L kidney"], ["liver", "left kidney"]),  # one sided prompt among others is enough
        (["ren sinister"], ["left kidney"]),
        (["the kidney beside the spleen"], ["left kidney"]),  # the words name no side, the organ has one
        (["spleen, left of the stomach"], ["spleen"]),
        (["the largest cyst", "the cyst in segment IV"], ["lesion", "lesion"]),
    ],
)
def test_what_names_a_side_is_never_mirrored(prompt: list[str], target: list[str]) -> None:
    flip = RandLeftRightFlipd(prob=1.0)
    given = sample(prompt, target)
    for _ in range(200):
        assert torch.equal(flip(given)["image"], given["image"])
        assert torch.equal(flip(given)["label"], given["label"])


@pytest.mark.parametrize("prob", [0.0, 0.3, 1.0])
def test_the_rest_is_mirrored_at_the_stated_rate_with_its_label(prob: float) -> None:
    flip = RandLeftRightFlipd(prob=prob)
    flip.set_random_state(seed=1)
    given, count, flipped = sample(["brainstem", "spinal cord"], ["brainstem", "spinal cord"]), 2000, 0
    for _ in range(count):
        got = flip(given)
        mirrored = not torch.equal(got["image"], given["image"])
        flipped += mirrored
        for key in ("image", "label"):
            expected = given[key].numpy()[..., ::-1] if mirrored else given[key].numpy()
            np.testing.assert_array_equal(got[key].numpy(), expected)
        assert got["prompt"] == given["prompt"]
    assert flipped / count == pytest.approx(prob, abs=5 * np.sqrt(prob * (1 - prob) / count))


def test_a_seed_decides_and_the_sample_stays_as_it_was() -> None:
    given = sample(["liver"], ["liver"])
    before = given["image"].clone()
    runs = []
    for _ in range(2):
        flip = RandLeftRightFlipd(prob=0.5).set_random_state(seed=3)
        runs.append([torch.equal(flip(given)["image"], before) for _ in range(30)])
    assert runs[0] == runs[1]
    assert set(runs[0]) == {True, False}
    assert torch.equal(given["image"], before)


def sample_of(*, orientation_free: bool, square: bool = True) -> dict[str, Any]:
    """Pixels that all differ, and masks that are functions of them."""
    image = torch.arange(2 * 25.0).reshape(2, 5, 5)
    label = torch.stack([(image[0] % (k + 2) == 0).float() for k in range(3)])
    return {
        "image": image,
        "label": label,
        "prompt": ["the oval cyst"],
        "orientation_free": orientation_free,
        "square": square,
    }


def ways(image: np.ndarray) -> list[np.ndarray]:
    """The eight of a square: as it is, a quarter, half and three quarters round, and all in a mirror."""
    turned = [np.rot90(image, quarters, axes=(1, 2)) for quarters in range(4)]
    return turned + [way.transpose(0, 2, 1) for way in turned]


def test_all_eight_ways_are_reached_as_often_with_image_and_label_alike() -> None:
    turn = RandQuarterTurnd()
    turn.set_random_state(seed=2)
    given = sample_of(orientation_free=True)
    images, labels = ways(given["image"].numpy()), ways(given["label"].numpy())
    counts = np.zeros(8, int)
    for _ in range(4000):
        got = turn(given)
        (way,) = [way for way in range(8) if np.array_equal(got["image"].numpy(), images[way])]
        np.testing.assert_array_equal(got["label"].numpy(), labels[way])
        counts[way] += 1
    assert counts == pytest.approx(np.full(8, 500), abs=5 * np.sqrt(4000 * 1 / 8 * 7 / 8))


def test_what_is_stretched_is_turned_by_halves() -> None:
    """An ellipse that a wide image's stretching made of a disc must lie as stretching would have it."""
    turn = RandQuarterTurnd()
    turn.set_random_state(seed=2)
    given = sample_of(orientation_free=True, square=False)
    lying = [given["image"], *(given["image"].flip(dims) for dims in ([-1], [-2], [-2, -1]))]
    found = []
    for _ in range(200):
        got = turn(given)["image"]
        (way,) = [way for way in range(4) if torch.equal(got, lying[way])]
        found.append(way)
    assert set(found) == {0, 1, 2, 3}


def test_what_speaks_of_a_place_is_never_turned() -> None:
    turn, given = RandQuarterTurnd(), sample_of(orientation_free=False)
    for _ in range(100):
        got = turn(given)
        for key in ("image", "label"):
            assert torch.equal(got[key], sample_of(orientation_free=False)[key])
        assert (got["prompt"], got["orientation_free"]) == (given["prompt"], False)


def test_turns_follow_the_seed_and_the_sample_stays_as_it_was() -> None:
    given, runs = sample_of(orientation_free=True), []
    for seed in (3, 3, 4):
        turn = Compose([RandQuarterTurnd()])
        turn.set_random_state(seed=seed)
        runs.append([turn(given)["image"].numpy().tobytes() for _ in range(30)])
    assert runs[0] == runs[1] != runs[2]
    for key in ("image", "label"):
        assert torch.equal(given[key], sample_of(orientation_free=True)[key])

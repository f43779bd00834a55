"""Left and right stay what the words say."""

from typing import Any

import numpy as np
import pytest
import torch

from common.data.flips import RandLeftRightFlipd


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

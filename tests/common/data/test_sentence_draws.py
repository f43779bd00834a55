"""Draws of referring data: which lesions of an image are asked for together, and which masks they have."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.transforms import RandAffined
from PIL import Image

from common.data import EpochSampler, ReferringImages, collate_slices
from common.errors import InputError
from common.training import Augmentation
from tests.common.data.fields import field
from tests.common.data.referring_files import items

SIDE = 32
PLACES = {1: (2, 3), 2: (2, 20), 3: (14, 4), 4: (23, 22)}  # top and left of squares that differ in grey
# Items by the words of their only sentence; a capital letter: all of its sentences stay true when turned.
MEANT: dict[str, Any] = {
    "a": 1, "b": 2, "c": 3, "d": 4, "ab": [1, 2], "cd": [3, 4], "abd": [1, 2, 4], "all": None,
    "A": 1, "B": 2, "AB": [1, 2], "CD": [3, 4], "BCD": [2, 3, 4],
}  # fmt: skip


@pytest.fixture
def squares(tmp_path: Path) -> dict[str, Any]:
    """A 2D image of SIDE x SIDE pixels with four squares, of which value n has the grey value 50 n."""
    labels = np.zeros((SIDE, SIDE), np.uint8)
    for value, (top, left) in PLACES.items():
        labels[top : top + 5, left : left + 5] = value
    Image.fromarray(labels).save(tmp_path / "label.png")
    Image.fromarray(50 * labels).save(tmp_path / "image.png")
    return {"image": "image.png", "label": "label.png", "patient": "p"}


def entries(image: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        image | {"lesion": lesion, "prompts": [words], "case": words, "orientation_free": words[0].isupper()}
        for words, lesion in MEANT.items()
    ]


def values(words: str) -> set[int]:
    """The lesions that an item of `MEANT` means."""
    meant = MEANT[words]
    return set(PLACES) if meant is None else {meant} if isinstance(meant, int) else set(meant)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_prompts_of_a_sample_share_no_lesion_unless_they_are_one(
    tmp_path: Path, squares: dict[str, Any], count: int
) -> None:
    dataset = ReferringImages(
        items(tmp_path, *entries(squares)), network=field(SIDE), prompts_per_image=count, progress=False
    )
    together = set()
    for sample in (dataset[index] for index in range(40 * len(MEANT))):
        asked = sample["prompt"]
        assert len(asked) == len(sample["label"]) == len(sample["target"]) == count
        assert asked[0] == sample["case"]
        for words, mask in zip(asked, sample["label"], strict=True):
            shown = {round(grey * 255) // 50 for grey in sample["image"][0][mask > 0].tolist()}
            assert shown == values(words)
            assert mask.sum() == 25 * len(shown)  # each of them, all of it and nothing else
        for one, other in itertools.combinations(range(count), 2):
            apart = not values(asked[one]) & values(asked[other])
            assert apart or asked[one] == asked[other]
            assert bool((sample["label"][one] * sample["label"][other]).any()) != apart
        assert sample["orientation_free"] == asked[0][0].isupper()
        assert len({words[0].isupper() for words in asked}) == 1
        together.add(frozenset(asked))
    # Each two that share no lesion do meet, and what shares one with all others is asked for alone.
    assert {frozenset({"all"}), frozenset({"BCD", "A"}), frozenset({"AB", "CD"})} <= together
    if count == 2:
        pairs = itertools.combinations(MEANT, 2)
        assert {pair for pair in together if len(pair) == 2} == {
            frozenset((one, other))
            for one, other in pairs
            if one[0].isupper() == other[0].isupper() and not values(one) & values(other)
        }


def test_a_round_takes_every_item_once_whatever_else_is_asked(
    tmp_path: Path, squares: dict[str, Any]
) -> None:
    dataset = ReferringImages(
        items(tmp_path, *entries(squares)), network=field(SIDE), prompts_per_image=3, progress=False
    )
    for start in (0, len(MEANT)):
        cases = [dataset[index]["case"] for index in range(start, start + len(MEANT))]
        assert sorted(cases) == sorted(MEANT)


def test_lesions_of_different_label_maps_are_asked_for_together(
    tmp_path: Path, squares: dict[str, Any]
) -> None:
    """Each lesion may have a map of its own, where all have the value 1 or none is named."""
    for value, (top, left) in PLACES.items():
        mask = np.zeros((SIDE, SIDE), np.uint8)
        mask[top : top + 5, left : left + 5] = 1
        Image.fromarray(mask).save(tmp_path / f"{value}.png")
    listed = items(
        tmp_path,
        *[
            squares | {"label": f"{value}.png", "prompts": [str(value)], "case": str(value)}
            for value in PLACES
        ],
    )
    sample = ReferringImages(listed, network=field(SIDE), prompts_per_image=4, progress=False)[0]
    assert sorted(sample["prompt"]) == ["1", "2", "3", "4"]
    for words, mask in zip(sample["prompt"], sample["label"], strict=True):
        assert (sample["image"][0][mask > 0] * 255 / 50).mean() == pytest.approx(int(words), abs=0.01)


def test_only_images_whose_words_allow_it_are_turned(tmp_path: Path, squares: dict[str, Any]) -> None:
    listed = items(tmp_path, *entries(squares))
    plain = ReferringImages(listed, network=field(SIDE), prompts_per_image=2, progress=False, seed=3)
    turn = Augmentation(seed=3, affine=0.0, intensity=0.0, gamma=0.0, noise=0.0, turns="free")
    ways = set()
    for index in range(20 * len(MEANT)):
        batch = collate_slices([plain[index]])
        image, label = turn(batch["image"], batch["label"], batch)
        if batch["orientation_free"] == [False]:
            torch.testing.assert_close(image, batch["image"], rtol=0, atol=1e-6)
            assert torch.equal(label, batch["label"])
            continue
        for words, mask in zip(batch["prompt"], label[:, 0], strict=True):
            shown = {round(grey * 255) // 50 for grey in image[0, 0][mask > 0].tolist()}
            assert shown == values(words)
        ways.add((image * 255).round().numpy().tobytes())
    assert len(ways) == 8


def test_masks_of_several_lesions_are_those_of_each(tmp_path: Path, png: dict[str, Any]) -> None:
    """Also where the field is coarser than the image, and both are asked for before they are alone."""
    meant = {"both": [3, 7], "small": 3, "large": 7, "everything": None}
    listed = items(
        tmp_path,
        *[png | {"lesion": lesion, "prompts": [words], "case": words} for words, lesion in meant.items()],
    )
    dataset = ReferringImages(listed, network=field(13), progress=False)
    masks = {draw["case"]: draw["label"][0] for draw in (dataset[index] for index in range(4))}
    assert torch.equal(masks["both"], torch.maximum(masks["small"], masks["large"]))
    for words, pixels in (("small", 24), ("large", 48)):
        assert masks[words].sum() == round(pixels * 13**2 / 800)
    assert set(masks["both"].unique().tolist()) == {0.0, 1.0}


def test_an_augmentation_that_loses_a_lesion_is_left_out(tmp_path: Path, png: dict[str, Any]) -> None:
    listed = items(
        tmp_path, *[png | {"lesion": value, "prompts": ["x"], "case": str(value)} for value in (3, 7)]
    )

    def draws(shift: int) -> list[dict[str, Any]]:
        moved = RandAffined(  # up and to the left by so many rows and columns
            ["image", "label"],
            prob=1.0,
            translate_range=[(shift, shift)] * 2,
            mode="nearest",
            padding_mode="zeros",
        )
        dataset = ReferringImages(
            listed, network=field(40), prompts_per_image=2, transform=moved, progress=False
        )
        return [dataset[index] for index in range(8)]

    kept, both, one = draws(0), draws(4), draws(15)
    for original, moved, lost in zip(kept, both, one, strict=True):
        assert torch.equal(moved["label"][:, :-4, :-4], original["label"][:, 4:, 4:])
        # The left lesion ends at column 10: by 15 it is gone, though the right one would not be.
        assert torch.equal(lost["label"], original["label"])
        assert torch.equal(lost["image"], original["image"])


def test_draws_are_a_function_of_seed_and_number(tmp_path: Path, png: dict[str, Any]) -> None:
    entries = [
        png | {"lesion": 3 + 4 * (n % 2), "prompts": [f"{n}a", f"{n}b"], "case": str(n)} for n in range(7)
    ]
    listed = items(tmp_path, *entries)
    one, same = (ReferringImages(listed, network=field(SIDE), seed=4, progress=False) for _ in range(2))
    other = ReferringImages(listed, network=field(SIDE), seed=5, progress=False)
    backwards = [same[index] for index in reversed(range(21))][::-1]
    draws = [one[index] for index in range(21)]
    for first, second in zip(draws, backwards, strict=True):
        assert (first["case"], first["prompt"]) == (second["case"], second["prompt"])
    orders = [[draw["case"] for draw in draws[start : start + 7]] for start in (0, 7, 14)]
    assert all(sorted(order) == list("0123456") for order in orders)  # each item once a round
    assert orders[0] != orders[1]
    assert [other[index]["case"] for index in range(7)] != orders[0]
    assert {draw["prompt"][0][1] for draw in draws} == {"a", "b"}
    assert list(EpochSampler(one)) == list(range(7))


def test_prompts_of_an_image_ask_for_its_different_lesions(tmp_path: Path, png: dict[str, Any]) -> None:
    listed = items(
        tmp_path,
        png | {"lesion": 3, "prompts": ["small"], "case": "s"},
        png | {"lesion": 7, "prompts": ["large"], "case": "l"},
    )
    dataset = ReferringImages(listed, network=field(SIDE), prompts_per_image=3, progress=False)
    batch = collate_slices([dataset[0], dataset[1]])
    assert batch["image"].shape == (2, 1, SIDE, SIDE)
    assert batch["label"].shape == (6, 1, SIDE, SIDE)
    for start in (0, 3):
        assert set(batch["prompt"][start : start + 2]) == {"small", "large"}
    areas = {"small": 24 * SIDE**2 / 800, "large": 48 * SIDE**2 / 800}  # stretched from 20 x 40 pixels
    for prompt, mask in zip(batch["prompt"], batch["label"], strict=True):
        assert mask.sum().item() == pytest.approx(areas[prompt], rel=0.2)


def test_an_image_is_asked_for_one_lesion_at_least(tmp_path: Path, png: dict[str, Any]) -> None:
    listed = items(tmp_path, png | {"lesion": 3, "prompts": ["x"]})
    with pytest.raises(InputError, match="prompts_per_image: found 0, expected 1 or more"):
        ReferringImages(listed, network=field(32), prompts_per_image=0)


def test_the_former_name_of_prompts_per_image_is_read(tmp_path: Path, png: dict[str, Any]) -> None:
    listed = items(tmp_path, png | {"prompts": ["x"], "lesion": 3})
    with pytest.warns(FutureWarning, match="prompts_per_picture is now called prompts_per_image"):
        dataset = ReferringImages(listed, network=field(32), prompts_per_picture=3, progress=False)
    assert (dataset.prompts_per_image, len(dataset[0]["prompt"])) == (3, 3)


def test_a_network_of_volumes_trains_on_no_2d_images(tmp_path: Path, png: dict[str, Any]) -> None:
    """As inference refuses them later, in the same words; before anything is read."""
    listed = items(tmp_path, png | {"lesion": 3, "prompts": ["x"]})
    (tmp_path / "image.png").write_bytes(b"not read")
    with pytest.raises(
        InputError, match=r"image\.png: found the ending '\.png', expected NIfTI .*; convert it"
    ):
        ReferringImages(listed, network=field(32, images=False), progress=False)

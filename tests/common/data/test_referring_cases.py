"""Referring data to evaluate on: masks in the files' own grid, and what lies beside a lesion."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from common.data.referring_pictures import PictureReader
from PIL import Image

from common.data import Framing, ReferringCases
from common.data.referring_samples import MaskInOwnGridd, in_own_grid
from common.data.volumes import read_volume
from common.errors import InputError
from common.inference import VolumeInferer
from common.networks.base import TextFeatures
from common.text.prompts import Prompt
from tests.common.data.referring_files import LEFT_LESION, RIGHT_LESION, SHAPES_AND_SIZES, SLICE, items

SIDE = 32


@pytest.mark.parametrize(("shape", "size"), SHAPES_AND_SIZES)
def test_a_mask_comes_back_to_where_the_field_shows_it(shape: tuple[int, int], size: int) -> None:
    """Logits are a disc's signed distance, at the place of the file that each field pixel shows."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    (y, x), radius = (0.4 * shape[0], 0.6 * shape[1]), 0.2 * min(shape)
    own = [(np.mgrid[:size, :size][axis] + 0.5) * shape[axis] / size - 0.5 for axis in range(2)]
    logits = torch.from_numpy(radius - np.hypot(own[0] - y, own[1] - x))
    back = in_own_grid(logits[None, None], shape)[0, 0].numpy()
    disc = np.hypot(rows - y, columns - x) < radius
    assert 2 * (back & disc).sum() / (back.sum() + disc.sum()) > 0.97
    assert [rows[back].mean(), columns[back].mean()] == pytest.approx((y, x), abs=0.1)


class Bright(torch.nn.Module):
    """Logits that are positive where the field is brighter than 0.7, whatever the words."""

    image_size = SIDE

    def encode_text(self, prompts: list[str]) -> TextFeatures:
        return TextFeatures(torch.zeros(len(prompts), 1, 1), torch.ones(len(prompts), 1, dtype=torch.bool))

    def encode_image(self, image: torch.Tensor) -> torch.Tensor:
        return image

    def decode(self, image_features: torch.Tensor, text: TextFeatures) -> torch.Tensor:
        return image_features - 0.7


@pytest.mark.parametrize("axes", ["RAS", "PIR"])
def test_evaluation_and_inference_give_the_same_mask(tmp_path: Path, make_volume: Any, axes: str) -> None:
    (item,) = items(tmp_path, make_volume(axes) | {"lesion": LEFT_LESION, "prompts": ["left"]})
    case = ReferringCases([item], size=SIDE)[0]
    evaluated = in_own_grid(Bright().decode(case["image"][None], None), case["label"].shape[-2:])[0, 0]
    inferer = VolumeInferer(framing=Framing(crop="whole", mirrored=True))
    found = inferer(read_volume(item.image), Bright(), [Prompt("left", "left", 1)]).labels[SLICE] == 1
    np.testing.assert_array_equal(found, evaluated.numpy()[:, ::-1])  # the file's slices are not mirrored
    np.testing.assert_array_equal(found, PictureReader()(item).mask(item))
    assert found.any()


@pytest.mark.parametrize("axes", ["RAS", "PIR"])
def test_lesions_beside_are_turned_as_when_they_are_asked_for(
    tmp_path: Path, make_volume: Any, axes: str
) -> None:
    volume = make_volume(axes)
    listed = items(
        tmp_path,
        volume | {"lesion": LEFT_LESION, "prompts": ["left"], "case": "l"},
        volume | {"lesion": RIGHT_LESION, "prompts": ["right"], "case": "r"},
        volume | {"lesion": RIGHT_LESION, "prompts": ["again"], "case": "r2"},
    )
    cases = ReferringCases(listed, size=SIDE)
    masks = [cases[index]["label"][0] > 0 for index in range(3)]
    for index, others in enumerate(([1], [0], [0])):  # each lesion once, and none beside itself
        beside = cases.beside(listed[index])
        assert len(beside) == len(others)
        for found, other in zip(beside, others, strict=True):
            torch.testing.assert_close(found, masks[other])


def test_beside_a_lesion_is_each_other_one_and_beside_several_nothing(
    tmp_path: Path, png: dict[str, Any]
) -> None:
    entries = [png | {"lesion": lesion, "prompts": ["x"], "case": str(lesion)} for lesion in (3, 7, [3, 7])]
    cases = ReferringCases(items(tmp_path, *entries), size=SIDE)
    small, large, both = (cases[index]["label"][0] > 0 for index in range(3))
    assert torch.equal(both, small | large)
    assert [len(cases.beside(item)) for item in cases.data] == [1, 1, 0]
    assert torch.equal(cases.beside(cases.data[0])[0], large)
    together = ReferringCases(cases.data[::2], size=SIDE)  # the large one is named by an item about both
    assert [torch.equal(mask, large) for mask in together.beside(together.data[0])] == [True]


def test_what_overlaps_a_lesion_does_not_lie_beside_it(tmp_path: Path, png: dict[str, Any]) -> None:
    """Label maps of their own: one lesion, and all of them."""
    alone = tmp_path / "alone.png"
    labels = np.asarray(Image.open(tmp_path / png["label"]))
    Image.fromarray((labels == 3).astype(np.uint8)).save(alone)
    entries = [
        png | {"label": "alone.png", "prompts": ["x"], "case": "a"},
        png | {"prompts": ["y"], "case": "b"},
    ]
    cases = ReferringCases(items(tmp_path, *entries), size=SIDE)
    assert [cases.beside(item) for item in cases.data] == [[], []]


def test_every_sentence_is_asked_on_request(tmp_path: Path, png: dict[str, Any]) -> None:
    listed = items(
        tmp_path,
        png | {"lesion": 3, "prompts": ["a", "b", "a"], "case": "s"},
        png | {"lesion": 7, "prompts": ["c"], "case": "l"},
    )
    cases = ReferringCases(listed, size=SIDE, sentences="all")
    asked = [cases[index] for index in range(len(cases))]
    assert [(case["case"], case["prompt"]) for case in asked] == [("s", ["a"]), ("s", ["b"]), ("l", ["c"])]
    first = ReferringCases(listed, size=SIDE)
    assert [first[index]["prompt"] for index in range(len(first))] == [["a"], ["c"]]
    with pytest.raises(InputError, match="sentences: found 'last', expected first or all; correct it"):
        ReferringCases(listed, size=SIDE, sentences="last")  # type: ignore[arg-type]


def test_evaluation_is_in_the_files_own_pixels(tmp_path: Path, png: dict[str, Any]) -> None:
    (item,) = items(tmp_path, png | {"lesion": 7, "prompts": ["large", "another sentence"]})
    case = ReferringCases([item], size=80)[0]
    assert case["prompt"] == ["large"]
    assert case["label"].shape == (1, 20, 40)
    assert case["label"].sum() == 48
    logits = torch.full((1, 80, 80), -1.0)
    logits[:, 40:64, 56:72] = 1.0  # the lesion in a field of 80 pixels: rows x 4, columns x 2
    done = MaskInOwnGridd()({**case, "pred": logits})
    torch.testing.assert_close(done["pred"], case["label"])
    np.testing.assert_array_equal(np.diag(done["label"].affine.numpy()), [1, 1, 1, 1])


@pytest.mark.parametrize("lesion", [5, [3, 5]])
def test_items_to_validate_on_are_read_before_the_training_starts(
    tmp_path: Path, png: dict[str, Any], lesion: Any
) -> None:
    listed = items(tmp_path, png | {"lesion": lesion, "prompts": ["x"]})
    with pytest.raises(InputError, match=r"the lesion 5 .* is not there \(lesions found: 3, 7\)"):
        ReferringCases(listed, size=32)

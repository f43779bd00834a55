"""Referring data: which lesion an item means, and that left in the text is left in the picture."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.transforms import RandAffined
from nibabel import orientations
from PIL import Image

from common.data import EpochSampler, Framing, ReferringCases, ReferringPictures, collate_slices
from common.data.referring import ReferringItem, load_referring
from common.data.referring_pictures import PictureReader
from common.data.referring_samples import MaskInOwnGridd, in_own_grid
from common.data.volumes import read_volume
from common.errors import InputError
from common.inference import VolumeInferer
from common.networks.base import TextFeatures
from common.text.prompts import Prompt

SIDE = 32
LEFT_LESION, RIGHT_LESION = 1, 2  # of the patient
SLICE = 1  # the slice of the volume that has lesions


@pytest.fixture
def png(tmp_path: Path) -> dict[str, Any]:
    """A picture of 20 x 40 pixels with lesions of value 3 (left of the picture) and 7 (right)."""
    labels = np.zeros((20, 40), np.uint8)
    labels[4:8, 4:10], labels[10:16, 28:36] = 3, 7
    grey = np.where(labels == 3, 100, np.where(labels == 7, 200, 50)).astype(np.uint8)
    for name, pixels in (("image", grey), ("label", labels)):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    return {"image": "image.png", "label": "label.png", "patient": "p"}


@pytest.fixture
def make_volume(tmp_path: Path) -> Callable[[str], dict[str, Any]]:
    """A volume stored in some axis order, with a bright lesion on the patient's left and a dark one right."""

    def make(axes: str) -> dict[str, Any]:
        labels = np.zeros((16, 12, 3), np.uint8)  # RAS: x runs from left to right
        labels[2:5, 4:8, SLICE], labels[11:14, 4:8, SLICE] = LEFT_LESION, RIGHT_LESION  # small x: left
        hu = np.where(labels == LEFT_LESION, 200, np.where(labels == RIGHT_LESION, -100, 40)).astype(np.int16)
        for name, voxels in (("image", hu), ("label", labels)):
            image = nib.Nifti1Image(voxels, np.diag([2.0, 1.5, 5.0, 1.0]))
            turn = orientations.ornt_transform(
                orientations.io_orientation(image.affine), orientations.axcodes2ornt(tuple(axes))
            )
            nib.save(image.as_reoriented(turn), tmp_path / f"{name}.nii.gz")
        return {"image": "image.nii.gz", "label": "label.nii.gz", "slice": SLICE, "patient": "v"}

    return make


def items(folder: Path, *entries: dict[str, Any]) -> list[ReferringItem]:
    path = folder / "datalist.json"
    path.write_text(json.dumps({"training": list(entries)}))
    return load_referring(path, "training")


def test_items_say_which_lesion_is_meant(tmp_path: Path, png: dict[str, Any], make_volume: Any) -> None:
    found = items(
        tmp_path,
        png | {"lesion": 3, "prompts": [" the small one "]},
        png | {"lesion": 7, "prompts": ["the large one", "the lesion on the right"]},
        make_volume("LPS") | {"prompts": ["both"], "case": "all"},
        make_volume("LPS") | {"prompts": ["left lesion"], "lesion": 1},
    )
    assert [item.case for item in found] == ["image-3", "image-7", "all", "image-1-1"]
    assert [item.lesion for item in found] == [3, 7, None, 1]
    assert [item.slice_index for item in found] == [None, None, 1, 1]
    assert found[0].prompts == ("the small one",)
    read = PictureReader()
    assert [int(read(item).mask(item).sum()) for item in found] == [24, 48, 24, 12]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompts": []}, r'training\[0\] has \[\] as "prompts", expected a list of sentences'),
        ({"prompts": "left"}, r'training\[0\] has "left" as "prompts", expected a list of sentences'),
        ({"prompts": ["left\x07"]}, r"training\[0\], prompts: found the control character U\+0007"),
        ({"lesion": 0}, r'training\[0\] has 0 as "lesion", expected a whole number from 1 up'),
        ({"lession": 3}, r'training\[0\] has the field "lession" and no "lesion", .* did you mean lesion\?'),
        ({"Slices": 1}, r'the field "Slices" and no "slice", .* or name it otherwise'),
        ({"slice": 2}, r'training\[0\] is a picture with "slice", expected none; correct it'),
        ({"image": "image.nii.gz"}, r'training\[0\] is a volume without "slice", expected "slice": NUMBER'),
        ({"image": "image.bmp"}, r"image\.bmp, expected a picture \(\.png, \.jpg, \.jpeg\) or a NIfTI file"),
        ({"label": None}, r'training\[0\] has no label map, expected "label": "PATH"; add it'),
    ],
)
def test_items_that_cannot_be_meant_are_refused(
    tmp_path: Path, png: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        items(tmp_path, png | {"prompts": ["the lesion"]} | changes)


def test_a_patient_in_two_splits_is_refused(tmp_path: Path, png: dict[str, Any]) -> None:
    content = {name: [png | {"prompts": ["x"]}] for name in ("training", "test")}
    (tmp_path / "datalist.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match='patient "p" is in both "training" and "test"'):
        load_referring(tmp_path / "datalist.json", "test")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lesion": 5}, r'lesion 5 of the case "image-5" is not there \(lesions found: 3, 7\)'),
        ({"label": "image.jpg"}, r"image\.jpg: a JPEG of the kind L is given as label map, expected a PNG"),
        ({"label": "other.png"}, r"label map has 5 x 5 pixels and the image .*image\.png has 20 x 40 \(rows"),
        ({"label": "text.png"}, r"text\.png: cannot be read as a label map \("),
    ],
)
def test_files_that_do_not_fit_are_refused(
    tmp_path: Path, png: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    Image.open(tmp_path / "image.png").save(tmp_path / "image.jpg")
    Image.fromarray(np.zeros((5, 5), np.uint8)).save(tmp_path / "other.png")
    (tmp_path / "text.png").write_text("no picture")
    (item,) = items(tmp_path, png | {"prompts": ["x"]} | changes)
    with pytest.raises(InputError, match=message):
        ReferringPictures([item], size=SIDE, progress=False)


@pytest.mark.parametrize(
    ("changes", "place"),
    [({"image": "image.nii.gz", "label": "label.nii.gz", "slice": 0}, " in slice 0"), ({}, "")],
)
def test_an_item_without_any_lesion_is_refused(
    tmp_path: Path, png: dict[str, Any], make_volume: Any, changes: dict[str, Any], place: str
) -> None:
    """As one whose lesion is not there: its sentences refer to nothing."""
    make_volume("LPS")
    Image.fromarray(np.zeros((20, 40), np.uint8)).save(tmp_path / "label.png")
    (item,) = items(tmp_path, png | {"prompts": ["x"], "case": "c"} | changes)
    message = rf'the label map of the case "c" is empty{place}, expected what its sentences refer to; correct'
    with pytest.raises(InputError, match=message):
        ReferringPictures([item], size=SIDE, progress=False)
    with pytest.raises(InputError, match=message):
        ReferringCases([item], size=SIDE)[0]


@pytest.mark.parametrize("dataset", [ReferringPictures, ReferringCases])
def test_a_framing_that_crops_is_refused(tmp_path: Path, make_volume: Any, dataset: Any) -> None:
    (item,) = items(tmp_path, make_volume("LPS") | {"prompts": ["x"]})
    with pytest.raises(
        InputError, match=r'framing#crop: found "body", expected "whole": .* see whole slices'
    ):
        dataset([item], size=SIDE, framing=Framing(crop="body"))


def test_a_slice_that_is_not_there_is_refused(tmp_path: Path, make_volume: Any) -> None:
    (item,) = items(tmp_path, make_volume("RAS") | {"prompts": ["x"], "slice": 3})
    with pytest.raises(
        InputError, match="asks for slice 3, but the volume has 3 slices, 0 the most inferior"
    ):
        PictureReader()(item)


@pytest.mark.parametrize("axes", ["RAS", "LPS", "SLA", "PIR"])
def test_left_in_the_text_is_left_in_the_picture(tmp_path: Path, make_volume: Any, axes: str) -> None:
    """The patient's left lesion lies in the left half of the field, however the file is stored."""
    left, right = items(
        tmp_path,
        make_volume(axes) | {"lesion": LEFT_LESION, "prompts": ["left"], "case": "l"},
        make_volume(axes) | {"lesion": RIGHT_LESION, "prompts": ["right"], "case": "r"},
    )
    dataset = ReferringPictures([left, right], size=SIDE, progress=False)
    half = SIDE // 2
    for index in range(2):
        sample = dataset[index]
        mask, image = sample["label"][0] > 0, sample["image"][0]
        assert sample["spacing_mm"] == (1.5, 2.0)
        if sample["case"] == "l":
            assert mask[:, :half].sum() > 0 == mask[:, half:].sum()
            assert image[mask].mean() > 0.8  # 200 HU in the window of -160 to 240
        else:
            assert mask[:, half:].sum() > 0 == mask[:, :half].sum()
            assert image[mask].mean() < 0.3
    assert not Framing(crop="whole").frame(read_volume(left.image), SIDE).mirrored  # the usual display


def test_a_png_stays_as_it_is(tmp_path: Path, png: dict[str, Any]) -> None:
    (item,) = items(tmp_path, png | {"lesion": 3, "prompts": ["left"]})
    sample = ReferringPictures([item], size=40, progress=False)[0]
    expected = np.zeros((20, 40))
    expected[4:8, 4:10] = 1
    np.testing.assert_array_equal(sample["label"][0], expected.repeat(2, axis=0))  # 20 rows on 40: stretched
    assert sample["image"][0, 12, 6] == pytest.approx(100 / 255, abs=1e-3)


def test_no_lesion_vanishes_in_the_field(tmp_path: Path) -> None:
    """Squares of 1 to 9 pixels from 512 to 128 pixels, in all 16 ways of lying on the coarser grid."""
    size, coarser = 128, 4
    lesions, labels = [], np.zeros((512, 512), np.uint8)
    for number, (side, y, x) in enumerate(itertools.product((1, 2, 3, 5, 6, 9), range(4), range(4)), start=1):
        top, left = 40 * (number // 12) + y, 40 * (number % 12) + x
        labels[top : top + side, left : left + side] = number
        lesions.append((side, top, left))
    for name in ("image", "label"):
        Image.fromarray(labels).save(tmp_path / f"{name}.png")
    entry = {"image": "image.png", "label": "label.png", "patient": "p", "prompts": ["x"]}
    listed = items(tmp_path, *[entry | {"lesion": number} for number in range(1, len(lesions) + 1)])
    dataset = ReferringPictures(listed, size=size, progress=False)
    draws = {dataset[index]["case"]: dataset[index]["label"][0] for index in range(len(lesions))}
    for number, (side, top, left) in enumerate(lesions, start=1):
        rows, columns = np.nonzero(draws[f"image-{number}"].numpy())
        assert len(rows) == max(1, round(side**2 / coarser**2))
        for first, found in ((top, rows), (left, columns)):  # only pixels that the lesion touches
            assert first // coarser <= found.min() <= found.max() <= (first + side - 1) // coarser


SHAPES_AND_SIZES = [((64, 96), 32), ((64, 96), 128), ((100, 70), 48), ((50, 90), 64), ((128, 128), 50)]


@pytest.mark.parametrize(("shape", "size"), SHAPES_AND_SIZES)
def test_picture_and_masks_lie_alike_in_the_field(tmp_path: Path, shape: tuple[int, int], size: int) -> None:
    """Pixel centres at a half: field pixel j shows column (j + 0.5) width / size - 0.5."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    labels, radius = np.zeros(shape, np.uint8), 0.09 * min(shape)
    rng = np.random.default_rng(0)
    for number, ij in enumerate(itertools.product(range(4), range(4)), start=1):
        y, x = (0.14 + 0.24 * np.array(ij) + rng.uniform(-0.02, 0.02, 2)) * shape
        labels[(rows - y) ** 2 + (columns - x) ** 2 <= radius**2] = number
    Image.fromarray(labels).save(tmp_path / "label.png")
    for name, values in (("rows", rows), ("columns", columns)):
        Image.fromarray((2 * values).astype(np.uint8)).save(tmp_path / f"{name}.png")
    entry = {"label": "label.png", "patient": "p", "prompts": ["x"]}
    listed = items(
        tmp_path,
        *[
            entry | {"image": f"{name}.png", "lesion": n}
            for name in ("rows", "columns")
            for n in range(1, 17)
        ],
    )
    dataset = ReferringPictures(listed, size=size, progress=False)
    draws = {draw["case"]: draw for draw in (dataset[index] for index in range(len(listed)))}
    shown = [draws[f"{name}-1"]["image"][0].numpy() * 255 / 2 for name in ("rows", "columns")]
    own = [(np.mgrid[:size, :size][axis] + 0.5) * shape[axis] / size - 0.5 for axis in range(2)]
    inner = (slice(2, -2), slice(2, -2))  # the edges have no neighbours outside
    for axis, places in enumerate((rows, columns)):
        np.testing.assert_allclose(shown[axis][inner], own[axis][inner], atol=0.1)
        masks = [draws[f"rows-{number}"]["label"][0].numpy() > 0 for number in range(1, 17)]
        true = np.array([places[labels == number].mean() for number in range(1, 17)])
        errors = (np.array([own[axis][mask].mean() for mask in masks]) - true) * size / shape[axis]
        # Single centroids move by parts of a pixel, as masks are whole pixels. All of them together would
        # move if pixels were counted from their corners, and outwards if corner pixels lay on corners.
        outwards = np.sign(true - shape[axis] / 2)
        assert errors.mean() == pytest.approx(0, abs=0.06)
        assert (errors * outwards).mean() == pytest.approx(0, abs=0.06)


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
        dataset = ReferringPictures(listed, size=40, prompts_per_picture=2, transform=moved, progress=False)
        return [dataset[index] for index in range(8)]

    kept, both, one = draws(0), draws(4), draws(15)
    for original, moved, lost in zip(kept, both, one, strict=True):
        assert torch.equal(moved["label"][:, :-4, :-4], original["label"][:, 4:, 4:])
        # The left lesion ends at column 10: by 15 it is gone, though the right one would not be.
        assert torch.equal(lost["label"], original["label"])
        assert torch.equal(lost["image"], original["image"])


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
    for index, others in enumerate(([1, 2], [0], [0])):  # the same lesion is not beside itself
        beside = cases.beside(listed[index])
        assert len(beside) == len(others)
        for found, other in zip(beside, others, strict=True):
            torch.testing.assert_close(found, masks[other])


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


def test_draws_are_a_function_of_seed_and_number(tmp_path: Path, png: dict[str, Any]) -> None:
    entries = [
        png | {"lesion": 3 + 4 * (n % 2), "prompts": [f"{n}a", f"{n}b"], "case": str(n)} for n in range(7)
    ]
    listed = items(tmp_path, *entries)
    one, same = (ReferringPictures(listed, size=SIDE, seed=4, progress=False) for _ in range(2))
    other = ReferringPictures(listed, size=SIDE, seed=5, progress=False)
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


def test_prompts_of_a_picture_ask_for_its_different_lesions(tmp_path: Path, png: dict[str, Any]) -> None:
    listed = items(
        tmp_path,
        png | {"lesion": 3, "prompts": ["small"], "case": "s"},
        png | {"lesion": 7, "prompts": ["large"], "case": "l"},
    )
    dataset = ReferringPictures(listed, size=SIDE, prompts_per_picture=3, progress=False)
    batch = collate_slices([dataset[0], dataset[1]])
    assert batch["image"].shape == (2, 1, SIDE, SIDE)
    assert batch["label"].shape == (6, 1, SIDE, SIDE)
    for start in (0, 3):
        assert set(batch["prompt"][start : start + 2]) == {"small", "large"}
    areas = {"small": 24 * SIDE**2 / 800, "large": 48 * SIDE**2 / 800}  # stretched from 20 x 40 pixels
    for prompt, mask in zip(batch["prompt"], batch["label"], strict=True):
        assert mask.sum().item() == pytest.approx(areas[prompt], rel=0.2)


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


def test_a_picture_is_asked_for_one_lesion_at_least(tmp_path: Path, png: dict[str, Any]) -> None:
    listed = items(tmp_path, png | {"lesion": 3, "prompts": ["x"]})
    with pytest.raises(InputError, match="prompts_per_picture: found 0, expected 1 or more"):
        ReferringPictures(listed, size=32, prompts_per_picture=0)


def test_items_to_validate_on_are_read_before_the_training_starts(
    tmp_path: Path, png: dict[str, Any]
) -> None:
    listed = items(tmp_path, png | {"lesion": 5, "prompts": ["x"]})
    with pytest.raises(InputError, match=r"the lesion 5 .* is not there \(lesions found: 3, 7\)"):
        ReferringCases(listed, size=32)

"""Referring data: which lesion an item means, and that left in the text is left in the picture."""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from common.data.referring_pictures import PictureReader
from monai.transforms import Compose
from PIL import Image

from common.data import Framing, ReferringCases, ReferringPictures
from common.data.datalist import load_referring
from common.data.volumes import read_volume
from common.errors import InputError
from tests.common.data.referring_files import LEFT_LESION, RIGHT_LESION, SHAPES_AND_SIZES, items

SIDE = 32


def test_items_say_which_lesion_is_meant(tmp_path: Path, png: dict[str, Any], make_volume: Any) -> None:
    found = items(
        tmp_path,
        png | {"lesion": 3, "prompts": [" the small one "]},
        png | {"lesion": 7, "prompts": ["the large one", "the lesion on the right"]},
        make_volume("LPS") | {"prompts": ["both"], "case": "all"},
        make_volume("LPS") | {"prompts": ["left lesion"], "lesion": 1},
    )
    assert [item.case for item in found] == ["image-3", "image-7", "all", "image-1-1"]
    assert [item.lesions for item in found] == [(3,), (7,), None, (1,)]
    assert [item.slice_index for item in found] == [None, None, 1, 1]
    assert found[0].prompts == ("the small one",)
    read = PictureReader()
    assert [int(read(item).mask(item).sum()) for item in found] == [24, 48, 24, 12]


def test_an_item_may_mean_several_lesions(tmp_path: Path, png: dict[str, Any], make_volume: Any) -> None:
    labels = np.array(Image.open(tmp_path / "label.png"))
    labels[18, 0] = 255
    Image.fromarray(labels).save(tmp_path / "label.png")
    found = items(
        tmp_path,
        png | {"lesion": [7, 3], "prompts": ["all bright ones"], "rotatable": True},
        png | {"lesion": [3], "prompts": ["one of a list"], "rotatable": False},
        png | {"prompts": ["everything"], "case": "all"},
        make_volume("LPS") | {"lesion": [LEFT_LESION, RIGHT_LESION], "prompts": ["both"]},
    )
    assert [item.case for item in found] == ["image-3-7", "image-3", "all", "image-1-1-2"]
    assert [item.lesions for item in found] == [(3, 7), (3,), None, (1, 2)]
    assert [item.rotatable for item in found] == [True, False, False, False]
    read = PictureReader()
    assert [int(read(item).mask(item).sum()) for item in found] == [24 + 48, 24, 24 + 48 + 1, 24]
    np.testing.assert_array_equal(read(found[0]).mask(found[0]), (labels == 3) | (labels == 7))


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        (3, 3, True),
        (3, 7, False),
        ([3, 7], 7, True),
        ([3, 7], [7, 9], True),
        ([3, 7], [5, 9], False),
        (None, 5, True),  # all of the label map, whatever it holds
        (None, [3, 7], True),
        (None, None, True),
        ([], 3, False),
        ([], None, False),
    ],
)
def test_items_share_a_lesion_or_not(
    tmp_path: Path, png: dict[str, Any], one: Any, other: Any, shared: bool
) -> None:
    (tmp_path / "other.png").write_bytes((tmp_path / "label.png").read_bytes())
    meant = [{"lesion": one}, {"lesion": other}, {"lesion": other, "label": "other.png"}]
    first, second, elsewhere = items(
        tmp_path, *[png | entry | {"prompts": ["x"], "case": str(n)} for n, entry in enumerate(meant)]
    )
    assert first.shares_a_lesion(second) == second.shares_a_lesion(first) == shared
    assert first.shares_a_lesion(first) == (one != [])
    assert not first.shares_a_lesion(elsewhere)  # another label map has lesions of its own


NO_LESION = (
    r"expected a whole number from 1 up or a list of different ones \(empty: nothing is meant\); correct it"
)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("lesion", [3, 7, 3], rf'\[3, 7, 3\] as "lesion", {NO_LESION}'),
        ("lesion", [3, 0], rf'\[3, 0\] as "lesion", {NO_LESION}'),
        ("lesion", [3, -7], rf'\[3, -7\] as "lesion", {NO_LESION}'),
        ("lesion", [3, True], rf'\[3, true\] as "lesion", {NO_LESION}'),
        ("lesion", ["3"], rf'\["3"\] as "lesion", {NO_LESION}'),
        ("lesion", [3, 7.0], rf'\[3, 7\.0\] as "lesion", {NO_LESION}'),
        ("lesion", [[3, 7]], rf'\[\[3, 7\]\] as "lesion", {NO_LESION}'),
        ("lesion", [None], rf'\[null\] as "lesion", {NO_LESION}'),
        ("lesion", 0, rf'0 as "lesion", {NO_LESION}'),
        ("lesion", True, rf'true as "lesion", {NO_LESION}'),
        ("lesion", "3", rf'"3" as "lesion", {NO_LESION}'),
        ("lesion", {"3": 7}, rf'\{{"3": 7\}} as "lesion", {NO_LESION}'),
        ("slice", [1], r'\[1\] as "slice", expected a whole number from 0 up; correct it'),
        ("rotatable", "yes", r'"yes" as "rotatable", expected true or false; correct it'),
        ("rotatable", 1, r'1 as "rotatable", expected true or false; correct it'),
        ("rotatable", None, r'null as "rotatable", expected true or false; correct it'),
    ],
)
def test_fields_that_mean_no_lesions_or_no_turn_are_refused(
    tmp_path: Path, png: dict[str, Any], field: str, value: Any, message: str
) -> None:
    with pytest.raises(InputError, match=rf"datalist\.json: training\[1\] has {message}\.$"):
        items(tmp_path, png | {"prompts": ["x"]}, png | {"prompts": ["x"], field: value})


@pytest.mark.parametrize("prompt", ["the left one", "all cysts in segment VIII"])
def test_sentences_that_name_a_side_cannot_be_turned(
    tmp_path: Path, png: dict[str, Any], prompt: str
) -> None:
    message = (
        rf'training\[0\] is "rotatable" and has the prompt "{prompt}", expected none that names a side or'
    )
    with pytest.raises(InputError, match=message):
        items(tmp_path, png | {"prompts": ["all cysts", prompt], "rotatable": True})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompts": []}, r'training\[0\] has \[\] as "prompts", expected a list of sentences'),
        ({"prompts": "left"}, r'training\[0\] has "left" as "prompts", expected a list of sentences'),
        ({"prompts": ["left\x07"]}, r"training\[0\], prompts: found the control character U\+0007"),
        ({"rotateable": True}, r'the field "rotateable" and no "rotatable", .* did you mean rotatable\?'),
        ({"lession": 3}, r'training\[0\] has the field "lession" and no "lesion", .* did you mean lesion\?'),
        ({"Slices": 1}, r'the field "Slices" and no "slice", .* or name it otherwise'),
        ({"slice": 2}, r'training\[0\] is a picture with "slice", expected none; correct it'),
        ({"image": "image.nii.gz"}, r'training\[0\] is a volume without "slice", expected "slice": NUMBER'),
        ({"image": "image.bmp"}, r"image\.bmp, expected a picture \(\.png, \.jpg, \.jpeg\) or a NIfTI file"),
        ({"label": None}, r'training\[0\] has no label map, expected "label": "PATH" \("lesion": \[\] needs'),
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
        ({"lesion": [7, 5, 3]}, r'lesion 5 of the case "image-3-5-7" is not there \(lesions found: 3, 7\)'),
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


def test_sentences_may_mean_nothing(tmp_path: Path, png: dict[str, Any], make_volume: Any) -> None:
    """Their mask is empty, with a label map and without one, in training and in evaluation."""
    nothing = {"lesion": [], "prompts": ["a square lesion"]}
    bare = {key: value for key, value in png.items() if key != "label"}
    volume = {key: value for key, value in make_volume("LPS").items() if key != "label"}
    listed = items(
        tmp_path,
        png | nothing | {"case": "n"},
        bare | nothing | {"case": "m"},
        volume | nothing,
        png | {"lesion": 3, "prompts": ["small"], "case": "s"},
    )
    assert [item.case for item in listed] == ["n", "m", "image-1-none", "s"]
    read = PictureReader()
    shapes = [(20, 40), (20, 40), (12, 16), (20, 40)]
    masks = [read(item).mask(item) for item in listed]
    assert [mask.shape for mask in masks] == shapes
    assert [int(mask.sum()) for mask in masks] == [0, 0, 0, 24]
    dataset = ReferringPictures(listed, size=SIDE, prompts_per_picture=3, progress=False)
    asked: dict[str, set[tuple[str, ...]]] = {}
    for sample in (dataset[index] for index in range(40)):
        asked.setdefault(sample["case"], set()).add(tuple(sorted(sample["prompt"])))
        for words, mask in zip(sample["prompt"], sample["label"], strict=True):
            assert bool(mask.any()) == (words == "small")
    assert asked["s"] == {("a square lesion", "a square lesion", "small")}  # the other two of its picture
    cases = ReferringCases(listed, size=SIDE)
    assert [int(cases[index]["label"].sum()) for index in range(4)] == [0, 0, 0, 24]
    assert cases.beside(listed[0]) == []


def test_an_augmentation_is_kept_where_only_nothing_was_asked_for(
    tmp_path: Path, png: dict[str, Any]
) -> None:
    listed = items(tmp_path, png | {"lesion": [], "prompts": ["a square lesion"]})

    def darker(sample: dict[str, Any]) -> dict[str, Any]:
        return sample | {"image": sample["image"] * 0.5}

    plain, turned = (
        ReferringPictures(listed, size=SIDE, transform=transform, progress=False)[0]["image"]
        for transform in (None, Compose([darker]))
    )
    np.testing.assert_allclose(turned, plain * 0.5)

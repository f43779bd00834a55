"""Referring data: which lesion an item means, and that left in the text is left in the image."""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.transforms import Compose
from PIL import Image

from common.data import Framing, ReferringImages
from common.data.datalist import load_referring
from common.data.labelled import LabelledReader
from common.data.volumes import read_volume
from common.errors import InputError
from tests.common.data.conftest import write_nifti
from tests.common.data.fields import field
from tests.common.data.referring_files import LEFT_LESION, RIGHT_LESION, SHAPES_AND_SIZES, SLICE, items

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
    read = LabelledReader()
    assert [int(read(item).meant(item).mask().sum()) for item in found] == [24, 48, 24, 12]


def test_an_item_may_mean_several_lesions(tmp_path: Path, png: dict[str, Any], make_volume: Any) -> None:
    labels = np.array(Image.open(tmp_path / "label.png"))
    labels[18, 0] = 255
    Image.fromarray(labels).save(tmp_path / "label.png")
    found = items(
        tmp_path,
        png | {"lesion": [7, 3], "prompts": ["all bright ones"], "orientation_free": True},
        png | {"lesion": [3], "prompts": ["one of a list"], "orientation_free": False},
        png | {"prompts": ["everything"], "case": "all"},
        make_volume("LPS") | {"lesion": [LEFT_LESION, RIGHT_LESION], "prompts": ["both"]},
    )
    assert [item.case for item in found] == ["image-3-7", "image-3", "all", "image-1-1-2"]
    assert [item.lesions for item in found] == [(3, 7), (3,), None, (1, 2)]
    assert [item.orientation_free for item in found] == [True, False, False, False]
    read = LabelledReader()
    assert [int(read(item).meant(item).mask().sum()) for item in found] == [24 + 48, 24, 24 + 48 + 1, 24]
    np.testing.assert_array_equal(read(found[0]).meant(found[0]).mask()[0], (labels == 3) | (labels == 7))


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


NO_LESION = r"expected a whole number from 1 up or a list of different ones \(empty: nothing is meant\)"


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("lesion", [3, 7, 3], rf'\[3, 7, 3\] as "lesion", {NO_LESION}'),
        ("lesion", [3, 0], rf'\[3, 0\] as "lesion", {NO_LESION}'),
        ("lesion", [3, -7], rf'\[3, -7\] as "lesion", {NO_LESION}'),
        ("lesion", [3, True], rf'\[3, true\] as "lesion", {NO_LESION}'),
        ("lesion", ["3"], rf'\["3"\] as "lesion", {NO_LESION}'),
        ("lesion", [3, 7.5], rf'\[3, 7\.5\] as "lesion", {NO_LESION}'),
        ("lesion", [[3, 7]], rf'\[\[3, 7\]\] as "lesion", {NO_LESION}'),
        ("lesion", [None], rf'\[null\] as "lesion", {NO_LESION}'),
        ("lesion", 0, rf'0 as "lesion", {NO_LESION}'),
        ("lesion", True, rf'true as "lesion", {NO_LESION}'),
        ("lesion", "3", rf'"3" as "lesion", {NO_LESION}'),
        ("lesion", {"3": 7}, rf'\{{"3": 7\}} as "lesion", {NO_LESION}'),
        ("slice", [1], r'\[1\] as "slice", expected a whole number from 0 up'),
        ("orientation_free", "yes", r'"yes" as "orientation_free", expected true or false'),
        ("orientation_free", 1, r'1 as "orientation_free", expected true or false'),
        ("orientation_free", None, r'null as "orientation_free", expected true or false'),
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
        rf'training\[0\] is "orientation_free" and has the prompt "{prompt}", expected none that names a '
    )
    with pytest.raises(InputError, match=message):
        items(tmp_path, png | {"prompts": ["all cysts", prompt], "orientation_free": True})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompts": []}, r'training\[0\] has \[\] as "prompts", expected a list of sentences'),
        ({"prompts": "left"}, r'training\[0\] has "left" as "prompts", expected a list of sentences'),
        ({"prompts": ["left\x07"]}, r"training\[0\], prompts: found the control character U\+0007"),
        (
            {"orientation_fre": True},
            r'the field "orientation_fre" and no "orientation_free", .* rename it to orientation_free,',
        ),
        ({"lession": 3}, r'training\[0\] has the field "lession" and no "lesion", .* rename it to lesion,'),
        ({"Slices": 1}, r'the field "Slices" and no "slice", .* or give it a less similar name'),
        ({"slice": 2}, r'training\[0\] is a 2D image with "slice", expected none'),
        ({"image": "image.nii.gz"}, r'training\[0\] is a volume without "slice", expected "slice": NUMBER'),
        ({"image": "image.bmp"}, r"image\.bmp, expected a 2D image \(\.png, \.jpg, \.jpeg\) or a NIfTI file"),
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


@pytest.mark.parametrize("crop", ["body", "whole"])
@pytest.mark.parametrize("axes", ["RAS", "LPS", "SLA", "PIR"])
def test_left_in_the_text_is_left_in_the_image(
    tmp_path: Path, make_volume: Any, axes: str, crop: str
) -> None:
    """The patient's left lesion lies in the left half of the field, however the file is stored."""
    left, right = items(
        tmp_path,
        make_volume(axes) | {"lesion": LEFT_LESION, "prompts": ["left"], "case": "l"},
        make_volume(axes) | {"lesion": RIGHT_LESION, "prompts": ["right"], "case": "r"},
    )
    dataset = ReferringImages([left, right], network=field(SIDE, crop=crop, mirrored=True), progress=False)
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
    sample = ReferringImages([item], network=field(40), progress=False)[0]
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
    dataset = ReferringImages(listed, network=field(size), progress=False)
    draws = {dataset[index]["case"]: dataset[index]["label"][0] for index in range(len(lesions))}
    for number, (side, top, left) in enumerate(lesions, start=1):
        rows, columns = np.nonzero(draws[f"image-{number}"].numpy())
        assert len(rows) == max(1, round(side**2 / coarser**2))
        for first, found in ((top, rows), (left, columns)):  # only pixels that the lesion touches
            assert first // coarser <= found.min() <= found.max() <= (first + side - 1) // coarser


def body_volume(
    folder: Path, name: str, *, top: int, left: int, side: tuple[int, int], spacing_mm: tuple[float, ...]
) -> None:
    """Four slices of air, with a body that is larger below than in slice `SLICE`, and a label map of it."""
    hu, (height, width) = np.full((4, 48, 60), -1000), side
    hu[0, top : top + height, left : left + width] = 0
    hu[SLICE, top + 2 : top + height - 2, left + 2 : left + width - 2] = 40
    write_nifti(folder / f"{name}.nii.gz", hu, spacing_mm)  # type: ignore[arg-type]


@pytest.mark.parametrize("spacing_mm", [(5.0, 1.0, 1.0), (5.0, 0.5, 1.5)])
def test_sentences_see_the_body_of_the_whole_volume(tmp_path: Path, spacing_mm: tuple[float, ...]) -> None:
    """As at inference: the box of slice 1 alone would be smaller, and its field another one."""
    body_volume(tmp_path, "image", top=8, left=10, side=(32, 40), spacing_mm=spacing_mm)
    labels = np.zeros((4, 48, 60), int)
    labels[SLICE, 14:26, 20:35] = 5
    write_nifti(tmp_path / "label.nii.gz", labels, spacing_mm)  # type: ignore[arg-type]
    entry = {"image": "image.nii.gz", "label": "label.nii.gz", "slice": SLICE, "prompts": ["x"], "lesion": 5}
    network = field(SIDE)
    dataset = ReferringImages(items(tmp_path, entry), network=network, progress=False)
    volume = read_volume(tmp_path / "image.nii.gz")
    frame = network.framing.frame(volume, SIDE)
    assert (frame.box.shape, frame.box.top, frame.box.left) == ((32, 40), 8, 10)
    sample = dataset[0]
    expected = network.framing.field(volume, [SLICE], frame)[0]
    torch.testing.assert_close(sample["image"], expected, atol=1e-3, rtol=0)
    mask = sample["label"][0].numpy() > 0
    scale = frame.inner_height / 32, frame.inner_width / 40
    pad = (SIDE - frame.inner_height) // 2, (SIDE - frame.inner_width) // 2
    rows, columns = np.nonzero(mask)
    assert mask.sum() == round(12 * 15 * scale[0] * scale[1])
    for found, first, length, axis in ((rows, 14 - 8, 12, 0), (columns, 20 - 10, 15, 1)):
        middle = pad[axis] + (first + length / 2) * scale[axis] - 0.5
        assert found.mean() == pytest.approx(middle, abs=0.5)
    assert sample["square"]  # whatever its sides: the body keeps its shape in mm


def test_two_images_with_one_label_map_have_fields_of_their_own(tmp_path: Path) -> None:
    """Phases of one scan: each body has its box, and the masks lie where their own image shows them."""
    labels = np.zeros((4, 48, 60), int)
    labels[SLICE, 14:26, 20:35] = 5
    write_nifti(tmp_path / "label.nii.gz", labels, (5.0, 1.0, 1.0))
    body_volume(tmp_path, "small", top=8, left=10, side=(32, 40), spacing_mm=(5.0, 1.0, 1.0))
    body_volume(tmp_path, "large", top=0, left=0, side=(48, 60), spacing_mm=(5.0, 1.0, 1.0))
    entry = {"label": "label.nii.gz", "slice": SLICE, "prompts": ["x"], "lesion": 5, "patient": "p"}
    listed = items(tmp_path, *[entry | {"image": f"{name}.nii.gz"} for name in ("small", "large")])
    together, alone = (
        {
            draw["case"]: draw["label"]
            for dataset in (ReferringImages(part, network=field(SIDE), progress=False) for part in parts)
            for draw in (dataset[index] for index in range(len(dataset)))
        }
        for parts in ([listed], [listed[:1], listed[1:]])
    )
    assert together.keys() == alone.keys()
    for name, mask in alone.items():
        assert torch.equal(together[name], mask)
    assert alone["small-1-5"].sum() > alone["large-1-5"].sum()


@pytest.mark.parametrize("crop", ["body", "whole"])
def test_a_wide_image_is_stretched_whatever_the_crop_of_volumes(
    tmp_path: Path, png: dict[str, Any], crop: str
) -> None:
    """So a quarter turn would stretch it the other way: it is not square."""
    (item,) = items(tmp_path, png | {"prompts": ["x"]})
    sample = ReferringImages([item], network=field(SIDE, crop=crop), progress=False)[0]
    assert not sample["square"]
    assert sample["label"].sum() == round((24 + 48) * SIDE**2 / 800)


@pytest.mark.parametrize("channels", [("red", "green", "blue"), ("blue",)])
def test_a_colour_image_has_the_channels_of_the_framing(
    tmp_path: Path, png: dict[str, Any], channels: tuple[str, ...]
) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (20, 40, 3), np.uint8)
    Image.fromarray(colours).save(tmp_path / "image.png")
    (item,) = items(tmp_path, png | {"prompts": ["x"]})
    network = field(40, channels=channels)
    image = ReferringImages([item], network=network, progress=False)[0]["image"]
    volume = LabelledReader()(item).image
    expected = network.framing.field(volume, [0], network.framing.frame(volume, 40))[0]
    assert image.shape == (len(channels), 40, 40)
    torch.testing.assert_close(image, expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize(("shape", "size"), SHAPES_AND_SIZES)
def test_image_and_masks_lie_alike_in_the_field(tmp_path: Path, shape: tuple[int, int], size: int) -> None:
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
    dataset = ReferringImages(listed, network=field(size), progress=False)
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
    """Their mask is empty, with a label map and without one."""
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
    read = LabelledReader()
    shapes = [(20, 40), (20, 40), (12, 16), (20, 40)]
    masks = [read(item).meant(item).mask() for item in listed]
    assert [mask.shape[1:] for mask in masks] == shapes
    assert [int(mask.sum()) for mask in masks] == [0, 0, 0, 24]
    dataset = ReferringImages(listed, network=field(SIDE), prompts_per_image=3, progress=False)
    asked: dict[str, set[tuple[str, ...]]] = {}
    for sample in (dataset[index] for index in range(40)):
        asked.setdefault(sample["case"], set()).add(tuple(sorted(sample["prompt"])))
        for words, mask in zip(sample["prompt"], sample["label"], strict=True):
            assert bool(mask.any()) == (words == "small")
    assert asked["s"] == {("a square lesion", "a square lesion", "small")}  # the other two of its image


def test_an_augmentation_is_kept_where_only_nothing_was_asked_for(
    tmp_path: Path, png: dict[str, Any]
) -> None:
    listed = items(tmp_path, png | {"lesion": [], "prompts": ["a square lesion"]})

    def darker(sample: dict[str, Any]) -> dict[str, Any]:
        return sample | {"image": sample["image"] * 0.5}

    plain, turned = (
        ReferringImages(listed, network=field(SIDE), transform=transform, progress=False)[0]["image"]
        for transform in (None, Compose([darker]))
    )
    np.testing.assert_allclose(turned, plain * 0.5)


def test_a_field_of_an_older_datalist_is_read_under_its_present_name(
    tmp_path: Path, png: dict[str, Any]
) -> None:
    with pytest.warns(FutureWarning, match="rotatable is now orientation_free"):
        (item,) = items(tmp_path, png | {"prompts": ["all cysts"], "rotatable": True})
    assert item.orientation_free

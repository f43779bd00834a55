"""What an item means in its label map, in voxels, and files that do not fit."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from common.data import EvaluationCases, ReferringImages
from common.data.datalist import Case
from common.data.labelled import LabelledReader, Region
from common.errors import InputError
from tests.common.data.fields import field
from tests.common.data.referring_files import LEFT_LESION, RIGHT_LESION, SLICE, items


def test_a_region_is_its_values_on_its_plane() -> None:
    labels = np.random.default_rng(0).choice([0, 1, 2, 300], size=(3, 4, 5)).astype(np.int32)
    for values, expected in (
        (None, labels > 0),
        ((), np.zeros(labels.shape, bool)),
        ((2,), labels == 2),
        ((1, 300), (labels == 1) | (labels == 300)),
    ):
        whole = Region(labels, values).mask()
        assert whole.dtype == bool
        np.testing.assert_array_equal(whole, expected)
        for plane in range(3):
            on_plane = Region(labels, values, plane).mask()
            np.testing.assert_array_equal(on_plane[plane], expected[plane])
            assert on_plane.shape == labels.shape
            assert on_plane.sum() == expected[plane].sum()


@pytest.mark.parametrize("axes", ["RAS", "LPS", "SLA", "PIR"])
def test_lesions_lie_on_the_items_slice_whatever_the_storage_order(
    tmp_path: Path, make_volume: Callable[[str], dict[str, Any]], axes: str
) -> None:
    """In RAS the left lesion has x of 2 to 4, y of 4 to 7 of 16 x 12: here columns run to the left."""
    volume = make_volume(axes)
    left, both = items(
        tmp_path,
        volume | {"lesion": LEFT_LESION, "prompts": ["left"]},
        volume | {"lesion": [LEFT_LESION, RIGHT_LESION], "prompts": ["both"]},
    )
    read = LabelledReader()(left)
    assert read.image.slices.shape == read.labels.shape == (3, 12, 16)  # all of it
    expected = np.zeros((3, 12, 16), bool)
    expected[SLICE, 4:8, 11:14] = True
    np.testing.assert_array_equal(read.meant(left).mask(), expected)
    assert (read.image.slices[expected] == 200).all()
    expected[SLICE, 4:8, 2:5] = True
    np.testing.assert_array_equal(read.meant(both).mask(), expected)


def test_an_image_without_a_label_map_has_zeros(tmp_path: Path, png: dict[str, Any]) -> None:
    bare = {key: value for key, value in png.items() if key != "label"}
    (item,) = items(tmp_path, bare | {"lesion": [], "prompts": ["a square lesion"]})
    read = LabelledReader()(item)
    np.testing.assert_array_equal(read.labels, np.zeros((1, 20, 40)))
    assert not read.meant(item).mask().any()


def test_the_last_image_is_read_once(
    tmp_path: Path, png: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other.png").write_bytes((tmp_path / "label.png").read_bytes())
    one, same, other = items(
        tmp_path,
        png | {"prompts": ["x"], "lesion": 3},
        png | {"prompts": ["y"], "lesion": 7},
        png | {"prompts": ["z"], "label": "other.png", "case": "z"},
    )
    read = LabelledReader()
    assert read(one) is read(same)
    assert read(other) is not read(one)  # another label map


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lesion": 5}, r'lesion 5 of the case "image-5" is not there \(lesions found: 3, 7\)'),
        ({"lesion": [7, 5, 3]}, r'lesion 5 of the case "image-3-5-7" is not there \(lesions found: 3, 7\)'),
        ({"label": "image.jpg"}, r"image\.jpg: found a JPEG of mode L as label map, expected a PNG"),
        ({"label": "colour.png"}, r"colour\.png: found a PNG of mode RGB as label map, expected a"),
        (
            {"label": "other.png"},
            r"labels have 5 x 5 pixels \(rows x columns\) and the image .* has 20 x 40",
        ),
        ({"label": "text.png"}, r"text\.png: cannot be read as an image \("),
    ],
)
def test_files_that_do_not_fit_are_refused_before_a_training_starts(
    tmp_path: Path, png: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    """In training and in evaluation alike, though a validation comes much later."""
    Image.open(tmp_path / "image.png").save(tmp_path / "image.jpg")
    Image.open(tmp_path / "image.png").convert("RGB").save(tmp_path / "colour.png")
    Image.fromarray(np.zeros((5, 5), np.uint8)).save(tmp_path / "other.png")
    (tmp_path / "text.png").write_text("no image")
    listed = items(tmp_path, png | {"prompts": ["x"]} | changes)
    with pytest.raises(InputError, match=message):
        ReferringImages(listed, network=field(32), progress=False)
    with pytest.raises(InputError, match=message):
        EvaluationCases(listed)


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
    listed = items(tmp_path, png | {"prompts": ["x"], "case": "c"} | changes)
    message = rf'the label map of the case "c" is empty{place}, expected what its sentences refer to; correct'
    with pytest.raises(InputError, match=message):
        ReferringImages(listed, network=field(32), progress=False)
    with pytest.raises(InputError, match=message):
        EvaluationCases(listed)


@pytest.mark.parametrize("lesion", [{}, {"lesion": LEFT_LESION}, {"lesion": []}])
def test_a_slice_that_is_not_there_is_refused(
    tmp_path: Path, make_volume: Any, lesion: dict[str, Any]
) -> None:
    (item,) = items(tmp_path, make_volume("RAS") | {"prompts": ["x"], "slice": 3} | lesion)
    with pytest.raises(
        InputError, match="asks for slice 3, but the volume has 3 slices, counted from 0, the most inferior"
    ):
        LabelledReader()(item).meant(item)


def test_volumes_of_different_grids_are_refused(tmp_path: Path, make_case: Callable[..., Case]) -> None:
    labels = np.ones((3, 4, 5), int)
    one, moved, less = (
        make_case(name, part, ["liver"], spacing_mm=spacing)
        for name, part, spacing in (
            ("a", labels, (2.0, 1.0, 1.0)),
            ("b", labels, (2.0, 1.0, 1.5)),
            ("c", labels[:2], (2.0, 1.0, 1.0)),
        )
    )
    for other, message in (
        (moved, "the labels' affine differs from that of the image .* lie up to 2 voxels"),
        (less, r"2 x 4 x 5 voxels .* has 3 x 4 x 5, expected the same grid; resample .*c\.nii\.gz to the"),
    ):
        with pytest.raises(InputError, match=message):
            LabelledReader()(Case("a", one.image, other.label, "a", ("liver",)))

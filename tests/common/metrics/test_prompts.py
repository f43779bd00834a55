"""Rows of prompts, on cases small enough to count by hand."""

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.data.evaluation_cases import EvaluationCase, Target
from common.data.images import read_image_2d
from common.data.itk_files import volume_from_array
from common.data.labelled import Region
from common.data.volumes import Volume
from common.metrics import measure_mask
from common.metrics.prompts import measure_prompts
from common.text.prompts import Prompt
from tests.common.made_up import segmentation

SPACING = (5.0, 2.0, 3.0)
LIVER, SPLEEN = Prompt("liver", "liver", 1), Prompt("spleen", "spleen", 2)
SENTENCE = Prompt("the left one", "the left one", 1)


def volume(shape: tuple[int, int, int]) -> Volume:
    deep, high, wide = SPACING
    affine = np.diag([-wide, -high, deep, 1.0])
    return volume_from_array(Path("ct.nii"), np.zeros(shape[::-1], np.float32), affine)


def box(shape: tuple[int, int, int], *where: slice | int) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[where] = True
    return mask


@pytest.fixture
def organs() -> tuple[EvaluationCase, list[np.ndarray]]:
    """A liver found one column too far to the left, and a spleen whose mask lies half on the liver's."""
    shape = (4, 6, 12)
    labels = np.zeros(shape, np.uint8)
    labels[1:3, 1:4, 2:6], labels[2, 1:4, 8:10] = 1, 2
    own = [box(shape, slice(1, 3), slice(1, 4), slice(1, 5)), box(shape, 2, slice(1, 4), slice(3, 7))]
    targets = tuple(
        Target("ct", "anna", prompt.name, Region(labels, (prompt.label,))) for prompt in (LIVER, SPLEEN)
    )
    return EvaluationCase("ct", volume(shape), None, (LIVER, SPLEEN), targets), own


def test_organs_are_measured_by_their_own_masks_in_mm(organs) -> None:
    case, own = organs
    rows = measure_prompts(case, segmentation(case.prompts, own, spacing_mm=SPACING))
    assert [list(row)[:4] for row in rows.volumes] == [
        ["case", "label", "patient", "label_map_lost_voxels"]
    ] * 2
    facts = [
        [row[key] for key in ("case", "label", "patient", "label_map_lost_voxels")] for row in rows.volumes
    ]
    assert facts == [
        ["ct", "liver", "anna", 0],
        ["ct", "spleen", "anna", 6],
    ]  # 3 rows x 2 columns on the liver
    for row, target, mask in zip(rows.volumes, case.targets, own, strict=True):
        expected = measure_mask(mask, target.region.mask(), spacing_mm=SPACING)
        assert {name: row[name] for name in expected} == pytest.approx(expected)
    liver, spleen = rows.volumes
    assert liver["dsc"] == pytest.approx(3 / 4)
    assert liver["surfel_hd_mm"] == pytest.approx(3.0)  # one column
    assert liver["volume_pred_ml"] == pytest.approx(24 * 30 / 1000)
    assert (spleen["voxels_pred_only"], spleen["voxels_ref_only"], spleen["dsc"]) == (12, 6, 0.0)
    assert "sentence" not in liver


def test_the_label_map_changes_no_row_but_what_it_lost(organs) -> None:
    case, own = organs
    first = measure_prompts(case, segmentation(case.prompts, own, spacing_mm=SPACING))
    labels = np.zeros(own[0].shape, np.uint8)  # as if a third prompt had taken everything
    second = measure_prompts(case, segmentation(case.prompts, own, labels=labels, spacing_mm=SPACING))
    assert [row.pop("label_map_lost_voxels") for row in second.volumes] == [24, 12]
    for one, other in zip(first.volumes, second.volumes, strict=True):
        assert {name: one[name] for name in other} == pytest.approx(other, nan_ok=True)


def test_rows_of_slices_have_the_slices_numbers_and_what_is_asked_for(organs) -> None:
    case, own = organs
    found = segmentation(case.prompts, own, spacing_mm=SPACING)
    rows = measure_prompts(case, found, boundaries=["voxel"], slice_boundaries=["surfel"], instances=True)
    slices = [(row["label"], row["slice"], row["patient"]) for row in rows.slices]
    assert slices == [("liver", 1, "anna"), ("liver", 2, "anna"), ("spleen", 2, "anna")]
    assert rows.slices[0]["surfel_hd_mm"] == pytest.approx(3.0)
    assert "voxel_hd_mm" in rows.volumes[0]
    assert "surfel_hd_mm" not in rows.volumes[0]
    assert (rows.volumes[0]["parts_pred"], rows.volumes[0]["parts_ref"]) == (1, 1)


def test_a_sentence_about_a_slice_is_measured_in_its_plane() -> None:
    """Slices are 5 mm apart, and the lesion goes on above and below: nothing of that counts."""
    shape = (5, 8, 8)
    labels = np.zeros(shape, np.uint8)
    labels[:, 2:5, 2:4], labels[:, 2:5, 6:8] = 1, 2
    target = Target(
        *("ct-3", "anna", "lesion", Region(labels, (1,), 3), SENTENCE.text), (Region(labels, (2,), 3),)
    )
    case = EvaluationCase("ct-3", volume(shape), 3, (SENTENCE,), (target,))
    own = box(shape, 3, slice(2, 5), slice(2, 5))
    rows = measure_prompts(case, segmentation([SENTENCE], [own], spacing_mm=SPACING, slice_index=3))
    (row,), (of_slice,) = rows
    assert (row["voxels_both"], row["voxels_pred_only"], row["voxels_ref_only"]) == (6, 3, 0)
    assert row["surfel_hd_mm"] == pytest.approx(3.0)
    assert row["area_ref_mm2"] == pytest.approx(6 * 2.0 * 3.0)
    assert "volume_ref_ml" not in row
    assert (row["sentence"], row["patient"], row["right_lesion"]) == (SENTENCE.text, "anna", 1.0)
    assert [row[f"pr@{share}"] for share in (0.5, 0.7, 0.9)] == [1.0, 0.0, 0.0]  # an IoU of 6 / 9
    assert (of_slice["slice"], of_slice["sentence"]) == (3, SENTENCE.text)  # its number in the file


def test_a_sentence_whose_mask_lies_on_another_lesion() -> None:
    shape = (2, 8, 8)
    labels = np.zeros(shape, np.uint8)
    labels[1, 2:5, 2:4], labels[1, 2:5, 6:8] = 1, 2
    target = Target(
        "ct", "anna", "lesion", Region(labels, (1,), 1), SENTENCE.text, (Region(labels, (2,), 1),)
    )
    case = EvaluationCase("ct", volume(shape), 1, (SENTENCE,), (target,))
    (row,), _ = measure_prompts(case, segmentation([SENTENCE], [labels == 2], slice_index=1))
    assert (row["right_lesion"], row["dsc"], row["pr@0.5"], row["hit"]) == (0.0, 0.0, 0.0, 0.0)


def test_a_2d_image_is_measured_in_pixels(tmp_path) -> None:
    Image.fromarray(np.zeros((6, 9), np.uint8)).save(tmp_path / "photo.png")
    labels = np.zeros((1, 6, 9), np.uint8)
    labels[0, 1:4, 1:5] = 7
    target = Target("photo", "p", "lesion", Region(labels, None, 0), SENTENCE.text)
    case = EvaluationCase("photo", read_image_2d(tmp_path / "photo.png"), None, (SENTENCE,), (target,))
    own = box(labels.shape, 0, slice(1, 4), slice(3, 7))
    found = segmentation([SENTENCE], [own])
    (row,), (of_slice,) = measure_prompts(case, found, slice_boundaries=["surfel"])
    assert row["surfel_hd_px"] == pytest.approx(2.0)
    assert (row["area_pred_px2"], row["area_ref_px2"], row["area_difference_px2"]) == (12.0, 12.0, 0.0)
    assert 0 < row["surfel_nsd_1px"] < row["surfel_nsd_2px"] == 1.0
    assert of_slice["surfel_hd_px"] == row["surfel_hd_px"]
    assert not [name for name in (*row, *of_slice) if "mm" in name]
    assert row["iou"] == pytest.approx(6 / 18)
    assert math.isnan(float(row["right_lesion"]))  # no other lesion is named
    assert of_slice["slice"] == 0


@pytest.mark.parametrize(("voxels", "status"), [(0, "absent"), (2, "false_positive")])
def test_of_an_absent_target_nothing_is_right(voxels, status) -> None:
    """What is found is a false positive; nothing found has no Dice, which is no mean's to count."""
    shape = (3, 6, 6)
    labels = np.ones(shape, np.uint8)
    target = Target("ct", "anna", "spleen", Region(labels, ()))
    case = EvaluationCase("ct", volume(shape), None, (SPLEEN,), (target,))
    own = box(shape, 2, 3, slice(0, voxels))
    rows = measure_prompts(case, segmentation([SPLEEN], [own], spacing_mm=SPACING))
    (row,) = rows.volumes
    assert (row["status"], row["voxels_pred_only"], row["voxels_ref_only"]) == (status, voxels, 0)
    assert row["volume_pred_ml"] == pytest.approx(voxels * 30 / 1000)
    assert [one["slice"] for one in rows.slices] == ([2] if voxels else [])
    if voxels:
        assert (row["dsc"], row["surfel_hd_mm"]) == (0.0, math.inf)
    else:
        assert math.isnan(row["dsc"])


def test_a_sentence_that_means_nothing_has_no_share() -> None:
    shape = (2, 6, 6)
    target = Target("ct", "anna", "lesion", Region(np.ones(shape, np.uint8), (), 1), SENTENCE.text)
    case = EvaluationCase("ct", volume(shape), 1, (SENTENCE,), (target,))
    (row,), _ = measure_prompts(case, segmentation([SENTENCE], [box(shape, 1, 2, 2)], slice_index=1))
    assert row["status"] == "false_positive"
    assert math.isnan(row["pr@0.5"])
    assert math.isnan(row["right_lesion"])

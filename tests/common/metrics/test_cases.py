"""Rows of a case: slices in their own plane, masks of one prompt, volumes and hits."""

import math

import numpy as np
import pytest

from common.errors import InputError
from common.metrics import measure_case, measure_labels, measure_mask, measure_prompt
from common.metrics.segmentation import Row

SPACING = (5.0, 1.5, 0.5)
BOTH = ("surfel", "voxel")
OPTIONS = {"spacing_mm": SPACING, "boundaries": BOTH, "slice_boundaries": BOTH, "instances": True}


def boxes() -> tuple[np.ndarray, np.ndarray]:
    """(6, 20, 24): slice 1 missed, 2 right, 3 moved by two rows (3 mm), 4 false."""
    pred, ref = np.zeros((2, 6, 20, 24), bool)
    ref[1:4, 4:10, 6:12] = True
    pred[2:5, 4:10, 6:12] = True
    pred[3] = np.roll(pred[3], 2, axis=0)
    return pred, ref


def random_masks(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    pred, ref = np.zeros((2, 7, 16, 18), bool)
    pred[2:5, 3:12, 5:14], ref[1:4, 4:13, 4:13] = rng.random((2, 3, 9, 9)) < 0.6
    return pred, ref


def of_slices(rows: list[Row]) -> dict[int, Row]:
    return {int(row["slice"]): row for row in rows}


def test_distances_of_a_slice_are_in_its_own_plane() -> None:
    pred, ref = boxes()
    rows = of_slices(measure_prompt("a", "liver", pred, ref, **OPTIONS, tolerances_mm=(2.0, 3.0)).slices)
    assert {index: row["status"] for index, row in rows.items()} == {
        1: "missed",
        2: "found",
        3: "found",
        4: "false_positive",
    }
    for boundary in BOTH:
        missed, right, moved, false = (
            {name: rows[index][f"{boundary}_{name}"] for name in ("hd95_mm", "assd_mm", "nsd_2mm")}
            for index in (1, 2, 3, 4)
        )
        assert missed == false == {"hd95_mm": math.inf, "assd_mm": math.inf, "nsd_2mm": 0.0}
        assert right == {"hd95_mm": 0.0, "assd_mm": 0.0, "nsd_2mm": 1.0}
        assert moved["hd95_mm"] == pytest.approx(3.0)  # no neighbouring slice, where ref would be nearer
        assert 0 < moved["assd_mm"] < 3
        assert rows[3][f"{boundary}_nsd_3mm"] == 1.0
        assert moved["nsd_2mm"] < 1


@pytest.mark.parametrize("seed", range(5))
def test_a_slice_has_the_values_of_its_image(seed: int) -> None:
    pred, ref = random_masks(seed)
    rows = of_slices(measure_prompt("a", "liver", pred, ref, **OPTIONS).slices)
    assert set(rows) == set(np.flatnonzero((pred | ref).any(axis=(1, 2))).tolist())
    for index, row in rows.items():
        image = measure_mask(pred[index], ref[index], spacing_mm=SPACING[1:], boundaries=BOTH)
        expected = {name: value for name, value in image.items() if not name.startswith("area_")}
        assert {name: row[name] for name in row if name not in ("case", "label", "slice")} == expected


def test_slices_have_distances_only_when_asked() -> None:
    rows = measure_prompt("a", "liver", *boxes(), spacing_mm=SPACING)
    names = ["case", "label", "slice", "status", "voxels_both", "voxels_pred_only", "voxels_ref_only"]
    assert list(rows.slices[0]) == [*names, "dsc", "iou", "precision", "recall", "hit"]
    assert "surfel_hd95_mm" in rows.volumes[0]


@pytest.mark.parametrize("seed", range(3))
def test_a_prompts_mask_has_the_rows_of_a_label_map(seed: int) -> None:
    pred, ref = random_masks(seed)
    labels = {4: "liver"}
    expected = measure_case("a", pred * np.uint8(4), ref * np.uint8(4), labels, **OPTIONS)
    assert measure_prompt("a", "liver", pred, ref, **OPTIONS) == expected


@pytest.mark.parametrize("seed", range(3))
def test_margins_around_the_masks_change_nothing(seed: int) -> None:
    """Cropped to the masks' common box by hand, in a wide margin, and in every order of memory."""
    pred, ref = random_masks(seed)
    expected = measure_prompt("a", "liver", pred, ref, **OPTIONS)
    both = pred | ref
    box = tuple(
        slice(at[0], at[-1] + 1)
        for at in (np.flatnonzero(both.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1)))
    )
    cropped = measure_prompt("a", "liver", pred[box].copy(), ref[box].copy(), **OPTIONS)
    wide = measure_prompt("a", "liver", np.pad(pred, 9), np.pad(ref, 9), **OPTIONS)
    for found, offset in ((cropped, -box[0].start), (wide, 9)):
        assert found.volumes == expected.volumes
        moved = [row | {"slice": int(row["slice"]) - offset} for row in found.slices]
        assert moved == expected.slices
    orders = (
        np.asfortranarray,
        lambda mask: mask[::-1].copy()[::-1],
        lambda mask: np.repeat(mask, 2, 2)[..., ::2],
    )
    for order in orders:
        assert measure_prompt("a", "liver", order(pred), order(ref), **OPTIONS) == expected
        assert measure_prompt("a", "liver", order(pred), ref, **OPTIONS) == expected


@pytest.mark.parametrize("order", ["C", "F"])
def test_empty_masks_have_a_row_and_no_slices(order: str) -> None:
    empty = np.zeros((4, 5, 6), bool, order=order)
    rows = measure_prompt("a", "liver", empty, empty, **OPTIONS)
    assert rows.slices == []
    (row,) = rows.volumes
    assert (row["status"], row["volume_pred_ml"], row["parts_ref"]) == ("absent", 0.0, 0)
    assert math.isnan(float(row["hit"]))


def test_volumes_are_in_millilitres_and_areas_in_square_millimetres() -> None:
    pred, ref = boxes()
    pred[0, 0, :3] = True
    row = measure_mask(pred, ref, spacing_mm=SPACING, boundaries=[])
    voxel_ml = 5.0 * 1.5 * 0.5 / 1000
    assert row["volume_pred_ml"] == pytest.approx((3 * 36 + 3) * voxel_ml)
    assert row["volume_ref_ml"] == pytest.approx(3 * 36 * voxel_ml)
    assert row["volume_difference_ml"] == pytest.approx(3 * voxel_ml)
    row = measure_mask(pred[4], ref[4], spacing_mm=SPACING[1:], boundaries=[])
    assert (row["area_pred_mm2"], row["area_ref_mm2"]) == (36 * 0.75, 0.0)
    assert row["area_difference_mm2"] == 36 * 0.75


@pytest.mark.parametrize(
    ("size", "hit"), [(9, 1.0), (10, 0.0), (0, 0.0)], ids=["dice 0.1", "dice 2/21", "missed"]
)
def test_a_mask_hits_from_a_dice_of_one_tenth(size: int, hit: float) -> None:
    ref, pred = np.zeros((2, 3, 30), np.uint8)
    ref[1, 0:11], pred[1, 10 : 10 + size] = 1, 1
    assert measure_labels(pred, ref, [1], spacing_mm=(1, 1), boundaries=[])[1]["hit"] == hit


def test_an_image_is_a_case_of_one_slice() -> None:
    pred, ref = (mask[3] for mask in boxes())
    rows = measure_prompt("a", "lesion", pred, ref, spacing_mm=SPACING[1:], slice_boundaries=("surfel",))
    (volume,), (plane,) = rows
    assert (plane["slice"], plane["surfel_hd95_mm"]) == (0, volume["surfel_hd95_mm"])


def test_bad_masks_and_boundaries_are_told() -> None:
    pred, ref = boxes()
    with pytest.raises(InputError, match="pred: found values 0 to 2, expected a mask of 0 and 1"):
        measure_prompt("a", "liver", pred * np.uint8(2), ref, spacing_mm=SPACING)
    with pytest.raises(InputError, match="boundaries: found 'voxel', expected a list of surfel, voxel"):
        measure_prompt("a", "liver", pred, ref, spacing_mm=SPACING, slice_boundaries="voxel")  # type: ignore[arg-type]

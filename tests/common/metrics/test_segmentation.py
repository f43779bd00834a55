"""Properties that hold for any masks, agreement with peer libraries, and what bad input is told."""

import itertools
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from scipy.spatial.distance import cdist

from common.errors import InputError
from common.metrics import distances, slice_counts
from common.metrics.elements import surfel_areas
from common.metrics.segmentation import measure_labels, measure_mask

BOTH = ("surfel", "voxel")


def pair(seed: int, axes: int) -> tuple[np.ndarray, np.ndarray, tuple[float, ...]]:
    """Two random masks with holes, islands and border contact, and a random spacing."""
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(3, 10, axes))
    masks = [rng.random(shape) < rng.uniform(0.1, 0.8) for _ in range(2)]
    for mask in masks:
        mask[tuple(rng.integers(0, shape))] = True
    return masks[0], masks[1], tuple(rng.uniform(0.3, 4.0, axes).tolist())


def measure(pred: np.ndarray, ref: np.ndarray, spacing: tuple[float, ...], **options: object) -> dict:
    row = measure_mask(pred, ref, spacing_mm=spacing, boundaries=BOTH, **options)
    assert row.pop("status") == "found"
    return row


random_pairs = st.tuples(st.integers(0, 2**32), st.sampled_from([2, 3]))


@settings(max_examples=30, deadline=None)
@given(random_pairs)
def test_symmetry_scaling_permutation_flips_and_margins(seed_axes: tuple[int, int]) -> None:
    pred, ref, spacing = pair(*seed_axes)
    row = measure(pred, ref, spacing)

    swapped = measure(ref, pred, spacing)
    for boundary in BOTH:
        for name in ("hd_mm", "hd95_mm", "hd95_pooled_mm", "assd_mm", "masd_mm", "nsd_2mm"):
            assert swapped[f"{boundary}_{name}"] == pytest.approx(row[f"{boundary}_{name}"], rel=1e-12)
        assert swapped[f"{boundary}_asd_pred_to_ref_mm"] == pytest.approx(
            row[f"{boundary}_asd_ref_to_pred_mm"]
        )
    assert swapped["precision"] == row["recall"]

    doubled = measure(pred, ref, tuple(2 * size for size in spacing), tolerances_mm=(2, 4, 6))
    for name, value in row.items():
        if name.endswith("_mm"):
            assert doubled[name] == pytest.approx(2 * value, rel=1e-12), name
        elif "_nsd_" in name:
            tolerance = float(name.rsplit("_", 1)[1][:-2])
            assert doubled[name.replace(f"nsd_{tolerance:g}mm", f"nsd_{2 * tolerance:g}mm")] == pytest.approx(
                value
            )

    for axes in itertools.permutations(range(pred.ndim)):
        turned = measure(pred.transpose(axes), ref.transpose(axes), tuple(spacing[a] for a in axes))
        assert turned == pytest.approx(row, rel=1e-9)
    assert measure(np.flip(pred), np.flip(ref), spacing) == pytest.approx(row, rel=1e-9)
    assert measure(np.pad(pred, 3), np.pad(ref, 3), spacing) == pytest.approx(row, rel=1e-9)


@settings(max_examples=30, deadline=None)
@given(random_pairs)
def test_voxel_distances_are_those_of_all_pairs_of_border_voxels(seed_axes: tuple[int, int]) -> None:
    pred, ref, spacing = pair(*seed_axes)
    points = []
    for mask in (pred, ref):
        padded = np.pad(mask, 1)
        border = [p for p in np.argwhere(padded) if any(not padded[tuple(p + s)] for s in _faces(mask.ndim))]
        points.append(np.array(border) * spacing)
    table = cdist(*points)
    forth, back = table.min(axis=1), table.min(axis=0)
    row = measure(pred, ref, spacing)
    assert row["voxel_hd_mm"] == pytest.approx(max(forth.max(), back.max()), abs=1e-9)
    assert row["voxel_hd95_mm"] == pytest.approx(
        max(np.percentile(forth, 95), np.percentile(back, 95)), abs=1e-9
    )
    assert row["voxel_asd_pred_to_ref_mm"] == pytest.approx(forth.mean(), abs=1e-9)
    assert row["voxel_assd_mm"] == pytest.approx(np.concatenate((forth, back)).mean(), abs=1e-9)


def _faces(axes: int) -> np.ndarray:
    return np.concatenate((np.eye(axes, dtype=int), -np.eye(axes, dtype=int)))


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize("seed", range(5))
def test_both_routes_to_the_nearest_element_agree(
    axes: int, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pred, ref, spacing = pair(seed, axes)
    pred, ref = np.pad(pred, 9), np.pad(ref, ((0, 18),) + ((9, 9),) * (axes - 1))  # far apart along one axis
    monkeypatch.setattr(distances, "COLUMN_STEPS", 10**5)
    by_columns = measure(pred, ref, spacing)
    monkeypatch.setattr(distances, "COLUMN_STEPS", 1)
    assert measure(pred, ref, spacing) == pytest.approx(by_columns, rel=1e-12)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.8, 0.8, 2.5), (0.3, 1.7, 4.1)])
def test_areas_are_those_of_the_surface_distance_package(spacing: tuple[float, float, float]) -> None:
    tables = pytest.importorskip("surface_distance.lookup_tables")
    theirs = tables.create_table_neighbour_code_to_surface_area(spacing)
    reverse = [int(f"{code:08b}"[::-1], 2) for code in range(256)]  # their first voxel is the highest bit
    np.testing.assert_allclose(surfel_areas(spacing)[reverse], theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize("seed", range(4))
def test_surfel_metrics_are_those_of_the_surface_distance_package(axes: int, seed: int) -> None:
    peer = pytest.importorskip("surface_distance.metrics")
    pred, ref, spacing = pair(seed, axes)
    theirs = peer.compute_surface_distances(ref, pred, spacing)
    row = measure(pred, ref, spacing)
    ref_to_pred, pred_to_ref = peer.compute_average_surface_distance(theirs)
    assert row["surfel_asd_ref_to_pred_mm"] == pytest.approx(ref_to_pred, abs=1e-9)
    assert row["surfel_asd_pred_to_ref_mm"] == pytest.approx(pred_to_ref, abs=1e-9)
    assert row["surfel_hd95_mm"] == pytest.approx(peer.compute_robust_hausdorff(theirs, 95), abs=1e-9)
    assert row["surfel_nsd_2mm"] == pytest.approx(peer.compute_surface_dice_at_tolerance(theirs, 2), abs=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_voxel_metrics_are_those_of_monai_and_medpy(seed: int) -> None:
    from medpy.metric import binary
    from monai.metrics import (
        compute_average_surface_distance,
        compute_hausdorff_distance,
        compute_surface_dice,
    )

    pred, ref, spacing = pair(seed, 3)
    row = measure(pred, ref, spacing)
    two = [torch.from_numpy(mask)[None, None].float() for mask in (pred, ref)]
    hd95 = compute_hausdorff_distance(*two, include_background=True, percentile=95, spacing=spacing)
    asd = compute_average_surface_distance(*two, include_background=True, symmetric=True, spacing=spacing)
    nsd = compute_surface_dice(*two, class_thresholds=[2.0], include_background=True, spacing=spacing)
    assert row["voxel_hd95_mm"] == pytest.approx(hd95.item(), rel=1e-5)
    assert row["voxel_assd_mm"] == pytest.approx(asd.item(), rel=1e-5)
    assert row["voxel_nsd_2mm"] == pytest.approx(nsd.item(), rel=1e-5)
    assert row["voxel_hd95_pooled_mm"] == pytest.approx(binary.hd95(pred, ref, spacing), abs=1e-9)
    assert row["voxel_assd_mm"] == pytest.approx(binary.assd(pred, ref, spacing), abs=1e-9)


def label_maps() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    pred, ref = rng.integers(0, 4, (2, 5, 12, 14)).astype(np.int16)
    pred[pred == 3] = 0  # label 3 is missed
    pred[0, 0, 0] = 9  # no label of ours
    return pred, ref


def test_a_label_of_a_map_has_the_values_of_its_mask() -> None:
    pred, ref = label_maps()
    spacing = (3.0, 0.7, 0.9)
    rows = measure_labels(pred, ref, [2, 1, 3, 4], spacing_mm=spacing, boundaries=BOTH)
    assert [(label, row["status"]) for label, row in rows.items()] == [
        (2, "found"),
        (1, "found"),
        (3, "missed"),
        (4, "absent"),
    ]
    for label in (1, 2):
        assert rows[label] == measure_mask(pred == label, ref == label, spacing_mm=spacing, boundaries=BOTH)


def test_labels_of_any_number_and_order_are_found() -> None:
    pred, ref = (labels.astype(np.int32) for labels in label_maps())
    pred[pred == 2], ref[ref == 2] = 60000, 60000
    pred[0, 0, 1] = -5
    rows = measure_labels(pred, ref, [60000, 1], spacing_mm=(3.0, 0.7, 0.9))
    for label, row in rows.items():
        assert row["status"] == "found"
        assert row == measure_mask(pred == label, ref == label, spacing_mm=(3.0, 0.7, 0.9))
    assert measure_labels(pred, ref, [], spacing_mm=(3.0, 0.7, 0.9)) == {}


def test_measuring_arrays_does_not_wait_for_torch() -> None:
    code = "import sys, common.metrics; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_counts_of_slices_are_those_of_numpy() -> None:
    pred, ref = label_maps()
    counts = slice_counts(pred, ref, [1, 3])
    for label, index in itertools.product((1, 3), range(5)):
        a, b = pred[index] == label, ref[index] == label
        found = counts[label][index]
        assert (found.both, found.pred_only, found.ref_only) == (
            (a & b).sum(),
            (a & ~b).sum(),
            (b & ~a).sum(),
        )


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.uint16, np.int64, np.float32])
@pytest.mark.parametrize("order", ["C", "F"])
def test_every_dtype_and_memory_order_gives_the_same(dtype: type, order: str) -> None:
    pred, ref, spacing = pair(0, 3)
    expected = measure(pred, ref, spacing)
    found = measure(pred.astype(dtype, order=order), ref.astype(dtype, order=order), spacing)
    assert found == pytest.approx(expected, rel=1e-12)
    assert measure(pred.astype(dtype, order=order), ref, spacing) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_tensors_give_what_arrays_give(device: str) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("NOT TESTED: tensors on a GPU, since this machine has none that torch can use")
    pred, ref, spacing = pair(1, 3)
    tensors = [torch.from_numpy(mask).to(device) for mask in (pred, ref)]
    assert measure(*tensors, spacing) == measure(pred, ref, spacing)


def test_a_meta_tensor_brings_its_spacing() -> None:
    pred, ref, spacing = pair(2, 3)
    turn = np.array([[0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], float)
    affine = torch.from_numpy(turn @ np.diag([*spacing, 1]))
    tensors = [MetaTensor(torch.from_numpy(mask), affine=affine) for mask in (pred, ref)]
    found, expected = measure_mask(*tensors), measure_mask(pred, ref, spacing_mm=spacing)
    assert found.pop("status") == expected.pop("status")
    assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            {"pred": np.zeros((4, 4, 5), bool)},
            r"pred: found shape \(4, 4, 5\), expected that of ref, \(4, 4, 4\)",
        ),
        ({"pred": np.full((4, 4, 4), 0.5)}, "pred: found float64 values, expected labels"),
        ({"ref": np.full((4, 4, 4), 2)}, "ref: found values 2 to 2, expected a mask of 0 and 1"),
        ({"spacing_mm": None}, "spacing_mm: missing, expected the voxel size in mm of each axis"),
        ({"spacing_mm": (1, 1)}, r"spacing_mm: found \(1.0, 1.0\), expected 3 sizes in mm above 0"),
        ({"spacing_mm": (1, 1, 0)}, r"spacing_mm: found \(1.0, 1.0, 0.0\), expected 3 sizes in mm above 0"),
        ({"boundaries": "voxel"}, "boundaries: found 'voxel', expected a list of surfel, voxel"),
        ({"boundaries": ["mesh"]}, "boundaries: found .'mesh'., expected a list of surfel, voxel"),
        ({"tolerances_mm": (0,)}, "tolerances_mm: found .*, expected numbers in mm above 0"),
    ],
)
def test_bad_input_is_told_what_to_do(change: dict, text: str) -> None:
    mask = np.zeros((4, 4, 4), bool)
    arguments = {"pred": mask, "ref": mask, "spacing_mm": (1, 1, 1)} | change
    with pytest.raises(InputError, match=text):
        measure_mask(arguments.pop("pred"), arguments.pop("ref"), **arguments)


def test_masks_with_a_batch_axis_are_refused() -> None:
    mask = np.zeros((1, 4, 4, 4), bool)
    with pytest.raises(InputError, match="without batch and channel axes"):
        measure_mask(mask, mask, spacing_mm=(1, 1, 1, 1))
    with pytest.raises(InputError, match=r"labels: found \[0\], expected different whole numbers from 1"):
        measure_labels(mask[0], mask[0], [0], spacing_mm=(1, 1, 1))

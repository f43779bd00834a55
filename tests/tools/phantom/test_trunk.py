"""Whole trunks: what lies above what, and where no organ of the abdomen is."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from common.text.vocabulary import Vocabulary
from tools.phantom.__main__ import main
from tools.phantom.dataset import SIZES
from tools.phantom.grid import VoxelGrid
from tools.phantom.render import render
from tools.phantom.trunk import (
    BLADDER,
    HIGHEST_MM,
    LOWEST_MM,
    SHORTEST_SCAN_MM,
    TRUNK_LABELS,
    beyond,
    draw_trunk,
    draw_trunk_grid,
)

STEP_MM = 6.0


@pytest.fixture(scope="module", params=[0, 1])
def whole(request: pytest.FixtureRequest) -> tuple[np.ndarray, np.ndarray]:
    """HU and labels (X, Y, Z) of a patient from the hips to the head."""
    rng = np.random.default_rng(request.param)
    scene = draw_trunk(rng)
    x, y, z = scene.patient.origin
    count = int((HIGHEST_MM - LOWEST_MM) / STEP_MM)
    middle = z + 0.5 * (HIGHEST_MM + LOWEST_MM) * scene.patient.scale[2]
    grid = VoxelGrid.around((x, y, middle), (96, 96, count), (2 * scene.half_width_mm / 96,) * 2 + (STEP_MM,))
    return render(scene, grid, rng)


def heights(labels: np.ndarray, organ: str) -> np.ndarray:
    """Slices that hold an organ, from the feet to the head."""
    return np.flatnonzero((labels == TRUNK_LABELS[organ]).any(axis=(0, 1)))


def test_organs_lie_above_each_other(whole: tuple[np.ndarray, np.ndarray]) -> None:
    _, labels = whole
    middle = {organ: heights(labels, organ).mean() for organ in TRUNK_LABELS}
    assert middle[BLADDER] < middle["left kidney"] < middle["liver"] < middle["lungs"]
    assert middle["right kidney"] < middle["left kidney"]
    assert heights(labels, BLADDER).max() + 50 / STEP_MM < heights(labels, "right kidney").min()


def test_chest_pelvis_neck_and_head_hold_no_organ_of_the_abdomen(
    whole: tuple[np.ndarray, np.ndarray],
) -> None:
    _, labels = whole
    abdomen = [organ for organ in TRUNK_LABELS if organ not in (BLADDER, "aorta", "vertebrae", "lungs")]
    lung_top, bladder_top = heights(labels, "lungs").max(), heights(labels, BLADDER).max()
    for organ in abdomen:
        found = heights(labels, organ)
        assert found.max() < lung_top - 120 / STEP_MM, organ  # half of the chest is above all of them
        assert found.min() > bladder_top, organ
    above = labels[:, :, lung_top + 1 :]
    assert set(np.unique(above)) == {0, TRUNK_LABELS["vertebrae"]}
    assert not labels[:, :, -int(60 / STEP_MM) :].any()  # of the skull


def test_it_looks_like_ct(whole: tuple[np.ndarray, np.ndarray]) -> None:
    """Air in the lungs, bone in the skull and the hips, water in the bladder; organs are in the body."""
    hu, labels = whole
    assert np.median(hu[labels == TRUNK_LABELS["lungs"]]) == pytest.approx(-830, abs=50)
    assert np.median(hu[labels == TRUNK_LABELS[BLADDER]]) == pytest.approx(7, abs=15)
    for height in (-int(70 / STEP_MM), int(120 / STEP_MM)):
        assert (hu[:, :, height] > 300).sum() > 20
    assert (hu[(labels > 0) & (labels != TRUNK_LABELS["lungs"])] > -300).mean() > 0.99


def test_a_scan_shows_a_random_stretch() -> None:
    spans = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        scene = draw_trunk(rng)
        grid = draw_trunk_grid(rng, scene, SIZES["small"])
        z = grid.axes_mm[2]
        bottom, top = ((end - scene.patient.origin[2]) / scene.patient.scale[2] for end in (z[0], z[-1]))
        spans.append((bottom, top))
        assert LOWEST_MM - 5 < bottom < top < HIGHEST_MM + 5
        assert top - bottom > SHORTEST_SCAN_MM - 10
    bottoms, tops = zip(*spans, strict=True)
    assert np.ptp(bottoms) > 250
    assert np.ptp(tops) > 250


def test_only_what_a_scan_does_not_reach_is_absent() -> None:
    rng = np.random.default_rng(0)
    scene = draw_trunk(rng)
    x, y, z = scene.patient.origin

    def absent(low: float, high: float) -> set[str]:
        scale = scene.patient.scale[2]
        count = round((high - low) * scale / 5)
        center = (x, y, z + 0.5 * (low + high) * scale)
        return set(beyond(scene, VoxelGrid.around(center, (8, 8, count), (40.0, 40.0, 5.0))))

    head = {"brainstem", "hippocampus", "mandible", "larynx", "left parotid gland", "right parotid gland"}
    assert absent(LOWEST_MM, HIGHEST_MM) == set()
    assert absent(LOWEST_MM, 20) == head | {"heart", "left atrium"}
    assert absent(-60, 260) == head | {"prostate"}
    assert absent(250, HIGHEST_MM) == {"heart", "left atrium", "prostate"}


def test_each_part_looks_as_it_does(whole: tuple[np.ndarray, np.ndarray]) -> None:
    """Shares of bone, gas and soft tissue among the voxels of the patient, by height in template mm."""
    hu, _ = whole
    shares = {}
    for name, height in {"hips": -285, "neck": 335, "eyes": 425, "vault": 490}.items():
        at = round((height - LOWEST_MM) / STEP_MM)
        patient, count = ndimage.label(hu[..., at] > -350)
        sizes = ndimage.sum_labels(patient > 0, patient, range(1, count + 1))
        inside = hu[..., at][ndimage.binary_fill_holes(patient == 1 + sizes.argmax())]
        shares[name] = [
            (inside > 250).mean(),
            (inside < -500).mean(),
            ((inside > -20) & (inside < 90)).mean(),
        ]
    bone, gas, soft = (
        dict(zip(shares, column, strict=True)) for column in zip(*shares.values(), strict=True)
    )
    assert 0.05 < bone["hips"] < 0.3
    assert bone["neck"] < 0.1 < bone["eyes"]
    assert 0.15 < bone["vault"] < 0.5
    assert 0.003 < gas["neck"] < 0.1  # the windpipe
    assert gas["vault"] == 0
    assert soft["hips"] > 0.4
    assert soft["vault"] > 0.3  # brain


def test_the_aorta_has_an_arch_and_ends_at_the_fourth_lumbar_vertebra(
    whole: tuple[np.ndarray, np.ndarray],
) -> None:
    _, labels = whole
    aorta = labels == TRUNK_LABELS["aorta"]
    mm = LOWEST_MM + STEP_MM * heights(labels, "aorta")
    assert mm.min() == pytest.approx(-106, abs=20)
    assert mm.max() == pytest.approx(212, abs=20)
    pieces = [ndimage.label(aorta[..., round((at - LOWEST_MM) / STEP_MM)])[1] for at in (175.0, 0.0)]
    assert pieces == [2, 1]  # ascending and descending; below the diaphragm one


def test_the_command_writes_them_with_the_bladder(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        assert main(["--trunk", "--cases", "2", "--seed", "3", "--out", str(tmp_path / folder)]) == 0
    datalist = json.loads((tmp_path / "a" / "datalist.json").read_text("utf-8"))
    assert datalist["labels"]["11"] == "urinary bladder"
    assert len(datalist["labels"]) == 11
    for item in datalist["training"]:
        assert item["targets"] == list(TRUNK_LABELS)
        assert not set(item["absent"]) & set(TRUNK_LABELS)
        assert all(Vocabulary.load().organ(name).name == name for name in item["absent"])
        image, label = (nib.load(tmp_path / "a" / item[key]) for key in ("image", "label"))
        assert image.shape == label.shape
        np.testing.assert_array_equal(image.affine, label.affine)
        assert (tmp_path / "a" / item["image"]).read_bytes() == (tmp_path / "b" / item["image"]).read_bytes()

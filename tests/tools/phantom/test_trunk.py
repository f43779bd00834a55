"""Anatomy of whole trunks in world coordinates (RAS), and how their scans are cut."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from scipy import ndimage

from common.data.datalist import load_datalist
from tools.phantom.dataset import SIZES, Size, Split, write_set
from tools.phantom.grid import VoxelGrid
from tools.phantom.render import render
from tools.phantom.scene import LABELS
from tools.phantom.trunk import (
    HIGHEST_MM,
    LOWEST_MM,
    SHORTEST_SCAN_MM,
    TRUNK_LABELS,
    TRUNKS,
    draw_trunk,
    draw_trunk_grid,
)

SPACING = (4.0, 4.0, 6.0)
TINY = Size((40,), (12.0, 12.0))
ABDOMINAL = ("liver", "spleen", "pancreas", "stomach", "gallbladder", "left kidney", "right kidney")


@pytest.fixture(scope="module", params=range(3))
def whole(request):
    """A patient from the hips to the crown: image, label map, z in mm of the template for each slice."""
    rng = np.random.default_rng(request.param)
    scene = draw_trunk(rng)
    origin, scale = scene.patient.origin, scene.patient.scale[2]
    count = int((HIGHEST_MM - LOWEST_MM) * scale / SPACING[2])
    center = (origin[0], origin[1], origin[2] + 0.5 * (LOWEST_MM + HIGHEST_MM) * scale)
    side = int(2 * scene.half_width_mm / SPACING[0])
    grid = VoxelGrid.around(center, (side, side, count), SPACING)
    image, labels = render(scene, grid, rng)
    return image, labels, (grid.axes_mm[2] - origin[2]) / scale


def heights(labels, z, name):
    return z[(labels == TRUNK_LABELS[name]).any(axis=(0, 1))]


def body(image):
    """The patient without the couch, holes closed in each slice."""
    dense, _ = ndimage.label(image > -350)
    largest = dense == np.bincount(dense[dense > 0]).argmax()
    return np.stack([ndimage.binary_fill_holes(largest[..., k]) for k in range(image.shape[2])], axis=-1)


def test_numbers_of_abdominal_organs_are_those_of_abdominal_phantoms():
    assert {name: TRUNK_LABELS[name] for name in LABELS} == LABELS
    assert sorted(TRUNK_LABELS.values()) == list(range(1, len(TRUNK_LABELS) + 1))


def test_lungs_lie_above_the_liver_and_the_liver_above_the_bladder(whole):
    _, labels, z = whole
    middle = {name: np.median(heights(labels, z, name)) for name in ("lungs", "liver", "urinary bladder")}
    assert middle["lungs"] > middle["liver"] + 60
    assert middle["liver"] > middle["urinary bladder"] + 200
    assert heights(labels, z, "liver").min() > heights(labels, z, "urinary bladder").max() + 80


def test_no_abdominal_organ_is_in_the_pelvis_the_upper_chest_or_the_head(whole):
    _, labels, z = whole
    for name in ABDOMINAL:
        found = heights(labels, z, name)
        assert found.size, name
        assert found.min() > -110, name  # the iliac crest stands as high as the fourth lumbar vertebra
        assert found.max() < 140, name  # the domes of the diaphragm, at the height of the heart
    assert heights(labels, z, "lungs").max() < 290  # the apices, at the collar bones
    assert heights(labels, z, "urinary bladder").max() < -190


def test_the_spine_runs_from_the_pelvis_into_the_neck_and_the_aorta_through_the_trunk(whole):
    _, labels, z = whole
    spine, aorta = heights(labels, z, "vertebrae"), heights(labels, z, "aorta")
    assert spine.min() < -130
    assert spine.max() > 340
    assert aorta.min() < -80
    assert aorta.max() > 140


def test_lungs_have_two_sides_and_hold_litres(whole):
    _, labels, _ = whole
    lungs = labels == TRUNK_LABELS["lungs"]
    litres = lungs.sum() * np.prod(SPACING) / 1e6
    assert 1.5 < litres < 7.5  # adults breathe in up to 6 l, women lie in a scanner with 2
    middle = labels.shape[0] // 2
    assert 0.6 < lungs[:middle].sum() / lungs[middle:].sum() < 1.7


def test_labels_lie_within_the_body_and_the_field_of_view_holds_it(whole):
    image, labels, _ = whole
    inside = body(image)
    assert inside[labels > 0].mean() > 0.9999
    assert not inside[[0, -1]].any()
    assert not inside[:, [0, -1]].any()


def test_the_body_is_wide_at_the_hips_narrow_at_the_neck_and_a_skull_in_the_head(whole):
    image, _, z = whole
    inside = body(image)

    def area_cm2(height):
        return inside[..., np.abs(z - height).argmin()].sum() * SPACING[0] * SPACING[1] / 100

    assert area_cm2(-250) > 300
    assert area_cm2(100) > 300
    assert 60 < area_cm2(330) < 200  # a neck of 35 to 50 cm around
    assert 150 < area_cm2(440) < 330
    at = np.abs(z - 460).argmin()
    head = image[..., at][inside[..., at]]
    assert 0.05 < (head > 300).mean() < 0.4
    assert 10 < np.median(head[(head > -50) & (head < 200)]) < 60  # brain: 30 to 40 HU


def test_urine_is_as_dense_as_water(whole):
    image, labels, _ = whole
    urine = ndimage.binary_erosion(labels == TRUNK_LABELS["urinary bladder"])
    assert urine.sum() > 20
    assert -10 < np.median(image[urine]) < 40


def test_scans_are_random_stretches_of_the_trunk_in_the_spacing_of_their_size():
    lengths, starts, stops, thickness = [], [], [], []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        scene = draw_trunk(rng)
        grid = draw_trunk_grid(rng, scene, SIZES["full"])
        lengths.append(grid.shape[2] * grid.spacing_mm[2] / scene.patient.scale[2])
        first = (grid.corner_mm[2] - scene.patient.origin[2]) / scene.patient.scale[2]
        starts.append(first)
        stops.append(first + lengths[-1])
        thickness.append(grid.spacing_mm[2])
        assert 0.7 <= grid.spacing_mm[0] == grid.spacing_mm[1] <= 1.5
    assert min(lengths) > SHORTEST_SCAN_MM - 6
    assert max(lengths) > 500
    assert LOWEST_MM - 6 < min(starts) < -200
    assert max(starts) > 100
    assert 350 < max(stops) < HIGHEST_MM + 6
    assert 2 <= min(thickness) < 2.8
    assert 4.2 < max(thickness) <= 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("trunks")
    write_set(folder, split=Split(4, 1, 1), seed=5, size=TINY, kind=TRUNKS)
    return folder


def test_a_set_names_what_is_labelled_and_never_calls_it_absent(folder):
    content = json.loads((folder / "datalist.json").read_text())
    assert {name: int(number) for number, name in content["labels"].items()} == TRUNK_LABELS
    cases = [
        case
        for part in ("training", "validation", "test")
        for case in load_datalist(folder / "datalist.json", part)
    ]
    assert len({case.patient for case in cases}) == 6
    for case in cases:
        assert set(case.targets) == set(TRUNK_LABELS)
        assert not set(case.targets) & set(case.absent)
        image, label = nibabel.load(case.image), nibabel.load(case.label)
        assert (image.get_data_dtype(), label.get_data_dtype()) == (np.int16, np.uint8)
        np.testing.assert_array_equal(image.affine, label.affine)
        assert np.asarray(label.dataobj).max() <= len(TRUNK_LABELS)


def test_the_same_seed_gives_the_same_bytes_whatever_the_number_of_cases(folder, tmp_path):
    write_set(tmp_path, split=Split(2, 0, 0), seed=5, size=TINY, kind=TRUNKS, workers=2)
    for file in ("images/phantom_001.nii.gz", "labels/phantom_001.nii.gz"):
        assert (tmp_path / file).read_bytes() == (folder / file).read_bytes()

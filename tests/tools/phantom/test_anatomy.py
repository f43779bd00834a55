"""Anatomy as every atlas has it, in world coordinates (RAS: the patient's left has the smaller x)."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from common.errors import InputError
from tools.phantom.anatomy import REMOVABLE, draw_scene
from tools.phantom.draw import PHASES
from tools.phantom.grid import VoxelGrid
from tools.phantom.render import render
from tools.phantom.scene import LABELS, ORGANS, Structure
from tools.phantom.shapes import Ellipsoid

SEEDS = range(8)
SPACING = (3.0, 3.0, 5.0)
SHAPE = (116, 116, 42)
VOXEL_ML = 0.045

# Wider than the spread among adults in CT; the scan holds the bases of the lungs and part of the spine.
VOLUMES_ML = {
    "liver": (750, 1900),
    "spleen": (70, 350),
    "left kidney": (80, 230),
    "right kidney": (80, 230),
    "pancreas": (25, 110),
    "stomach": (100, 600),
    "gallbladder": (7, 60),
    "aorta": (25, 110),
    "vertebrae": (130, 450),
    "lungs": (300, 1800),
}


def grid_for(scene) -> VoxelGrid:
    return VoxelGrid.around(scene.patient.origin, SHAPE, SPACING)


@pytest.fixture(scope="module", params=SEEDS)
def patient(request):
    rng = np.random.default_rng(request.param)
    scene = draw_scene(rng)
    image, labels = render(scene, grid_for(scene), rng)
    return scene, image, labels


def mask(labels, name):
    return labels == LABELS[name]


def center(labels, name) -> np.ndarray:
    return np.array(ndimage.center_of_mass(mask(labels, name))) * SPACING


def near(labels, name, *, at) -> np.ndarray:
    """Centre of mass of `name` in the slices next to `at` (mm), where the organ runs through many."""
    slices = slice(max(int(at / SPACING[2]) - 1, 0), int(at / SPACING[2]) + 2)
    return (np.array(ndimage.center_of_mass(mask(labels, name)[..., slices])) * SPACING)[:2]


def test_left_is_left_and_right_is_right(patient):
    _, _, labels = patient
    spine = center(labels, "vertebrae")[0]
    for name in ("spleen", "left kidney", "stomach"):
        assert center(labels, name)[0] < spine - 15, name
    for name in ("liver", "right kidney", "gallbladder"):
        assert center(labels, name)[0] > spine + 15, name
    assert center(labels, "spleen")[0] < center(labels, "stomach")[0]


def test_front_and_back(patient):
    _, _, labels = patient
    for name in ("left kidney", "right kidney"):
        kidney = center(labels, name)
        assert abs(kidney[1] - near(labels, "vertebrae", at=kidney[2])[1]) < 30  # beside the spine
        assert kidney[1] < center(labels, "pancreas")[1] - 15
    assert center(labels, "spleen")[1] < center(labels, "stomach")[1] - 15
    assert center(labels, "gallbladder")[1] > center(labels, "right kidney")[1] + 25


def test_above_and_below(patient):
    _, _, labels = patient
    assert 5 < center(labels, "left kidney")[2] - center(labels, "right kidney")[2] < 30
    assert center(labels, "gallbladder")[2] < center(labels, "liver")[2] - 15
    for name in ("liver", "spleen", "stomach", "pancreas", "left kidney", "right kidney"):
        assert center(labels, "lungs")[2] > center(labels, name)[2] + 10, name


def test_the_gallbladder_touches_the_livers_bed(patient):
    _, _, labels = patient
    distance = ndimage.distance_transform_edt(~mask(labels, "liver"), sampling=SPACING)
    assert distance[mask(labels, "gallbladder")].min() < 6


def test_the_aorta_runs_in_front_of_the_spine_and_slightly_to_its_left(patient):
    _, _, labels = patient
    for at in (30.0, 60.0, 100.0, 130.0):
        aorta, spine = near(labels, "aorta", at=at), near(labels, "vertebrae", at=at)
        assert 2 < spine[0] - aorta[0] < 20
        assert 15 < aorta[1] - spine[1] < 50


def test_the_pancreas_crosses_the_midline_in_front_of_the_aorta(patient):
    _, _, labels = patient
    pancreas = np.argwhere(mask(labels, "pancreas")) * SPACING
    spine = center(labels, "vertebrae")[0]
    assert pancreas[:, 0].min() < spine - 40
    assert pancreas[:, 0].max() > spine + 20
    z = center(labels, "pancreas")[2]
    x, y = near(labels, "aorta", at=z)
    over = pancreas[np.abs(pancreas[:, 0] - x) < 10]
    assert over[:, 1].min() > y + 5


def test_organs_have_plausible_volumes_in_one_piece(patient):
    _, _, labels = patient
    for name, (least, most) in VOLUMES_ML.items():
        volume = mask(labels, name).sum() * VOXEL_ML
        assert least < volume < most, name
        if name not in ("lungs", "vertebrae"):  # two lungs; discs part the vertebrae
            parts, count = ndimage.label(mask(labels, name))
            assert ndimage.sum_labels(parts > 0, parts, range(1, count + 1)).max() * VOXEL_ML > 0.97 * volume


def test_organs_lie_within_the_body(patient):
    _, image, labels = patient
    dense, _ = ndimage.label(image > -350)
    body = dense == np.bincount(dense[dense > 0]).argmax()
    # Close each slice: the lungs are air inside the body.
    body = np.stack([ndimage.binary_fill_holes(body[..., z]) for z in range(body.shape[2])], axis=-1)
    assert body[labels > 0].mean() > 0.9999
    rim = np.zeros(labels.shape, bool)
    rim[[0, -1]] = rim[:, [0, -1]] = True
    assert not body[rim].any()  # the field of view holds the patient


def test_densities_are_those_of_the_tissues(patient):
    scene, image, labels = patient
    inner = {name: ndimage.binary_erosion(mask(labels, name)) for name in ORGANS}
    median = {name: np.median(image[inner[name]]) for name in ORGANS if inner[name].sum() > 20}
    assert -900 < median["lungs"] < -750
    assert 10 < median["liver"] < 140
    assert median["vertebrae"] > 110
    assert median["aorta"] > 200 if scene.phase == "arterial" else 30 < median["aorta"] < 220
    if scene.phase != "native":
        assert median["left kidney"] > median["liver"]
    assert -10 < median.get("gallbladder", 8) < 40
    fat = image[(image > -130) & (image < -70)]
    assert fat.size > 0.1 * (image > -350).sum()


def test_no_fat_or_air_shows_between_vertebrae_and_discs(patient):
    _, image, labels = patient
    bodies = (
        mask(labels, "vertebrae").mean(axis=2) > 0.68
    )  # where bodies, of 25 mm in 33 mm, stand upon another
    core = ndimage.binary_erosion(bodies)
    assert core.sum() > 20
    assert image[core].min() > -40  # discs less 5 deviations of noise; lung or fat would be darker


def test_phases_follow_the_contrast_medium():
    assert max(PHASES, key=lambda name: PHASES[name].aorta) == "arterial"
    assert max(PHASES, key=lambda name: PHASES[name].liver) == "portal venous"
    arterial, delayed = PHASES["arterial"], PHASES["delayed"]
    assert arterial.renal_cortex - arterial.renal_medulla > 80  # only the cortex is bright
    assert abs(delayed.renal_cortex - delayed.renal_medulla) < 30


def relabelled(structures, only):
    """The same scene with just one organ in the label map."""
    return tuple(
        replace(
            structure,
            label=LABELS[only] if structure.label == LABELS[only] else None,
            parts=relabelled(structure.parts, only),
        )
        for structure in structures
    )


def test_no_two_organs_claim_the_same_voxel():
    scene = draw_scene(np.random.default_rng(11))
    grid = grid_for(scene)
    claims = np.zeros(SHAPE, np.uint8)
    for name in ORGANS:
        alone = replace(scene, structures=relabelled(scene.structures, name))
        claims += render(alone, grid, np.random.default_rng(0))[1] == LABELS[name]
    assert claims.max() == 1


def test_a_lesion_added_to_the_liver_keeps_its_millimetres_density_and_place():
    scene = draw_scene(np.random.default_rng(2))
    grid = VoxelGrid.around(scene.patient.origin, (140, 100, 40), (2.0, 2.0, 4.0))
    _, labels = render(scene, grid, np.random.default_rng(0))
    depth = ndimage.distance_transform_edt(labels == LABELS["liver"], sampling=grid.spacing_mm)
    deepest = np.unravel_index(depth.argmax(), depth.shape)
    center = tuple(float(mm[index]) for mm, index in zip(grid.axes_mm, deepest, strict=True))
    lesion = Structure("lesion", Ellipsoid(center, (12, 12, 12)), 30.0, label=11, rigid=True)
    image, with_lesion = render(scene.adding(lesion, to="liver"), grid, np.random.default_rng(0))
    where = np.argwhere(with_lesion == 11)
    assert len(where) * 16 == pytest.approx(4 / 3 * np.pi * 12**3, rel=0.06)
    np.testing.assert_allclose(where.mean(axis=0), deepest, atol=0.3)
    core = ndimage.binary_erosion(with_lesion == 11)
    assert image[core].mean() == pytest.approx(30, abs=4)
    np.testing.assert_array_equal(np.where(with_lesion == 11, LABELS["liver"], with_lesion), labels)


def test_nothing_can_be_added_to_an_organ_that_is_not_there():
    scene = draw_scene(np.random.default_rng(2), absent=("spleen",))
    lesion = Structure("lesion", Ellipsoid((0, 0, 0), (5, 5, 5)), 30.0, rigid=True)
    with pytest.raises(InputError, match=r"^spleen: this phantom has liver, left .*; choose one of these\.$"):
        scene.adding(lesion, to="spleen")


@pytest.mark.parametrize("name", REMOVABLE)
def test_an_organ_that_was_taken_out_is_not_there_and_the_others_are(name):
    scene = draw_scene(np.random.default_rng(4), absent=(name,))
    _, labels = render(scene, grid_for(scene), np.random.default_rng(0))
    present = {organ for organ in ORGANS if mask(labels, organ).any()}
    assert present == set(ORGANS) - {name} == set(scene.organs)


def test_patients_differ():
    volumes = []
    for seed in range(4):
        scene = draw_scene(np.random.default_rng(seed))
        _, labels = render(scene, grid_for(scene), np.random.default_rng(0))
        volumes.append([mask(labels, name).sum() * VOXEL_ML for name in ORGANS])
    spread = np.std(volumes, axis=0) / np.mean(volumes, axis=0)
    assert (spread > 0.01).all()

"""Liver lesions, measured in the voxels: what is said of a lesion can be seen."""

import math

import numpy as np
import pytest
from scipy import ndimage
from skimage.measure import regionprops

from tools.phantom.anatomy import draw_scene
from tools.phantom.draw import Draw
from tools.phantom.grid import VoxelGrid
from tools.phantom.lesion_slices import longest_mm
from tools.phantom.lesions import (
    BLUR_MM,
    RIM_HU,
    RIM_MM,
    Appearance,
    draw_appearance,
    lesion_structure,
    segment_of,
)
from tools.phantom.render import render
from tools.phantom.scene import LABELS

STEP_MM = 1.0
LIVER_HU = 100.0


def scan(look: Appearance, seed: int = 0):
    """The middle slice (X, Y) through a lesion in a patient's liver: HU without noise, and its mask."""
    rng = np.random.default_rng(2)
    scene = draw_scene(rng)
    x, y, z = scene.patient.origin
    center = (x + 70.0, y + 10.0, z + 50.0)
    lesion = lesion_structure(Draw(np.random.default_rng(seed)), look, center, liver_hu=LIVER_HU, label=99)
    grid = VoxelGrid.around(center, (101, 101, 3), (STEP_MM, STEP_MM, 4.0))
    image, labels = render(scene.adding(lesion, to="liver"), grid, np.random.default_rng(0))
    return image[..., 1].astype(float), labels[..., 1] == 99


def look(**changes) -> Appearance:
    plain = {
        "diameter_mm": 36.0, "hu": 40.0, "shape": "round", "border": "sharp", "density": "hypodense",
        "enhancement": "none", "kind": None,
    }  # fmt: skip
    return Appearance(**{**plain, **changes})


@pytest.mark.parametrize("shape", ["round", "oval", "lobulated"])
@pytest.mark.parametrize("diameter", [24.0, 40.0])
@pytest.mark.parametrize("seed", range(3))
def test_the_longest_diameter_is_the_one_that_was_asked_for(shape, diameter, seed):
    _, mask = scan(look(shape=shape, diameter_mm=diameter), seed)
    measured = longest_mm(mask, STEP_MM)
    # Three lobes do not face one another: their longest diameter is up to 13 % shorter.
    least = 0.85 if shape == "lobulated" else 1.0
    assert least * diameter - 1.0 <= measured <= diameter + 1.0


@pytest.mark.parametrize("seed", range(6))
def test_shapes_differ_in_length_and_in_how_much_of_their_hull_they_fill(seed):
    regions = {
        shape: regionprops(scan(look(shape=shape), seed)[1].astype(int))[0]
        for shape in ("round", "oval", "lobulated")
    }
    elongation = {
        name: region.axis_major_length / region.axis_minor_length for name, region in regions.items()
    }
    assert elongation["round"] < 1.15
    assert elongation["oval"] > 1.6
    assert regions["round"].solidity > 0.94
    assert regions["oval"].solidity > 0.94
    assert regions["lobulated"].solidity < 0.93


@pytest.mark.parametrize("hu", [5.0, 60.0, 150.0])
@pytest.mark.parametrize("border", ["sharp", "blurred"])
def test_density_in_the_middle_is_the_one_that_was_asked_for(hu, border):
    image, mask = scan(look(hu=hu, border=border))
    core = ndimage.distance_transform_edt(mask) > BLUR_MM
    assert image[core].mean() == pytest.approx(hu, abs=4)


def edge_mm(image: np.ndarray, mask: np.ndarray, hu: float) -> float:
    """Distance over which the density goes from 20 % to 80 % of its step, from means at equal depth."""
    depth = ndimage.distance_transform_edt(mask) - ndimage.distance_transform_edt(~mask)
    places = np.arange(-12, 13)
    values = np.array([image[np.abs(depth - place) <= 1.0].mean() for place in places])
    share = (values - values[0]) / (hu - values[0])
    return float(np.interp(0.8, share, places) - np.interp(0.2, share, places))


def test_a_blurred_border_runs_over_millimetres_and_a_sharp_one_does_not():
    edges = {border: edge_mm(*scan(look(hu=20.0, border=border)), 20.0) for border in ("sharp", "blurred")}
    assert edges["sharp"] < 2.5
    assert edges["blurred"] == pytest.approx(0.6 * BLUR_MM, abs=1.8)


def test_an_enhancing_rim_is_dense_and_as_thick_as_it_should_be():
    image, mask = scan(look(enhancement="rim", hu=10.0))
    depth = ndimage.distance_transform_edt(mask) * STEP_MM
    assert image[(depth > 1) & (depth < RIM_MM - 1)].mean() == pytest.approx(LIVER_HU + RIM_HU, abs=8)
    assert image[depth > RIM_MM + 2].mean() == pytest.approx(10, abs=4)


def test_appearances_are_such_that_a_reader_can_tell_them():
    draw = Draw(np.random.default_rng(0))
    drawn = [
        (liver, native, draw_appearance(draw, liver_hu=liver, native=native))
        for liver in (30.0, 58.0, 70.0, 108.0)
        for native in (True, False)
        for _ in range(300)
    ]
    for liver, native, seen in drawn:
        assert abs(seen.hu - liver) >= 24.9
        assert (seen.density == "hyperdense") == (seen.hu > liver)
        assert (seen.enhancement is None) == native
        if seen.kind in ("cyst", "abscess"):
            assert seen.hu <= 12
        if seen.kind in (None, "metastasis"):
            assert 12 + 24.9 <= seen.hu <= liver - 24.9
        if seen.border == "blurred":
            assert seen.kind in ("metastasis", "hepatocellular carcinoma")
    kinds = {seen.kind for liver, _, seen in drawn if liver == 108}
    assert kinds == {None, "cyst", "abscess", "metastasis", "haemangioma", "hepatocellular carcinoma"}
    counts = [sum(seen.shape == shape for *_, seen in drawn) for shape in ("round", "oval", "lobulated")]
    assert min(counts) > 0.15 * len(drawn)


def test_segments_lie_as_couinaud_numbered_them():
    """Clockwise from the left on an image seen from the front: II, III, IV, V, VI below, VII, VIII above."""
    assert segment_of((-20, 50, 55)) == "II"
    assert segment_of((-20, 50, 10)) == "III"
    assert segment_of((30, 50, 55)) == "IV"
    assert segment_of((80, 40, 10)) == "V"
    assert segment_of((90, -25, 10)) == "VI"
    assert segment_of((90, -25, 60)) == "VII"
    assert segment_of((80, 40, 60)) == "VIII"


def test_no_segment_at_a_border_and_behind_the_vena_cava():
    assert segment_of((80, 40, 30)) is None  # the plane of the portal branches
    assert segment_of((28 + 40 * math.cos(math.radians(54)), 4 + 40 * math.sin(math.radians(54)), 60)) is None
    assert segment_of((20, -30, 60)) is None


def test_all_segments_are_in_the_liver():
    scene = draw_scene(np.random.default_rng(2))
    grid = VoxelGrid.around(scene.patient.origin, (60, 60, 30), (5.0, 5.0, 6.0))
    _, labels = render(scene, grid, np.random.default_rng(0))
    x, y, z = scene.patient.to_template(*grid.axes_mm)
    inside = labels == LABELS["liver"]
    found = [
        segment_of(point)
        for point in zip(x[inside].tolist(), y[inside].tolist(), z[inside].tolist(), strict=True)
    ]
    shares = {name: found.count(name) / len(found) for name in set(found)}
    assert set(shares) - {None} == {"II", "III", "IV", "V", "VI", "VII", "VIII"}
    assert min(shares.values()) > 0.01

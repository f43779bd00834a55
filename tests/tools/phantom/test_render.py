"""Phantoms in known spacings, measured against geometry."""

import math

import numpy as np
import pytest

from tools.phantom.grid import VoxelGrid
from tools.phantom.render import ct_noise, render
from tools.phantom.scene import Patient, Scene, Structure, Waves
from tools.phantom.shapes import Ellipsoid, Everywhere

SPACINGS = [(1.0, 1.0, 1.0), (0.7, 0.7, 5.0), (1.5, 1.5, 3.0), (2.5, 2.5, 4.0), (0.8, 1.3, 2.0)]


def still() -> Patient:
    flat = Waves(np.zeros(1), np.zeros((1, 3)), np.zeros((1, 3)))
    return Patient((0, 0, 0), (1, 1, 1), (flat, flat, flat))


def scene(*structures: Structure, patient: Patient | None = None, noise_hu: float = 0.0) -> Scene:
    return Scene(patient or still(), structures, noise_hu, 100.0, (), "native")


def sphere(diameter_mm: float = 20.0, **kwargs) -> Structure:
    return Structure("sphere", Ellipsoid((0, 0, 0), (diameter_mm / 2,) * 3), 0.0, label=1, **kwargs)


def scan(what: Scene, spacing_mm, *, center_mm=(0.0, 0.0, 0.0), side_mm=48.0):
    shape = tuple(2 * math.ceil(side_mm / 2 / step) + 1 for step in spacing_mm)
    grid = VoxelGrid.around(center_mm, shape, spacing_mm)
    image, labels = render(what, grid, np.random.default_rng(0))
    return (image + 1000.0) / 1000.0, labels == 1  # share of each voxel that the sphere of 0 HU fills in air


@pytest.mark.parametrize("spacing_mm", SPACINGS)
@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("offset", [0.0, 0.23, 0.5])
def test_a_sphere_of_20_mm_measures_20_mm_along_each_axis(spacing_mm, axis, offset):
    center = [0.0, 0.0, 0.0]
    center[axis] = offset * spacing_mm[axis]
    share, inside = scan(scene(sphere()), spacing_mm, center_mm=tuple(center))
    line = [size // 2 for size in share.shape]
    line[axis] = slice(None)
    assert share[tuple(line)].sum() * spacing_mm[axis] == pytest.approx(20.0, abs=0.15)
    assert abs(inside[tuple(line)].sum() * spacing_mm[axis] - 20.0) <= spacing_mm[axis]


@pytest.mark.parametrize("spacing_mm", SPACINGS)
def test_volume_is_the_analytic_one_within_partial_volume(spacing_mm):
    voxel = math.prod(spacing_mm)
    truth = 4 / 3 * math.pi * 15**3
    share, inside = scan(scene(sphere(30.0)), spacing_mm, center_mm=(0.31, -0.17, 0.4))
    assert share.sum() * voxel == pytest.approx(truth, rel=0.02)
    assert inside.sum() * voxel == pytest.approx(truth, rel=0.05)


def test_partial_volume_agrees_with_supersampling():
    spacing, fine = (1.5, 1.5, 3.0), 12
    share, _ = scan(scene(sphere(30.0)), spacing, side_mm=36)
    axes = [
        (np.arange(size * fine) - (size * fine - 1) / 2) * step / fine
        for size, step in zip(share.shape, spacing, strict=True)
    ]
    x, y, z = np.ix_(*axes)
    inside = (x * x + y * y + z * z < 15**2).astype(np.float32)
    nx, ny, nz = share.shape
    truth = inside.reshape(nx, fine, ny, fine, nz, fine).mean(axis=(1, 3, 5))
    assert np.abs(share - truth).max() < 0.13
    assert np.abs(share - truth)[(truth > 0) & (truth < 1)].mean() < 0.03


def test_a_rigid_sphere_keeps_its_millimetres_in_a_bent_and_stretched_patient():
    rng = np.random.default_rng(3)
    bend = tuple(Waves.random(rng, 4.0, 110.0) for _ in range(3))
    patient = Patient((3.0, -5.0, 7.0), (1.1, 0.9, 1.05), bend)
    share, _ = scan(scene(sphere(rigid=True), patient=patient), (1.0, 1.0, 2.0))
    assert share.sum() * 2.0 == pytest.approx(4 / 3 * math.pi * 10**3, rel=0.02)


def test_a_stretched_patient_has_stretched_organs():
    patient = Patient((0, 0, 0), (1.2, 1.0, 0.8), still().bend)
    share, _ = scan(scene(sphere(), patient=patient), (1.0, 1.0, 1.0))
    middle = tuple(size // 2 for size in share.shape)
    extents = [np.moveaxis(share, axis, 0)[:, middle[0], middle[0]].sum() for axis in range(3)]
    assert extents == pytest.approx([24, 20, 16], abs=0.1)


def test_a_part_stays_below_its_parents_surface():
    wall = Structure("content", Everywhere(), 0.0, label=1, inset_mm=4.0)
    bowl = Structure("bowl", Ellipsoid((0, 0, 0), (15, 15, 15)), -1000.0, parts=(wall,))
    share, _ = scan(scene(bowl), (1.0, 1.0, 2.0))
    assert share.sum() * 2.0 == pytest.approx(4 / 3 * math.pi * 11**3, rel=0.02)


def test_later_parts_give_way_to_earlier_ones():
    left = Structure("first", Ellipsoid((-5, 0, 0), (10, 10, 10)), -1000.0, label=2)
    right = Structure("second", Ellipsoid((5, 0, 0), (10, 10, 10)), 0.0, label=1, gap_mm=2.0)
    _, inside = scan(scene(left, right), (0.5, 0.5, 0.5), side_mm=32)
    x = (np.arange(inside.shape[0]) - inside.shape[0] // 2) * 0.5
    middle = inside.shape[1] // 2
    row = x[inside[:, middle, middle]]
    assert (row.min(), row.max()) == pytest.approx(
        (7, 15), abs=0.5
    )  # 2 mm clear of the first, which ends at 5


def test_slab_by_slab_gives_the_same_as_at_once(monkeypatch):
    rng = np.random.default_rng(5)
    patient = Patient((0, 0, 0), (1, 1, 1), tuple(Waves.random(rng, 4.0, 60.0) for _ in range(3)))
    what = scene(sphere(30.0), patient=patient)
    at_once, labels_at_once = scan(what, (1.0, 1.0, 2.0))
    monkeypatch.setattr("tools.phantom.render.SLAB_VOXELS", 1)
    in_slabs, labels_in_slabs = scan(what, (1.0, 1.0, 2.0))
    np.testing.assert_array_equal(labels_in_slabs, labels_at_once)
    np.testing.assert_allclose(in_slabs, at_once, atol=0.0011)  # 1 HU


def test_waves_stay_within_their_bound_and_bend_gently():
    waves = Waves.random(np.random.default_rng(0), 4.0, 100.0)
    axis = np.arange(0, 300, 1, dtype=np.float32)
    values = waves.on_axes(axis, axis[:20], axis[:20])
    assert waves.bound == pytest.approx(4.0)
    assert np.abs(values).max() <= 4.0 + 1e-4
    assert np.abs(np.diff(values, axis=0)).max() <= 2 * math.pi * 4.0 / 100.0


def test_noise_has_the_stated_strength_and_the_grain_of_a_ct():
    grid = VoxelGrid.around((0, 0, 0), (192, 192, 16), (0.8, 0.8, 3.0))
    noise = ct_noise(np.random.default_rng(0), grid, scene(noise_hu=15.0))
    core = noise[80:112, 80:112]
    assert core.std() == pytest.approx(15.0, rel=0.1)
    assert noise[:8, :8].std() < 0.75 * core.std()  # more photons arrive at the rim
    neighbours = np.corrcoef(core[:-1].ravel(), core[1:].ravel())[0, 1]
    assert 0.3 < neighbours < 0.9  # white noise would give 0
    # Filtered backprojection has no power at frequency 0: means over 25 mm are far steadier than in noise
    # of the same grain whose spectrum is flat towards 0.
    means = core.reshape(1, 32, 1, 32, 16).mean(axis=(1, 3))
    assert means.std() < 15.0 / 32

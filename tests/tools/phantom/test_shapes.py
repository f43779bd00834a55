import math

import numpy as np
import pytest

from tools.phantom.shapes import (
    Column,
    Difference,
    Ellipsoid,
    Everywhere,
    HalfSpace,
    Rounded,
    Scaled,
    Slab,
    Tube,
    Union,
    rotation,
    smooth_minimum,
)

STEP_MM = 1.0


def lattice(reach_mm: float):
    axis = np.arange(-reach_mm, reach_mm + STEP_MM / 2, STEP_MM, dtype=np.float32) + np.float32(0.3)
    return np.meshgrid(axis, axis, axis, indexing="ij")


def volume_ml(shape, reach_mm: float = 40) -> float:
    return float((shape.distance(*lattice(reach_mm)) < 0).sum()) * STEP_MM**3 / 1000


def test_rotation_follows_the_right_hand_rule():
    np.testing.assert_allclose(rotation((0, 0, 90)) @ [1, 0, 0], [0, 1, 0], atol=1e-12)
    np.testing.assert_allclose(rotation((90, 0, 0)) @ [0, 1, 0], [0, 0, 1], atol=1e-12)
    np.testing.assert_allclose(rotation((0, 90, 0)) @ [0, 0, 1], [1, 0, 0], atol=1e-12)


def test_sphere_gives_the_exact_distance():
    points = np.random.default_rng(0).uniform(-30, 30, (3, 500)).astype(np.float32)
    distance = Ellipsoid((1, 2, 3), (10, 10, 10), (20, 30, 40)).distance(*points)
    truth = np.linalg.norm(points - np.array([[1], [2], [3]]), axis=0) - 10
    np.testing.assert_allclose(distance, truth, atol=1e-4)


def test_turned_ellipsoid_reaches_as_far_along_its_turned_axes():
    x, y = np.array([[0, 29], [0, 31], [29, 0], [31, 0]], np.float32).T
    distance = Ellipsoid((0, 0, 0), (30, 10, 10), (0, 0, 90)).distance(x, y, np.zeros_like(x))
    assert (distance < 0).tolist() == [True, False, False, False]  # the long axis now runs along y
    np.testing.assert_allclose(distance[:2], [-1, 1], atol=0.05)


@pytest.mark.parametrize(
    ("shape", "truth_ml"),
    [
        (Ellipsoid((0, 0, 0), (30, 20, 10), (30, -20, 50)), 4 / 3 * math.pi * 30 * 20 * 10 / 1000),
        (Tube(((-15, 0, 0), (15, 0, 0)), (8, 8)), (math.pi * 64 * 30 + 4 / 3 * math.pi * 512) / 1000),
        (Rounded(Ellipsoid((0, 0, 0), (15, 15, 15)), 5), 4 / 3 * math.pi * 8000 / 1000),
        (
            Difference(Ellipsoid((0, 0, 0), (20, 20, 20)), Ellipsoid((0, 0, 0), (10, 10, 10))),
            4 / 3 * math.pi * 7000 / 1000,
        ),
        (
            Union((Ellipsoid((-20, 0, 0), (10, 10, 10)), Ellipsoid((20, 0, 0), (10, 10, 10)))),
            8 / 3 * math.pi,
        ),
    ],
)
def test_volume_is_the_analytic_one(shape, truth_ml):
    assert volume_ml(shape) == pytest.approx(truth_ml, rel=0.01)


@pytest.mark.parametrize("exponent", [2.0, 2.35, 4.0])
def test_column_section_has_the_area_of_a_superellipse(exponent):
    axis = np.arange(-40, 40, 0.25, dtype=np.float32) + np.float32(0.1)
    x, y = np.meshgrid(axis, axis, indexing="ij")
    area = (Column((1, -2), (30, 20), exponent).distance(x, y, np.zeros_like(x)) < 0).sum() * 0.25**2
    root = 1 / exponent
    truth = 4 * 30 * 20 * math.gamma(1 + root) ** 2 / math.gamma(1 + 2 * root)
    assert area == pytest.approx(truth, rel=0.003)


def test_round_column_and_half_space_give_exact_distances():
    x, y, z = np.random.default_rng(1).uniform(-30, 30, (3, 200)).astype(np.float32)
    np.testing.assert_allclose(Column((0, 0), (12, 12)).distance(x, y, z), np.hypot(x, y) - 12, atol=1e-3)
    np.testing.assert_allclose(HalfSpace((0, 5, 0), (0, -2, 0)).distance(x, y, z), 5 - y, atol=1e-5)
    assert (Everywhere().distance(x, y, z) < -100).all()


def test_smooth_tube_passes_through_its_points():
    points = ((0.0, 0.0, 0.0), (20.0, 10.0, 0.0), (30.0, 30.0, 10.0), (10.0, 40.0, 20.0))
    tube = Tube.smooth(points, (5, 4, 3, 2))
    distance = tube.distance(*np.array(points, np.float32).T)
    assert (distance <= [-4.99, -3.99, -2.99, -1.99]).all()


@pytest.mark.parametrize(
    "shape",
    [
        Ellipsoid((3, -4, 5), (25, 10, 6), (25, 40, -30)),
        Tube.smooth(((-20, 0, 0), (0, 15, 5), (20, 0, -10)), (3, 8, 5)),
        Union((Ellipsoid((-8, 0, 0), (10, 10, 10)), Ellipsoid((8, 0, 0), (10, 10, 10))), 20),
    ],
)
def test_nothing_lies_outside_the_bounds(shape):
    points = lattice(38)
    inside = shape.distance(*points) < 0
    assert inside.any()
    for mm, (low, high) in zip(points, shape.bounds, strict=True):
        assert low <= mm[inside].min()
        assert mm[inside].max() <= high


def test_smooth_minimum_is_lower_by_a_quarter_of_the_blend_where_both_are_equal():
    zero = np.zeros(1, np.float32)
    assert smooth_minimum(zero, zero, 8.0)[0] == -2.0
    assert smooth_minimum(zero, zero + 8, 8.0)[0] == 0.0
    assert smooth_minimum(zero, zero + 3, 0.0)[0] == 0.0


def test_a_slab_ends_flat_at_both_heights():
    slab = Slab(Ellipsoid((0, 0, 0), (10, 10, 10)), -4, 6)
    assert slab.bounds == ((-10, 10), (-10, 10), (-4, 6))
    x = np.zeros(4, np.float32)
    z = np.array([7, 5, -3, -6], np.float32)
    np.testing.assert_allclose(slab.distance(x, x, z), [1, -1, -1, 2], atol=1e-5)


def test_a_scaled_shape_is_as_much_larger_about_the_fixed_point():
    ball = Scaled(Ellipsoid((4, 0, 0), (2, 2, 2)), 3.0, (1, 0, 0))
    np.testing.assert_allclose(ball.bounds, ((4, 16), (-6, 6), (-6, 6)))
    x = np.array([10, 4, 18], np.float32)  # its centre, its left end and 2 mm beyond the right one
    zero = np.zeros(3, np.float32)
    np.testing.assert_allclose(ball.distance(x, zero, zero), [-6, 0, 2], atol=0.3)
    np.testing.assert_allclose(ball.distance(x, zero, zero)[1], 0, atol=1e-5)

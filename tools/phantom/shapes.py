"""Implicit shapes in millimetres.

A shape answers, for any point, how far the point is from the shape's surface: negative inside, positive
outside. Points are in patient axes: x to the patient's right, y to the front, z to the head ("RAS"), so
that the patient's left has the smaller x. Distances are exact for spheres and tubes and first-order
accurate near the surface for the rest, which is what partial volume needs.
"""

from dataclasses import dataclass
from functools import reduce
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Point = tuple[float, float, float]
Bounds = tuple[tuple[float, float], tuple[float, float], tuple[float, float]]

UNBOUNDED = (-np.inf, np.inf)
EVERYWHERE_MM = -1000.0


class Shape(Protocol):
    """What can be rendered."""

    @property
    def bounds(self) -> Bounds:
        """(low, high) in mm along x, y and z: nothing of the shape lies outside."""

    def distance(self, x: Array, y: Array, z: Array) -> Array:
        """Signed distance in mm of the points; `x`, `y`, `z` are arrays of one shape (or broadcast to it)."""


def rotation(angles_deg: Point) -> NDArray[np.float64]:
    """Rotation matrix that turns about x, then y, then z by `angles_deg`."""
    turned = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(angles_deg)):
        first, second = (axis + 1) % 3, (axis + 2) % 3
        step = np.eye(3)
        step[first, first] = step[second, second] = np.cos(angle)
        step[second, first] = np.sin(angle)
        step[first, second] = -step[second, first]
        turned = step @ turned
    return turned


@dataclass(frozen=True)
class Everywhere:
    """All of space; as a part of a structure it fills what its parent leaves (see `Structure.inset`)."""

    @property
    def bounds(self) -> Bounds:
        return UNBOUNDED, UNBOUNDED, UNBOUNDED

    def distance(self, x: Array, y: Array, z: Array) -> Array:
        return np.full(np.broadcast_shapes(x.shape, y.shape, z.shape), EVERYWHERE_MM, np.float32)


@dataclass(frozen=True)
class HalfSpace:
    """Everything behind the plane through `point`; `normal` (of any length) points out of the shape."""

    point: Point
    normal: Point

    @property
    def bounds(self) -> Bounds:
        return UNBOUNDED, UNBOUNDED, UNBOUNDED

    def distance(self, x: Array, y: Array, z: Array) -> Array:
        nx, ny, nz = (float(n) for n in np.asarray(self.normal) / np.linalg.norm(self.normal))
        (px, py, pz) = self.point
        return nx * (x - px) + ny * (y - py) + nz * (z - pz)


@dataclass(frozen=True)
class Ellipsoid:
    """Ellipsoid with half axes `radii_mm`, turned by `angles_deg` about x, y and z."""

    center: Point
    radii_mm: Point
    angles_deg: Point = (0.0, 0.0, 0.0)

    @property
    def bounds(self) -> Bounds:
        turned = rotation(self.angles_deg)
        reach = np.sqrt((turned**2) @ np.square(self.radii_mm))
        x, y, z = ((float(c - r), float(c + r)) for c, r in zip(self.center, reach, strict=True))
        return x, y, z

    def distance(self, x: Array, y: Array, z: Array) -> Array:
        turned = rotation(self.angles_deg)
        x, y, z = (part - offset for part, offset in zip((x, y, z), self.center, strict=True))
        # Quilez's distance k0 (k0 - 1) / k1; the small terms give -min(radii) at the centre.
        scaled_squared = np.float32(1e-8)
        slope_squared = np.float32(1e-8 / min(self.radii_mm) ** 2)
        for (tx, ty, tz), radius in zip(turned.T.tolist(), self.radii_mm, strict=True):
            along_squared = np.square(tx * x + ty * y + tz * z)
            scaled_squared = scaled_squared + along_squared / radius**2
            slope_squared = slope_squared + along_squared / radius**4
        scaled = np.sqrt(scaled_squared)
        return scaled * (scaled - 1) / np.sqrt(slope_squared)


@dataclass(frozen=True)
class Tube:
    """Round tube along a polyline of `points` whose radius runs linearly between `radii_mm`."""

    points: tuple[Point, ...]
    radii_mm: tuple[float, ...]

    @classmethod
    def smooth(cls, points: tuple[Point, ...], radii_mm: tuple[float, ...], steps: int = 4) -> "Tube":
        """Tube along the Catmull-Rom curve through `points`, `steps` straight pieces between two of them."""
        knots = np.column_stack([points, radii_mm])
        knots = np.vstack([2 * knots[0] - knots[1], knots, 2 * knots[-1] - knots[-2]])
        curve = [knots[1]]
        for before, start, end, after in zip(knots, knots[1:], knots[2:], knots[3:], strict=False):
            for t in np.arange(1, steps + 1) / steps:
                linear, square = end - before, 2 * before - 5 * start + 4 * end - after
                cube = 3 * (start - end) + after - before
                curve.append(start + 0.5 * (linear * t + square * t**2 + cube * t**3))
        rows = np.array(curve).tolist()
        return cls(tuple((x, y, z) for x, y, z, _ in rows), tuple(row[3] for row in rows))

    @property
    def bounds(self) -> Bounds:
        centers, radii = np.array(self.points), np.array(self.radii_mm)[:, None]
        low, high = (centers - radii).min(axis=0).tolist(), (centers + radii).max(axis=0).tolist()
        return (low[0], high[0]), (low[1], high[1]), (low[2], high[2])

    def distance(self, x: Array, y: Array, z: Array) -> Array:
        pieces = zip(self.points, self.points[1:], self.radii_mm, self.radii_mm[1:], strict=False)
        return reduce(np.minimum, (_round_cone(x, y, z, *piece) for piece in pieces))


def _round_cone(
    x: Array, y: Array, z: Array, start: Point, end: Point, start_mm: float, end_mm: float
) -> Array:
    """Distance to the straight piece from `start` to `end`, whose radius runs from `start_mm` to `end_mm`."""
    ax, ay, az = (float(e - s) for s, e in zip(start, end, strict=True))
    x, y, z = (part - offset for part, offset in zip((x, y, z), start, strict=True))
    along = np.clip((ax * x + ay * y + az * z) / max(ax * ax + ay * ay + az * az, 1e-9), 0, 1)
    gap_squared = np.square(x - ax * along) + np.square(y - ay * along) + np.square(z - az * along)
    return np.sqrt(gap_squared) - (start_mm + (end_mm - start_mm) * along)


@dataclass(frozen=True)
class Column:
    """Endless upright column whose section is a superellipse |x/a|^n + |y/b|^n = 1 (n = 2: an ellipse)."""

    center: tuple[float, float]
    radii_mm: tuple[float, float]
    exponent: float = 2.0

    @property
    def bounds(self) -> Bounds:
        (cx, cy), (a, b) = self.center, self.radii_mm
        return (cx - a, cx + a), (cy - b, cy + b), UNBOUNDED

    def distance(self, x: Array, y: Array, z: Array) -> Array:
        (a, b), n = self.radii_mm, self.exponent
        x = np.maximum(np.abs(x - self.center[0]), 1e-3) / a
        y = np.maximum(np.abs(y - self.center[1]), 1e-3) / b
        x_power, y_power = x ** (n - 1), y ** (n - 1)
        total = x_power * x + y_power * y
        slope = np.sqrt(np.square(x_power / a) + np.square(y_power / b))
        value = total ** (1 / n)
        return (value - 1) * total / value / slope + np.float32(0) * z


@dataclass(frozen=True)
class Rounded:
    """`shape` grown by `by_mm` on every side (shrunk where negative)."""

    shape: Shape
    by_mm: float

    @property
    def bounds(self) -> Bounds:
        x, y, z = ((low - self.by_mm, high + self.by_mm) for low, high in self.shape.bounds)
        return x, y, z

    def distance(self, x: Array, y: Array, z: Array) -> Array:
        return self.shape.distance(x, y, z) - self.by_mm


@dataclass(frozen=True)
class Union:
    """All of `shapes`, their seams filled in smoothly over about `blend_mm` (polynomial smooth minimum)."""

    shapes: tuple[Shape, ...]
    blend_mm: float = 0.0

    @property
    def bounds(self) -> Bounds:
        boxes = np.array([shape.bounds for shape in self.shapes])
        grown = self.blend_mm / 4
        low, high = (boxes[..., 0].min(axis=0) - grown).tolist(), (boxes[..., 1].max(axis=0) + grown).tolist()
        return (low[0], high[0]), (low[1], high[1]), (low[2], high[2])

    def distance(self, x: Array, y: Array, z: Array) -> Array:
        parts = (shape.distance(x, y, z) for shape in self.shapes)
        return reduce(lambda first, second: smooth_minimum(first, second, self.blend_mm), parts)


@dataclass(frozen=True)
class Difference:
    """`shape` without `removed`; the rim of the cut is rounded over about `blend_mm`."""

    shape: Shape
    removed: Shape
    blend_mm: float = 0.0

    @property
    def bounds(self) -> Bounds:
        return self.shape.bounds

    def distance(self, x: Array, y: Array, z: Array) -> Array:
        return -smooth_minimum(-self.shape.distance(x, y, z), self.removed.distance(x, y, z), self.blend_mm)


@dataclass(frozen=True)
class Slab:
    """`shape` between two heights in mm, cut flat."""

    shape: Shape
    low_mm: float
    high_mm: float

    @property
    def bounds(self) -> Bounds:
        x, y, (low, high) = self.shape.bounds
        return x, y, (max(low, self.low_mm), min(high, self.high_mm))

    def distance(self, x: Array, y: Array, z: Array) -> Array:
        cut = np.maximum(z - np.float32(self.high_mm), np.float32(self.low_mm) - z)
        return np.maximum(self.shape.distance(x, y, z), cut)


@dataclass(frozen=True)
class Scaled:
    """`shape` made `factor` times as large, with the point `fixed` where it was."""

    shape: Shape
    factor: float
    fixed: Point

    @property
    def bounds(self) -> Bounds:
        x, y, z = (
            (middle + self.factor * (low - middle), middle + self.factor * (high - middle))
            for (low, high), middle in zip(self.shape.bounds, self.fixed, strict=True)
        )
        return x, y, z

    def distance(self, x: Array, y: Array, z: Array) -> Array:
        own = (
            middle + (along - middle) / self.factor
            for along, middle in zip((x, y, z), self.fixed, strict=True)
        )
        return self.factor * self.shape.distance(*own)


def smooth_minimum(first: Array, second: Array, blend_mm: float) -> Array:
    """Minimum of two distances, lowered by up to `blend_mm` / 4 where they are equal."""
    if blend_mm <= 0:
        return np.minimum(first, second)
    closeness = np.maximum(blend_mm - np.abs(first - second), 0)
    return np.minimum(first, second) - np.square(closeness) / (4 * blend_mm)

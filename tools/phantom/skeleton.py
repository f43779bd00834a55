"""Shapes that need more than a sum of simple ones: spine, ribs and diaphragm."""

from dataclasses import dataclass

import numpy as np

from .shapes import UNBOUNDED, Array, Bounds, Column, Shape, smooth_minimum

VERTEBRA_MM = 33.0  # from one vertebra to the next
BODY_MM = 25.0  # height of a vertebral body; the disc fills the rest


@dataclass(frozen=True)
class Spine:
    """Lumbar and lower thoracic vertebrae one above the other: body, arch around the canal, processes.

    Attributes:
        center: x and y of the vertebral bodies' middle.
        radii_mm: half width and half depth of a body.
        offset_mm: z of one body's middle.
    """

    center: tuple[float, float]
    radii_mm: tuple[float, float]
    offset_mm: float

    @property
    def canal(self) -> Column:
        """The spinal canal."""
        return Column((self.center[0], self.center[1] - self.radii_mm[1] - 8), (9.5, 7.5))

    @property
    def disc_column(self) -> Column:
        """Column of bodies and discs."""
        return Column(self.center, self.radii_mm, 2.4)

    @property
    def bounds(self) -> Bounds:
        (x, y), (_, depth) = self.center, self.radii_mm
        return (x - 42, x + 42), (y - depth - 42, y + depth), UNBOUNDED

    def distance(self, x: Array, y: Array, z: Array) -> Array:
        height = np.mod(z - self.offset_mm + VERTEBRA_MM / 2, VERTEBRA_MM) - VERTEBRA_MM / 2
        beside = np.abs(x - self.center[0])
        behind = self.canal.center[1] - y  # mm behind the middle of the canal
        # The waist of a body is 2.5 mm narrower than its end plates.
        waist = 2.5 * (1 - np.square(height / (BODY_MM / 2)))
        body = np.maximum(
            self.disc_column.distance(x, y, z) + np.maximum(waist, 0), np.abs(height) - BODY_MM / 2
        )
        ring = np.hypot(beside / 15.5, behind / 13.0) - 1
        arch = np.maximum(ring * 14, np.abs(height - 1) - 10)
        # Spinous process: an upright blade behind; transverse processes: rods to the sides.
        blade = np.hypot(np.maximum(np.abs(behind - 19) - 9, 0), np.maximum(np.abs(height + 5) - 6, 0))
        spinous = np.hypot(blade, np.maximum(beside - 1, 0)) - 2.8
        reach = np.maximum(np.abs(beside - 22) - 14, 0)
        transverse = np.hypot(reach, np.hypot(behind - 1 - 0.15 * beside, 0.7 * (height - 2))) - 4.2
        processes = np.minimum(spinous, transverse)
        whole = smooth_minimum(body, smooth_minimum(arch, processes, 4.0), 4.0)
        return np.maximum(whole, -self.canal.distance(x, y, z))


@dataclass(frozen=True)
class Ribs:
    """Ribs within the wall of the trunk; they sink towards the front and end at `lowest_mm`.

    Attributes:
        wall: column through the middle of the ribs.
        slope_mm: how far a rib sinks from the back to the front.
        offset_mm: z of one rib at the back.
        lowest_mm: z below which there are none.
        cage: in whose surface they lie instead, where the chest narrows towards the top.
    """

    wall: Column
    slope_mm: float
    offset_mm: float
    lowest_mm: float
    cage: Shape | None = None

    @property
    def bounds(self) -> Bounds:
        (x_low, x_high), (y_low, y_high), _ = self.wall.bounds
        return (x_low - 6, x_high + 6), (y_low - 6, y_high + 6), (self.lowest_mm - 6, np.inf)

    def distance(self, x: Array, y: Array, z: Array) -> Array:
        (cx, cy), (a, b) = self.wall.center, self.wall.radii_mm
        turn = np.arctan2(np.abs(x - cx) / a, (cy - y) / b) / np.float32(
            np.pi
        )  # 0 at the back, 1 at the front
        height = z - self.offset_mm + self.slope_mm * turn
        height = np.mod(height, VERTEBRA_MM) - VERTEBRA_MM / 2
        bone = np.hypot((self.cage or self.wall).distance(x, y, z) * 1.5, height) - 6.0  # 8 mm x 12 mm across
        ends = np.maximum(0.17 - turn, turn - 0.74) * 250  # free of the spine, and of the cartilage in front
        return np.maximum(np.maximum(bone, ends), self.lowest_mm - z)


@dataclass(frozen=True)
class Diaphragm:
    """Everything below the two domes of the diaphragm.

    Attributes:
        right_mm, left_mm: z of the top of the right and of the left dome.
        half_width_mm: half of the chest's inner width.
        half_depth_mm: half of its inner depth.
        middle_mm: y of the chest's middle.
    """

    right_mm: float
    left_mm: float
    half_width_mm: float
    half_depth_mm: float
    middle_mm: float

    @property
    def bounds(self) -> Bounds:
        return UNBOUNDED, UNBOUNDED, (-np.inf, max(self.right_mm, self.left_mm) + 5)

    def distance(self, x: Array, y: Array, z: Array) -> Array:
        across, along = 0.5 * self.half_width_mm, self.half_depth_mm
        slope_squared = np.zeros(np.broadcast_shapes(x.shape, y.shape), np.float32)
        height = np.full_like(slope_squared, -1e3)
        for side, top in ((1, self.right_mm), (-1, self.left_mm)):
            u = (x - side * 0.46 * self.half_width_mm) / across
            v = (y - self.middle_mm - 8) / along
            dome = top - 42 * np.square(u) - np.where(v > 0, np.float32(45), np.float32(70)) * np.square(v)
            slope_here = np.square(84 * u / across) + np.square(115 * v / along)
            slope_squared = np.where(dome > height, slope_here, slope_squared)
            height = np.maximum(height, dome)
        return np.asarray((z - height) / np.sqrt(1 + slope_squared), np.float32)

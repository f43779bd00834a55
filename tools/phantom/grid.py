"""Voxel grids: where voxels lie in the patient, and in which axis order and direction a file stores them."""

from dataclasses import dataclass
from itertools import permutations, product

import nibabel
import numpy as np
from nibabel import orientations
from numpy.typing import NDArray

from .shapes import Array, Point

AXIS_ORDERS = tuple(permutations(range(3)))  # 6
FLIPS = tuple(product((False, True), repeat=3))  # 8
AXIS_ENDS = ("LR", "PA", "IS")  # where x, y and z come from and point to


def orientation_code(number: int) -> str:
    """One of the 48 axis codes such as "LPS"; 48 consecutive numbers give all of them, 6 all axis orders."""
    order = AXIS_ORDERS[number % 6]
    flips = FLIPS[(number // 6 + number) % 8]
    return "".join(AXIS_ENDS[axis][0 if flipped else 1] for axis, flipped in zip(order, flips, strict=True))


@dataclass(frozen=True)
class VoxelGrid:
    """A grid along the patient's axes, first voxel at the right-hand-negative, posterior, inferior corner.

    Attributes:
        shape: voxels along x (to the patient's right), y (to the front) and z (to the head).
        spacing_mm: along x, y and z.
        corner_mm: world position (RAS) of the centre of voxel (0, 0, 0).
    """

    shape: tuple[int, int, int]
    spacing_mm: Point
    corner_mm: Point

    @classmethod
    def around(cls, center_mm: Point, shape: tuple[int, int, int], spacing_mm: Point) -> "VoxelGrid":
        """The grid whose middle is `center_mm`."""
        x, y, z = (
            middle - (count - 1) / 2 * step
            for middle, count, step in zip(center_mm, shape, spacing_mm, strict=True)
        )
        return cls(shape, spacing_mm, (x, y, z))

    @property
    def axes_mm(self) -> tuple[Array, Array, Array]:
        """World coordinates of the voxel centres along x, y and z."""
        x, y, z = (
            np.asarray(first + step * np.arange(count), np.float32)
            for first, step, count in zip(self.corner_mm, self.spacing_mm, self.shape, strict=True)
        )
        return x, y, z

    @property
    def affine(self) -> NDArray[np.float64]:
        """4 x 4, from voxel indices to world mm (RAS)."""
        affine = np.diag([*self.spacing_mm, 1.0])
        affine[:3, 3] = self.corner_mm
        return affine

    def to_nifti(self, voxels: NDArray, code: str) -> nibabel.Nifti1Image:
        """`voxels` (X, Y, Z) as an image that is stored in the axis order and directions of `code`."""
        turn = orientations.ornt_transform(
            orientations.io_orientation(self.affine), orientations.axcodes2ornt(code)
        )
        stored = np.ascontiguousarray(orientations.apply_orientation(voxels, turn))
        affine = self.affine @ orientations.inv_ornt_aff(turn, self.shape)
        image = nibabel.Nifti1Image(stored, affine, dtype=stored.dtype)
        image.set_sform(affine, code=1)  # 1: scanner coordinates
        image.set_qform(affine, code=1)
        image.header.set_xyzt_units("mm", "sec")
        return image

"""Checks of an affine before it places voxels in space."""

import logging
import os
from collections.abc import Iterable, Sequence

import numpy as np

from ..errors import InputError

SKEW_DEGREES = 0.1  # smaller angles between the slices' normal and the stack are rounding
UNIT_TOLERANCE = 1e-3  # of a direction's length: headers round to four digits
GRID_VOXELS = 0.01  # by which voxels of a label map may lie beside those of the image
GRID_MM = 1e-3  # per affine entry: headers with three decimals differ by less
ROUNDING_VOXELS = 1e-3  # float32 headers of one scan differ by less
FORMS_MM = 1.0  # less between the places of a corner by sform and by qform is rounding

_log = logging.getLogger(__name__)


def no_orientation(path: str | os.PathLike[str], found: str) -> InputError:
    """The refusal of a volume in any format whose orientation has to be guessed; `found`: by what."""
    return InputError(
        f"{path}: {found}, so the patient's left and right are unknown; convert the series again from DICOM, "
        "or set it in the header if you know it (NIfTI, with nibabel: image.set_sform(affine, 1))."
    )


def no_spacing(path: str | os.PathLike[str], found: str) -> InputError:
    """The refusal of a volume in any format whose voxel size has to be guessed; `found`: by what."""
    return InputError(
        f"{path}: {found}, so the voxel size is unknown; convert the series again from DICOM, or set it in "
        "the header if you know it."
    )


def check_directions(path: str | os.PathLike[str], directions: np.ndarray) -> None:
    """Refuse directions of axes, the rows of (N, 3), that are not of unit length.

    Raises:
        InputError: one has another length, or is not finite.
    """
    lengths = [float(np.linalg.norm(row)) for row in directions]
    if not all(abs(length - 1) <= UNIT_TOLERANCE for length in lengths):  # NaN is never close
        raise InputError(
            f"{path}: its axis directions have the lengths {_listed(lengths)}, expected 1 each, so the voxel "
            "size is uncertain; convert the series again from DICOM."
        )


def check_sizes(path: str | os.PathLike[str], sizes_mm: Sequence[float]) -> None:
    """Refuse voxel sizes that are not above 0: readers take the absolute value, or 1 mm for 0.

    Raises:
        InputError: one is 0, negative or no number.
    """
    if not all(size > 0 for size in sizes_mm):
        raise no_spacing(path, f"its voxels have the size {_listed(sizes_mm)} mm")


def check_finite(path: str | os.PathLike[str], axes: np.ndarray, origin: Iterable[float]) -> None:
    """Refuse axes, the columns of (3, 3) in mm, or an origin in mm with a number that is not finite.

    Raises:
        InputError: there is one.
    """
    if not np.isfinite(axes).all() or not np.isfinite(list(origin)).all():
        raise InputError(
            f"{path}: its affine holds a number that is not finite (axes {_listed(axes.T.ravel())}, origin "
            f"{_listed(origin)}), so the positions of voxels are unknown; convert the series again from "
            "DICOM."
        )


def check_affine(path: str | os.PathLike[str], affine: np.ndarray) -> None:
    """Refuse an affine (4, 4) that is not a grid in space; warn if its slices are shifted against each other.

    A tilted gantry makes such a sheared stack; slices are segmented as they are.

    Raises:
        InputError: the affine is singular or not finite.
    """
    axes = affine[:3, :3]
    check_finite(path, axes, affine[:3, 3])
    check_not_flat(path, axes)
    degrees = skew_degrees(axes)
    if degrees > SKEW_DEGREES:
        _log.warning(
            "%s: the gantry is tilted by %.1f degrees, or the grid is sheared; slices are segmented as they "
            "are, and masks keep the tilt in their affine; ITK-SNAP, 3D Slicer and SimpleITK cannot open "
            "such a NIfTI file, so write NRRD with --format nrrd for them.",
            path,
            degrees,
        )


def check_not_flat(path: str | os.PathLike[str], axes: np.ndarray) -> None:
    """Refuse axes, the columns of (3, 3), that lie in one plane.

    Raises:
        InputError: they do.
    """
    # The determinant of unit columns is the volume that they span: 1 if orthogonal, 0 if they lie in a plane.
    volume = abs(np.linalg.det(axes / np.maximum(np.linalg.norm(axes, axis=0), 1e-30)))
    if volume <= 1e-6:
        raise InputError(
            f"{path}: the affine is singular ({axes.tolist()}), so the positions of voxels are unknown; "
            "convert the series again from DICOM."
        )


def warn_if_forms_differ(
    path: str | os.PathLike[str], sform: np.ndarray, qform: np.ndarray, shape: tuple[int, ...]
) -> None:
    """Say when the two affines of a NIfTI header place a corner of the image more than 1 mm apart."""
    corners = np.array([[*corner, 1] for corner in np.ndindex(2, 2, 2)]) * [*np.subtract(shape[:3], 1), 1]
    apart = float(np.linalg.norm((corners @ (sform - qform).T)[:, :3], axis=1).max())
    if not apart <= FORMS_MM:  # NaN is never less
        _log.warning(
            "%s: sform and qform are %.1f mm apart; the sform is used, but other programs may use the qform.",
            path,
            apart,
        )


def check_same_place(
    path: str | os.PathLike[str],
    affine: np.ndarray,
    other: str | os.PathLike[str],
    expected: np.ndarray,
    shape: Sequence[int],
) -> None:
    """Refuse an affine (4, 4) that puts voxels elsewhere than `expected`; say when it does by very little.

    The measure is the largest distance between the two places of a corner, in voxels of `expected`. What
    programs round when they write a header moves voxels by less than a hundredth.

    Args:
        path: of the label map with `affine`, and `other` of the image with `expected`, for messages.
        shape: of both, in the order of the affines' columns.

    Raises:
        InputError: voxels are a hundredth of a voxel apart or more, unless no entry differs by 1e-3 mm.
    """
    corners = np.array([[*corner, 1] for corner in np.ndindex(2, 2, 2)]) * [*np.subtract(shape, 1), 1]
    moved_mm = (corners @ (affine - expected).T)[:, :3]
    moved = np.linalg.norm(np.linalg.solve(expected[:3, :3], moved_mm.T), axis=0)
    voxels, mm = float(moved.max()), float(np.linalg.norm(moved_mm, axis=1).max())
    if voxels < GRID_VOXELS or np.abs(affine - expected).max() <= GRID_MM:
        if voxels > ROUNDING_VOXELS:
            _log.warning(
                "%s: voxels lie up to %.2g voxels (%.2g mm) from those of %s; the two grids are treated as "
                "equal.",
                path,
                voxels,
                mm,
                other,
            )
        return
    raise InputError(
        f"{path}: the labels' affine differs from that of the image {other}: voxels lie up to {voxels:.3g} "
        f"voxels ({mm:.3g} mm) apart, expected less than {GRID_VOXELS:g}; resample {path} to the image with "
        "nearest neighbours."
    )


def skew_degrees(axes: np.ndarray) -> float:
    """The largest angle between an axis (a column of (3, 3)) and the normal of the two others."""
    angles = []
    for axis in range(3):
        normal = np.cross(axes[:, axis - 1], axes[:, axis - 2])
        cosine = abs(normal @ axes[:, axis]) / (np.linalg.norm(normal) * np.linalg.norm(axes[:, axis]))
        angles.append(float(np.degrees(np.arccos(min(cosine, 1.0)))))
    return max(angles)


def _listed(numbers: Iterable[float]) -> str:
    return ", ".join(f"{number:g}" for number in numbers)

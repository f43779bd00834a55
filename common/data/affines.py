"""What is asked of an affine before voxels get a place in space from it."""

import logging
import os

import numpy as np

from ..errors import InputError

SKEW_DEGREES = 0.1  # smaller angles between the slices' normal and the stack are rounding
FORMS_MM = 1.0  # less between the places of a corner by sform and by qform is rounding

_log = logging.getLogger(__name__)


def check_affine(path: str | os.PathLike[str], affine: np.ndarray) -> None:
    """Refuse an affine (4, 4) that is no grid in space; say when its slices are shifted against each other.

    A tilted gantry makes such a sheared stack; slices are segmented as they are.

    Raises:
        InputError: the affine is singular or not finite.
    """
    axes = affine[:3, :3]
    # The determinant of unit columns is the volume that they span: 1 if orthogonal, 0 if they lie in a plane.
    volume = abs(np.linalg.det(axes)) / max(float(np.prod(np.linalg.norm(axes, axis=0))), 1e-30)
    if not np.isfinite(affine).all() or volume <= 1e-6:
        raise InputError(
            f"{path}: the affine is singular ({axes.tolist()}), so voxels have no place in space; "
            "convert the series again from DICOM."
        )
    degrees = skew_degrees(axes)
    if degrees > SKEW_DEGREES:
        _log.warning(
            "%s: the gantry is tilted by %.1f degrees, or the grid is sheared; slices are segmented as they "
            "are, and masks keep the tilt in their affine; ITK-SNAP, 3D Slicer and SimpleITK cannot open "
            "such a NIfTI file, so write NRRD with --format nrrd for them.",
            path,
            degrees,
        )


def warn_if_forms_differ(
    path: str | os.PathLike[str], sform: np.ndarray, qform: np.ndarray, shape: tuple[int, ...]
) -> None:
    """Say when the two affines of a NIfTI header place a corner of the image more than 1 mm apart."""
    corners = np.array([[*corner, 1] for corner in np.ndindex(2, 2, 2)]) * [*np.subtract(shape[:3], 1), 1]
    apart = float(np.linalg.norm((corners @ (sform - qform).T)[:, :3], axis=1).max())
    if apart > FORMS_MM:
        _log.warning(
            "%s: sform and qform are %.1f mm apart; the sform is used, other programs may take the qform.",
            path,
            apart,
        )


def skew_degrees(axes: np.ndarray) -> float:
    """The largest angle between an axis (a column of (3, 3)) and the normal of the two others."""
    angles = []
    for axis in range(3):
        normal = np.cross(axes[:, axis - 1], axes[:, axis - 2])
        cosine = abs(normal @ axes[:, axis]) / (np.linalg.norm(normal) * np.linalg.norm(axes[:, axis]))
        angles.append(float(np.degrees(np.arccos(min(cosine, 1.0)))))
    return max(angles)

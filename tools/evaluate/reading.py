"""Label maps from NIfTI and NRRD in one axis order."""

from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel import orientations

from common.data.volumes import Grid, Volume, read_labels
from common.errors import InputError


def read_label_map(path: Path) -> Volume:
    """A label map as axial slices (D, H, W) of integers: see `common.data.volumes.read_labels`.

    Raises:
        InputError: missing or broken file, not three-dimensional, or values that are no labels.
    """
    return _read_nrrd(path) if path.name.lower().endswith(".nrrd") else read_labels(path)


def _read_nrrd(path: Path) -> Volume:
    import itk

    try:
        image = itk.imread(str(path))
        stored = np.transpose(itk.array_from_image(image))  # ITK's arrays run (z, y, x)
    except (RuntimeError, KeyError) as error:
        raise InputError(
            f"{path}: cannot be read as NRRD, the file is broken or no label map; write it again."
        ) from error
    if stored.ndim != 3 or stored.dtype.kind not in "iu" or stored.min() < 0:
        raise InputError(
            f"{path}: found {stored.ndim} axes of {stored.dtype}, expected three of whole numbers from 0; "
            "give a label map of one volume."
        )
    affine = np.eye(4)
    affine[:3, :3] = itk.array_from_matrix(image.GetDirection()) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine  # ITK's world is LPS+, ours RAS+
    grid = Grid(path, stored.shape, affine, nib.Nifti1Header())
    slices = np.ascontiguousarray(orientations.apply_orientation(stored, grid.to_slices))
    spacing = np.asarray(image.GetSpacing())[np.argsort(grid.to_slices[:, 0])]
    return Volume(slices, tuple(spacing.tolist()), grid)

"""Label maps as NRRD or MetaImage."""

import os

import numpy as np

from ..files import atomic_path
from .itk_reader import RAS_FROM_LPS
from .volumes import Volume


def write_labels_itk(path: str | os.PathLike[str], slices: np.ndarray, *, like: Volume) -> None:
    """Write a label map (D, H, W) uint8 in the stored grid of `like`, in the format that the ending says.

    Args:
        path: ends in .nrrd or .mha.
    """
    import itk  # takes seconds to load, which NIfTI needs not

    image = itk.image_from_array(np.ascontiguousarray(like.to_stored(slices.astype(np.uint8)).transpose()))
    affine = RAS_FROM_LPS @ like.grid.affine
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing(spacing)
    image.SetOrigin(affine[:3, 3])
    image.SetDirection(itk.matrix_from_array(affine[:3, :3] / spacing))
    with atomic_path(path) as temporary:
        itk.imwrite(image, str(temporary), compression=True)

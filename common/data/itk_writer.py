"""Label maps as NRRD or MetaImage."""

import os
from typing import Any

import numpy as np

from ..files import atomic_path, utf8_path
from .itk_reader import RAS_FROM_LPS
from .volumes import Volume


def write_labels_itk(path: str | os.PathLike[str], slices: np.ndarray, *, like: Volume) -> None:
    """Write a label map (D, H, W) uint8 in the stored grid of `like`, in the format that the ending says.

    Args:
        path: ends in .nrrd or .mha.

    Raises:
        OSError: no space or permission.
    """
    import itk  # takes seconds to load, which NIfTI needs not

    labels = np.ascontiguousarray(like.to_stored(slices.astype(np.uint8)).transpose())
    image = itk.image_from_array(labels)
    affine = RAS_FROM_LPS @ like.grid.affine
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing(spacing)
    image.SetOrigin(affine[:3, 3])
    image.SetDirection(itk.matrix_from_array(affine[:3, :3] / spacing))
    with atomic_path(path) as temporary:
        place = temporary.with_name(
            f"labels{temporary.suffix}"
        )  # ITK takes no name with bytes that are no UTF-8
        try:
            with utf8_path(place) as plain:
                if not _written(image, labels, str(plain)):
                    raise OSError(f"ITK did not write all of {temporary.name}")
            os.replace(place, temporary)
        finally:
            place.unlink(missing_ok=True)


def _written(image: Any, labels: np.ndarray, path: str) -> bool:
    """Write it and look: on a full disk ITK's NRRD writer may leave a part of the file and not say so."""
    import itk

    try:
        itk.imwrite(image, path, compression=True)
        return np.array_equal(itk.array_from_image(itk.imread(path)), labels)
    except RuntimeError:  # ITK's for all that goes wrong
        return False

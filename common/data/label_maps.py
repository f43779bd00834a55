"""One door to label maps in any format: NIfTI, NRRD, MetaImage and PNG."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..errors import InputError
from .affines import check_same_place
from .images import ENDINGS as IMAGE_ENDINGS
from .images import read_pixel_numbers
from .itk_files import ENDINGS as ITK_ENDINGS
from .itk_files import read_itk_voxels
from .readers import NIFTI_ENDINGS, ending_of
from .volumes import Volume, read_voxels

ENDINGS = (*NIFTI_ENDINGS, *ITK_ENDINGS, ".png")
WHOLE = 1e-3  # scale factors in a header and resampling may leave rounding errors such as 0.9999


def read_label_map(path: str | os.PathLike[str], *, like: Volume | None = None) -> Volume:
    """Read a label map; its slices (D, H, W) are int32, 0 for background.

    Args:
        path: ends in one of `ENDINGS`; the labels of a PNG are its grey values or palette numbers.
        like: the image, or another label map, whose grid it must have, see `check_same_grid`.

    Raises:
        InputError: missing or broken file, another format, more than one channel, a value that is negative or
            no whole number, or another grid.
    """
    path = Path(path)
    volume = _read(path)
    labels = replace(volume, slices=_whole_numbers(path, volume.slices))
    if like is not None:
        check_same_grid(labels, like)
    return labels


def check_same_grid(labels: Volume, image: Volume) -> None:
    """Check that voxel (d, h, w) of `labels.slices` is the same place as in `image.slices`.

    Files that store the same grid in different axis orders pass. So do grids that differ by rounding, with a
    warning: see `check_same_place`.

    Raises:
        InputError: the shapes or the affines differ, or one of them has no place in space (PNG, JPEG).
    """
    path, other = labels.grid.path, image.grid.path
    advice = f"resample {path} to the image with nearest neighbours."
    if labels.in_mm != image.in_mm:
        flat, volume = (other, path) if labels.in_mm else (path, other)
        raise InputError(
            f"{path}: found labels for the image {other}, but {flat} has only pixels and {volume} has a "
            "position in space, expected the same grid; convert one of them."
        )
    if labels.slices.shape != image.slices.shape:
        what, axes = (
            ("voxels (slices x rows x columns)", 0) if image.in_mm else ("pixels (rows x columns)", 1)
        )
        raise InputError(
            f"{path}: the labels have {_times(labels.slices.shape[axes:])} {what} and the image {other} has "
            f"{_times(image.slices.shape[axes:])}, expected the same grid; {advice}"
        )
    if image.in_mm:
        check_same_place(path, labels.affine, other, image.affine, image.slices.shape)


def _read(path: Path) -> Volume:
    if ending_of(path, NIFTI_ENDINGS):
        return read_voxels(path)
    if ending_of(path, ITK_ENDINGS):
        return read_itk_voxels(path)
    if ending_of(path, IMAGE_ENDINGS):
        return read_pixel_numbers(path)
    raise InputError(
        f"{path}: found the ending '{path.suffix}', expected a label map ({', '.join(ENDINGS)}); convert it."
    )


def _whole_numbers(path: Path, stored: np.ndarray) -> np.ndarray:
    """The numbers as int32."""
    wrong = (stored < 0) | (stored > np.iinfo(np.int32).max)
    labels = stored
    if stored.dtype.kind == "f":
        labels = np.rint(stored)
        wrong |= ~np.isclose(stored, labels, rtol=0, atol=WHOLE)  # NaN is never close
    if wrong.any():
        raise InputError(
            f"{path}: a label map holds {stored[wrong].flat[0]:g}, expected whole numbers from 0 up; "
            "give a label map, not an image or a probability map."
        )
    return labels.astype(np.int32)


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))

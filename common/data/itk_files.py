"""Volumes from NRRD and MetaImage files, and from any voxels with an affine; label maps as such files."""

import logging
import os
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel import orientations

from ..errors import InputError
from ..files import atomic_path, utf8_path
from ..machine import check_memory
from .affines import check_affine
from .itk_headers import check_itk_header
from .volumes import Grid, Volume

ENDINGS = (".nrrd", ".nhdr", ".mha", ".mhd")
RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # ITK and DICOM point to left and posterior
# ITK's names of types, and what reads them as they are. Its wheels lack others: double holds them to 2^53.
EXACT_TYPES = {"unsigned_char": "UC", "short": "SS", "unsigned_short": "US"}

_log = logging.getLogger(__name__)


def read_itk(path: str | os.PathLike[str]) -> Volume:
    """Read a scalar volume from NRRD (.nrrd, .nhdr) or MetaImage (.mha, .mhd), as float32.

    Raises:
        InputError: missing or broken file, not three-dimensional, more than one channel, or no finite voxel.
    """
    return volume_from_array(path, *_read(Path(path)))


def read_itk_voxels(path: str | os.PathLike[str]) -> Volume:
    """Read the numbers of a scalar volume from NRRD or MetaImage: 8 or 16 bits as they are, others float64.

    Raises:
        InputError: missing or broken file, not three-dimensional, or more than one channel.
    """
    return volume_of(path, *_read(Path(path), exact=True))


def _read(path: Path, *, exact: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Voxels (X, Y, Z) as float32, or as what holds each number exactly, and their affine to RAS+ mm."""
    import itk  # takes seconds to load, which NIfTI needs not

    if not path.is_file():
        raise InputError(f"{path}: no such file; give a file that ends in {', '.join(ENDINGS)}.")
    check_itk_header(path)
    try:
        with utf8_path(path) as plain:
            header = itk.ImageIOFactory.CreateImageIO(str(plain), itk.CommonEnums.IOFileMode_ReadMode)
            header.SetFileName(str(plain))
            header.ReadImageInformation()
            _check_shape(path, header)
            component = header.GetComponentTypeAsString(header.GetComponentType())
            pixel_type = getattr(itk, EXACT_TYPES.get(component, "D") if exact else "F")
            reader = itk.ImageFileReader[itk.Image[pixel_type, 3]].New(FileName=str(plain))
            reader.Update()
            image = reader.GetOutput()
    except (RuntimeError, AttributeError) as error:  # AttributeError: no reader felt responsible
        raise InputError(
            f"{path}: cannot be read as {path.suffix[1:].upper()} ({_reason(error)}), so the file is broken, "
            "cut off or of another kind; export it again."
        ) from error
    affine = np.eye(4)
    affine[:3, :3] = itk.array_from_matrix(image.GetDirection()) * np.asarray(image.GetSpacing())
    affine[:3, 3] = np.asarray(image.GetOrigin())
    stored = itk.array_from_image(image).transpose()  # ITK's arrays are (Z, Y, X)
    return stored, RAS_FROM_LPS @ affine


def _check_shape(path: Path, header: Any) -> None:
    """Refuse what is no volume of one channel; axes of length 1 behind the third are none.

    Raises:
        InputError: another number of axes or channels, or more voxels than memory holds.
    """
    channels = header.GetNumberOfComponents()
    shape = [header.GetDimensions(axis) for axis in range(header.GetNumberOfDimensions())]
    if len(shape) < 3 or any(length != 1 for length in shape[3:]) or channels != 1:
        raise InputError(
            f"{path}: the image has {len(shape)} axes and {channels} channels, expected "
            "three axes and one channel; give one volume of slices."
        )
    check_memory(path, shape[:3])


def volume_from_array(path: str | os.PathLike[str], stored: np.ndarray, affine: np.ndarray) -> Volume:
    """Volume of voxels (X, Y, Z) float32 and an affine to RAS+ mm, from anything but NIfTI.

    Its masks are written as NIfTI with the same affine. Voxels that are not finite become the smallest
    finite value, with a warning.

    Args:
        path: where they came from, for messages.

    Raises:
        InputError: the affine is singular, or no voxel is finite.
    """
    finite = np.isfinite(stored)
    if not finite.any():
        raise InputError(
            f"{path}: no voxel holds a finite number (all NaN or infinite); export the image again."
        )
    if not finite.all():
        stored = np.where(finite, stored, stored[finite].min())
        _log.warning(
            "%s: %d voxels are NaN or infinite; they were set to the minimum.", path, (~finite).sum()
        )
    return volume_of(path, stored, affine)


def volume_of(path: str | os.PathLike[str], stored: np.ndarray, affine: np.ndarray) -> Volume:
    """As `volume_from_array`, of numbers of any type, which stay as they are.

    Raises:
        InputError: the affine is singular.
    """
    path = Path(path)
    check_affine(path, affine)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    grid = Grid(path, _three(stored.shape), affine, _header(stored.shape, affine))
    slices = np.ascontiguousarray(orientations.apply_orientation(stored, grid.to_slices))
    # Which stored axis became which of (D, H, W): row i of the transform says where stored axis i went.
    sizes = np.empty(3)
    sizes[grid.to_slices[:, 0].astype(int)] = spacing
    return Volume(slices, (float(sizes[0]), float(sizes[1]), float(sizes[2])), grid)


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
        # ITK takes no name with bytes that are no UTF-8
        place = temporary.with_name(f"labels{temporary.suffix}")
        try:
            with utf8_path(place) as plain:
                if not _written(image, labels, str(plain)):
                    raise OSError(f"ITK did not write all of {temporary.name}")
            os.replace(place, temporary)
        finally:
            place.unlink(missing_ok=True)


def _header(shape: tuple[int, ...], affine: np.ndarray) -> nib.Nifti1Header:
    """NIfTI header with the affine as sform, and as qform too where its axes are orthogonal."""
    image = nib.Nifti1Image(np.broadcast_to(np.uint8(0), shape), affine)
    image.set_sform(affine, code="scanner")
    cosines = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    orthogonal = np.allclose(cosines.T @ cosines, np.eye(3), atol=1e-4)
    image.set_qform(affine if orthogonal else None, code="scanner" if orthogonal else "unknown")
    image.header.set_xyzt_units("mm")
    return image.header


def _three(shape: tuple[int, ...]) -> tuple[int, int, int]:
    x, y, z = shape
    return x, y, z


def _reason(error: Exception) -> str:
    """The last line of an ITK error, which says what was wrong after where in the source it was noticed."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else type(error).__name__


def _written(image: Any, labels: np.ndarray, path: str) -> bool:
    """Write it and look: on a full disk ITK's NRRD writer may leave a part of the file and not say so."""
    import itk

    try:
        itk.imwrite(image, path, compression=True)
        return np.array_equal(itk.array_from_image(itk.imread(path)), labels)
    except RuntimeError:  # ITK's for all that goes wrong
        return False

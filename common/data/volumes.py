"""Volumes in one anatomical axis order, and label maps written back in exactly the grid they came from."""

import logging
import math
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel import orientations

from ..errors import InputError
from ..files import atomic_path
from ..machine import check_memory
from .integrity import DEFLATE_RATIO, check_bytes, opened_whole
from .nifti_headers import check_stored_header, nibabel_speaks_of, world_affine

AXES = ("S", "P", "L")  # D ends superior, H ends posterior, W ends at the patient's left
_UNREADABLE = (
    nib.filebasedimages.ImageFileError,
    nib.spatialimages.HeaderDataError,
    OSError,
    EOFError,
    ValueError,
    zlib.error,
)
# The header fields that place voxels in the world. Copied one by one, they come back bit for bit.
_GEOMETRY_FIELDS = (
    "pixdim",
    "xyzt_units",
    "qform_code",
    "sform_code",
    *(f"quatern_{axis}" for axis in "bcd"),
    *(f"qoffset_{axis}" for axis in "xyz"),
    *(f"srow_{axis}" for axis in "xyz"),
)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Grid:
    """Where the voxels of a stored volume lie.

    Attributes:
        path: the file (or folder) that the volume came from, for messages.
        shape: the three stored axis lengths, in the file's own axis order.
        affine: (4, 4) float64, stored voxel indices to world coordinates in mm, RAS+.
        header: NIfTI header whose geometry a label map of this grid gets.
    """

    path: Path
    shape: tuple[int, int, int]
    affine: np.ndarray
    header: nib.Nifti1Header

    @property
    def to_slices(self) -> np.ndarray:
        """(3, 2) nibabel orientation transform from the stored axes to `AXES` (closest axes if oblique)."""
        return orientations.ornt_transform(
            orientations.io_orientation(self.affine), orientations.axcodes2ornt(AXES)
        )

    @property
    def to_stored(self) -> np.ndarray:
        """(3, 2) nibabel orientation transform from `AXES` back to the stored axes."""
        return orientations.ornt_transform(
            orientations.axcodes2ornt(AXES), orientations.io_orientation(self.affine)
        )


@dataclass(frozen=True)
class Volume:
    """A scalar volume as axial slices, with the grid that it was stored in.

    Attributes:
        slices: (D, H, W), D inferior to superior, H anterior to posterior, W patient's right to left.
            In an oblique grid these are the closest of its own axes; nothing is resampled.
        spacing_mm: voxel size along (D, H, W).
        grid: the stored grid.
    """

    slices: np.ndarray
    spacing_mm: tuple[float, float, float]
    grid: Grid

    @property
    def value_range(self) -> tuple[float, float] | None:
        """Intensities from black to white of what has been windowed before it was stored (PNG, JPEG)."""
        return None

    @property
    def in_mm(self) -> bool:
        """Whether `spacing_mm` is known: 2D images have pixels alone."""
        return True

    @property
    def in_colour(self) -> bool:
        """Whether there are colours beside the grey values of `slices`."""
        return False

    def planes(self, indices: Sequence[int], *, colour: str = "grey") -> np.ndarray:
        """(B, H, W) of some slices: grey values, or those of a colour ("red", "green", "blue")."""
        if colour != "grey":
            raise ValueError(f"{self.grid.path} has only grey values, but {colour} was requested.")
        return np.stack([self.slices[index] for index in indices])

    def shown(self, index: int) -> np.ndarray:
        """A slice as a viewer shows it: (H, W) intensities, or (H, W, 3) uint8 colours."""
        shown: np.ndarray = self.slices[index]
        return shown

    @property
    def affine(self) -> np.ndarray:
        """(4, 4) float64, indices of `slices` (d, h, w, 1) to world coordinates in mm, RAS+."""
        return self.grid.affine @ orientations.inv_ornt_aff(self.grid.to_slices, self.grid.shape)

    def to_stored(self, slices: np.ndarray) -> np.ndarray:
        """Bring an array (D, H, W) like `slices` into the file's own axis order (X, Y, Z), as a view.

        Raises:
            InputError: the shape is not that of `self.slices`.
        """
        if slices.shape != self.slices.shape:
            raise InputError(
                f"{self.grid.path}: an array of shape {slices.shape} was given for slices of shape "
                f"{self.slices.shape}; give one value for each voxel."
            )
        return orientations.apply_orientation(slices, self.grid.to_stored)


def read_volume(path: str | os.PathLike[str]) -> Volume:
    """Read an image from a NIfTI file (.nii, .nii.gz) of any orientation, spacing and numeric type.

    Values are float32 and scaled as the header says. Voxels that are not finite become the smallest
    finite value, with a warning that counts them.

    Raises:
        InputError: missing or broken file, not three-dimensional, more than memory holds, no usable affine,
            or no finite voxel.
    """
    stored, grid = _read(Path(path), np.float32)
    finite = np.isfinite(stored)
    if not finite.any():
        raise InputError(
            f"{path}: no voxel holds a finite number (all NaN or infinite); export the image again."
        )
    if not finite.all():
        lowest = stored[finite].min()
        stored[~finite] = lowest
        _log.warning(
            "%s: %d voxels are NaN or infinite; they were set to the image's minimum, %g.",
            path,
            np.count_nonzero(~finite),
            lowest,
        )
    return _volume(stored, grid)


def read_voxels(path: str | os.PathLike[str]) -> Volume:
    """Read the numbers of a NIfTI file, scaled as its header says, in whatever type that gives.

    Raises:
        InputError: missing or broken file, not three-dimensional, or no usable affine.
    """
    return _volume(*_read(Path(path), None))


def write_labels(path: str | os.PathLike[str], slices: np.ndarray, *, like: Volume) -> None:
    """Write a label map (D, H, W) as a uint8 NIfTI in the stored grid of `like`.

    Axis order, shape, qform, sform, both codes and the units come back as they were, bit for bit. A
    stored fourth axis of length 1 is dropped: the label map is three-dimensional.

    Raises:
        InputError: `path` is not named .nii or .nii.gz, shapes differ, or a value is no integer in 0..255.
    """
    if not str(path).endswith((".nii", ".nii.gz")):
        raise InputError(
            f"{path}: label maps are written as NIfTI; give a name that ends in .nii.gz or .nii."
        )
    if slices.dtype.kind not in "bui":
        raise InputError(f"{path}: labels of type {slices.dtype} were given to write; give whole numbers.")
    if slices.size and (slices.min() < 0 or slices.max() > 255):
        raise InputError(
            f"{path}: labels from {slices.min()} to {slices.max()} were given to write, but a uint8 label "
            "map holds 0 to 255; use fewer labels or number them anew."
        )
    source = like.grid.header
    header = type(source)()
    for field in _GEOMETRY_FIELDS:
        header[field] = source[field]
    header.set_data_dtype(np.uint8)
    kind = nib.Nifti2Image if isinstance(source, nib.Nifti2Header) else nib.Nifti1Image
    image = kind(like.to_stored(slices.astype(np.uint8)), None, header)
    with atomic_path(path) as temporary:
        # gzip at nibabel's level 1; level 6 takes twice as long for half the size (tools.benchmark writing)
        nib.save(image, temporary)


def _read(path: Path, dtype: Any) -> tuple[np.ndarray, Grid]:
    """Stored values (X, Y, Z), scaled, of `dtype` (None: what header and scaling give), and their grid."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; give a NIfTI file (.nii or .nii.gz).")
    # numbers beyond float32 become infinite without a word of numpy's: readers count them
    with nibabel_speaks_of(path), np.errstate(all="ignore"):
        return _read_nifti(path, dtype)


def _read_nifti(path: Path, dtype: Any) -> tuple[np.ndarray, Grid]:
    with _unreadable_is_input_error(path):
        check_stored_header(path)
        image = nib.load(path, mmap=False)
    if not isinstance(image, nib.Nifti1Image):
        raise InputError(
            f"{path}: this is {type(image).__name__}, expected one NIfTI file; convert it to .nii.gz."
        )
    shape = _spatial_shape(path, image.shape)
    if image.get_data_dtype().kind not in "buif":
        raise InputError(
            f"{path}: voxels are of type {image.get_data_dtype()}, expected one real number for each voxel; "
            "convert the image to one grey channel."
        )
    _check_length(path, image)
    check_memory(path, shape)
    affine = world_affine(path, image.header)
    return _stored(path, image, dtype).reshape(shape), Grid(path, shape, affine, image.header)


def _stored(path: Path, image: nib.Nifti1Image, dtype: Any) -> np.ndarray:
    """The voxels, of which a compressed stream's checksum is checked."""
    with _unreadable_is_input_error(path), opened_whole(path) as stream:
        file: Any = stream
        whole = type(image).from_file_map({"image": nib.FileHolder(fileobj=file)}, mmap=False)
        return np.asarray(whole.dataobj, dtype=dtype)


def _check_length(path: Path, image: nib.Nifti1Image) -> None:
    """Refuse a header that announces more voxels than the file can hold, before memory is taken for them."""
    announced, size = math.prod(image.shape) * image.get_data_dtype().itemsize, path.stat().st_size
    voxels: Any = image.dataobj  # the header's own offset is 0 once nibabel has read it
    if not path.name.lower().endswith(".gz"):
        check_bytes(path, size - voxels.offset, announced)
    elif announced > size * DEFLATE_RATIO:
        raise InputError(
            f"{path}: cannot be read as NIfTI (its header announces {announced:,} bytes of voxels, more "
            "than it can hold), so the file is broken, cut off or of another kind; give a whole .nii or "
            ".nii.gz file."
        )


@contextmanager
def _unreadable_is_input_error(path: Path) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except _UNREADABLE as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(
            f"{path}: cannot be read as NIfTI ({reason}), so the file is broken, cut off or of another kind; "
            "give a whole .nii or .nii.gz file."
        ) from error


def _spatial_shape(path: Path, shape: tuple[int, ...]) -> tuple[int, int, int]:
    if len(shape) < 3 or any(length != 1 for length in shape[3:]):
        raise InputError(
            f"{path}: the image has shape {_times(shape)}, expected three axes, or four with one channel; "
            "give one volume of slices."
        )
    if min(shape) < 1:  # NIfTI-2 has signed lengths of 64 bits
        raise InputError(
            f"{path}: the image has shape {_times(shape)}, with an axis of no voxels; export it again."
        )
    return shape[0], shape[1], shape[2]


def _volume(stored: np.ndarray, grid: Grid) -> Volume:
    slices = np.ascontiguousarray(orientations.apply_orientation(stored, grid.to_slices))
    volume = Volume(slices, (1.0, 1.0, 1.0), grid)
    depth, height, width = (float(size) for size in nib.affines.voxel_sizes(volume.affine))
    return Volume(slices, (depth, height, width), grid)


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))

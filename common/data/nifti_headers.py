"""What headers of NIfTI say, checked as they stand there: nibabel mends them, and guesses."""

import logging
import math
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import nibabel as nib
import numpy as np

from ..errors import InputError
from .affines import check_affine, check_sizes, no_orientation, warn_if_forms_differ
from .integrity import opened

EXTENDER_BYTES = 4  # behind the header; they say whether there are extensions
EXTENSION_HEAD = 8  # bytes: size and kind
EXTENSION_UNIT = 16  # bytes: sizes are multiples of it
KNOWN_CODES = range(1, 6)  # of forms; nibabel takes any other for 0, which is "unknown"
_MM_PER_UNIT = {1: 1000.0, 3: 1e-3}  # NIfTI's codes of m and um; all others (2 is mm, 0 unknown) count as mm

_log = logging.getLogger(__name__)


def check_stored_header(path: Path) -> None:
    """Check what the header says where nibabel would guess: place of the voxels, their size, rotation.

    Raises:
        InputError: an offset into the header or its extensions, or, where the affine is the qform, voxel
            sizes of 0 or numbers that are no rotation.
        OSError, EOFError, zlib.error: the file cannot be read.
    """
    with opened(path) as stream:
        header = _stored_header(stream)
        if header is None:
            return  # nibabel says what it is
        offset, begins = float(header["vox_offset"]), header.single_vox_offset
        if not (math.isfinite(offset) and offset >= begins):
            raise InputError(
                f"{path}: its header says that the voxels begin at byte {offset:g} (vox_offset), expected "
                f"byte {begins}, where the header ends, or later; export the image again."
            )
        _check_extensions(path, stream, header, int(offset))
    if _is_set(header, "qform") and not _is_set(header, "sform"):
        check_sizes(path, [abs(float(size)) for size in header["pixdim"][1:4]])
        if not _is_rotation(header):
            b, c, d = (float(header[f"quatern_{axis}"]) for axis in "bcd")
            raise InputError(
                f"{path}: its qform is not a rotation (quaternion b {b:g}, c {c:g}, d {d:g}, expected "
                "squares that add up to 1 or less), so the positions of voxels are unknown; convert the "
                "series again from DICOM."
            )


def world_affine(path: Path, header: nib.Nifti1Header) -> np.ndarray:
    """(4, 4) stored indices to RAS+ mm: the sform if its code is set, otherwise the qform.

    Raises:
        InputError: neither code is set, or the affine is none.
    """
    sform, qform = _is_set(header, "sform"), _is_set(header, "qform")
    if not sform and not qform:
        raise no_orientation(path, "the affine is missing (qform and sform codes are both 0)")
    affine = np.asarray(header.get_best_affine(), dtype=np.float64)
    check_affine(path, affine)
    if sform and qform:
        if _is_rotation(header):
            warn_if_forms_differ(path, affine, header.get_qform(), header.get_data_shape())
        else:
            _log.warning("%s: the qform is not a rotation; the sform is used.", path)
    unit = int(header["xyzt_units"]) % 8  # the bits above are the unit of time, in any number
    return np.diag([*[_MM_PER_UNIT.get(unit, 1.0)] * 3, 1.0]) @ affine


@contextmanager
def nibabel_speaks_of(path: Path) -> Iterator[None]:
    """Hold back what nibabel logs in this thread, and log it as one warning that names the file."""
    said: dict[str, None] = {}
    thread = threading.get_ident()

    def collect(record: logging.LogRecord) -> bool:
        if record.thread != thread:
            return True
        said[record.getMessage()] = None
        return False

    logger = nib.imageglobals.logger
    logger.addFilter(collect)
    try:
        yield
    finally:
        logger.removeFilter(collect)
    if said:
        _log.warning("%s: its header is unusual (%s).", path, "; ".join(said))


def _stored_header(stream: BinaryIO) -> nib.Nifti1Header | None:
    """The header as it stands there; None where it is not that of one file with header and voxels."""
    head = stream.read(nib.Nifti2Header.template_dtype.itemsize)
    for kind in (nib.Nifti1Header, nib.Nifti2Header):
        size = kind.template_dtype.itemsize
        if len(head) >= size and kind.may_contain_header(head[:size]):
            stream.seek(size)
            header = kind(head[:size], check=False)
            return header if header["magic"].item() == kind.single_magic else None
    return None


def _check_extensions(path: Path, stream: BinaryIO, header: nib.Nifti1Header, offset: int) -> None:
    """Refuse extensions, which stand between header and voxels, that reach into the voxels."""
    if stream.read(EXTENDER_BYTES)[:1] in (b"", b"\0"):
        return
    warnings.filterwarnings("ignore", "Extension size is not", module="nibabel")  # it names no file
    at = stream.tell()
    order: Any = "little" if header.endianness == "<" else "big"
    while at + EXTENSION_UNIT <= offset:  # fewer bytes fill up
        size = int.from_bytes(stream.read(EXTENSION_HEAD)[:4], order, signed=True)
        if not EXTENSION_HEAD <= size <= offset - at:
            raise InputError(
                f"{path}: its header has an extension of {size} bytes at byte {at}, expected it to end "
                f"before the voxels, which begin at byte {offset} (vox_offset); export the image again."
            )
        if size % EXTENSION_UNIT:
            _log.warning(
                "%s: its header has an extension of %d bytes, expected a multiple of %d; its voxels are read "
                "from where the header says.",
                path,
                size,
                EXTENSION_UNIT,
            )
        at += size
        stream.seek(at)


def _is_set(header: nib.Nifti1Header, form: str) -> bool:
    return int(header[f"{form}_code"]) in KNOWN_CODES


def _is_rotation(header: nib.Nifti1Header) -> bool:
    """Whether the numbers of the qform are those of a quaternion of unit length."""
    if not all(math.isfinite(float(header[f"quatern_{axis}"])) for axis in "bcd"):
        return False
    try:
        header.get_qform_quaternion()
    except ValueError:
        return False
    return True

"""Single DICOM files: whether a file is one, of which class, and its header without the pixels."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.uid import (
    UID,
    CTImageStorage,
    EnhancedCTImageStorage,
    EnhancedMRImageStorage,
    EnhancedPETImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    LegacyConvertedEnhancedCTImageStorage,
    LegacyConvertedEnhancedMRImageStorage,
    LegacyConvertedEnhancedPETImageStorage,
    MRImageStorage,
    PositronEmissionTomographyImageStorage,
)

from ..errors import InputError
from .dicom_remarks import counted_remarks, hush_pydicom

SLICE_CLASSES = {CTImageStorage: "CT", MRImageStorage: "MR", PositronEmissionTomographyImageStorage: "PT"}
MULTI_FRAME_CLASSES = {
    EnhancedCTImageStorage: "CT",
    EnhancedMRImageStorage: "MR",
    EnhancedPETImageStorage: "PT",
    LegacyConvertedEnhancedCTImageStorage: "CT",
    LegacyConvertedEnhancedMRImageStorage: "MR",
    LegacyConvertedEnhancedPETImageStorage: "PT",
}
IMAGE_CLASSES = {**SLICE_CLASSES, **MULTI_FRAME_CLASSES}
UNREADABLE = (
    *(InvalidDicomError, BytesLengthException, OSError, EOFError),
    *(ValueError, TypeError, AttributeError, NotImplementedError, LookupError, OverflowError),
)
PREAMBLE = 128  # bytes before the letters DICM
# A file without preamble begins with a small element of group 2 or 8, whose value is short.
_FIRST_GROUPS = (b"\x02\x00", b"\x08\x00", b"\x00\x08")
_KIND_OF_VALUE = re.compile(rb"[A-Z]{2}")


@dataclass(frozen=True)
class DicomFile:
    """A file as far as it is read without its pixels.

    Attributes:
        path: the file.
        header: all elements before the pixels; its file_meta says class and transfer syntax.
        start: the 12 bytes with the pixels' tag, type (but in implicit VR) and length; b"" without pixels.
        held: bytes from the pixels' tag to the end of the file.
        remarks: how often pydicom found something odd.
    """

    path: Path
    header: pydicom.Dataset
    start: bytes
    held: int
    remarks: int

    @property
    def sop_class(self) -> UID:
        return UID(self.header.file_meta.MediaStorageSOPClassUID)


def modality_of(header: pydicom.Dataset) -> str:
    """CT, MR or PT, by the class of an image that `read_file` has read."""
    return IMAGE_CLASSES[header.file_meta.MediaStorageSOPClassUID]


def is_dicom(path: Path) -> bool:
    """Whether a file has the letters DICM after a preamble, or begins as old files do that have none."""
    try:
        with path.open("rb") as file:
            start = file.read(PREAMBLE + 4)
    except OSError:
        return False
    return start[PREAMBLE:] == b"DICM" or _begins_as_elements(start)


def _begins_as_elements(start: bytes) -> bool:
    """Whether bytes are a first element of a header: its tag, and a type or the length of a short value."""
    if len(start) < PREAMBLE or start[:2] not in _FIRST_GROUPS:
        return False
    big = start[:2] == b"\x00\x08"
    element = int.from_bytes(start[2:4], "big" if big else "little")
    length = int.from_bytes(start[4:8], "little")
    short = not big and 0 < length <= PREAMBLE and length % 2 == 0
    return element <= 0x18 and (short or _KIND_OF_VALUE.match(start[4:6]) is not None)


def class_of(path: Path) -> str:
    """The UID of a file's class, or "" where it cannot be read."""
    hush_pydicom()
    try:
        uid = read_file_meta_info(path).get("MediaStorageSOPClassUID") if _has_preamble(path) else None
        if not uid:
            uid = pydicom.dcmread(path, force=True, specific_tags=["SOPClassUID"]).get("SOPClassUID")
    except UNREADABLE:
        return ""
    return str(uid or "")


def _has_preamble(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(PREAMBLE + 4)[PREAMBLE:] == b"DICM"


def class_name(uid: str) -> str:
    """The standard's name of a class; no other text from a file is repeated."""
    known = UID(uid)
    return known.name if known.is_valid and known.name != known else "an unknown class"


def read_file(path: Path) -> DicomFile:
    """Read all of a file but its pixels.

    Raises:
        InputError: it cannot be read, or does not say what it is.
    """
    with counted_remarks() as remarks:
        try:
            with path.open("rb") as file:
                header = pydicom.dcmread(file, stop_before_pixels=True, force=not _has_preamble(path))
                held = os.fstat(file.fileno()).st_size - file.tell()
                start = file.read(12)
            _complete_meta(header)
        except UNREADABLE as error:
            # the error's own words may quote the header
            raise InputError(
                f"{path}: cannot be read as DICOM ({_reason(error)}), so the file is broken or cut off; copy "
                "it again."
            ) from None
    return DicomFile(path, header, start, held, remarks[0])


def _complete_meta(header: pydicom.Dataset) -> None:
    """Add to file_meta what files without it say elsewhere: the class, and how their elements are written."""
    meta = header.file_meta
    if not meta.get("MediaStorageSOPClassUID"):
        if not header.get("SOPClassUID"):
            raise EOFError("it does not say what it is")
        meta.MediaStorageSOPClassUID = header.SOPClassUID
    if not meta.get("TransferSyntaxUID"):
        if hasattr(header, "original_encoding"):
            implicit, little = header.original_encoding
        else:  # pydicom 2, in MONAI Label's environment
            implicit, little = header.read_implicit_vr, header.read_little_endian
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, EOFError):
        return "it does not say what it is, or ends too early"
    return "an element of its header is malformed"

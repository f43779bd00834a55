"""The pixel module of DICOM slices (PS3.3 C.7.6.3, C.7.5.1.1.2, C.11.1), judged before it is decoded."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pydicom

from ..errors import InputError
from .dicom_files import SLICE_CLASSES, DicomFile, class_name, modality_of
from .dicom_frames import is_multi_frame
from .dicom_geometry import Slice
from .dicom_values import has, integer, numbers, text

UNDEFINED = b"\xff" * 4  # length of compressed pixels, which end with a delimiter
GREY = ("MONOCHROME1", "MONOCHROME2")  # which differ in how values are shown, not in what they mean
BITS_ALLOCATED = (8, 16, 32)
_FLOAT_PIXELS = (b"\xe0\x7f\x08\x00", b"\xe0\x7f\x09\x00")  # tags of Float and Double Float Pixel Data
_RESCALE = ("RescaleSlope", "RescaleIntercept")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PixelModule:
    """How a slice's bits mean values.

    Attributes:
        allocated: bits of a cell, 8, 16 or 32.
        stored: the lower bits that are the value; what lies above them means nothing.
        signed: whether these are a two's complement.
        slope, intercept: value = slope * stored value + intercept.
        padding: smallest and largest stored value of pixels that were never measured, inclusive, as a cell
            of all allocated bits reads; None where there are none.
    """

    allocated: int
    stored: int
    signed: bool
    slope: float
    intercept: float
    padding: tuple[int, int] | None


def pixel_module(one: Slice) -> PixelModule:
    """The pixel module of a slice.

    Raises:
        InputError: no grey pixels of whole numbers, a bit layout that the standard does not allow, or a
            modality LUT.
    """
    where, header = one.where, one.header
    shown = text(header, "PhotometricInterpretation")
    if integer(where, header, "SamplesPerPixel") != 1 or shown not in GREY:
        kind = "colours" if shown.startswith(("RGB", "YBR", "PALETTE")) else "no grey pixels"
        raise InputError(
            f"{where}: found {kind} (SamplesPerPixel, PhotometricInterpretation), expected one grey value a "
            "pixel (MONOCHROME1 or MONOCHROME2); give the original series."
        )
    allocated, stored, high, sign = (
        integer(where, header, keyword)
        for keyword in ("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation")
    )
    if allocated not in BITS_ALLOCATED or not 1 <= stored <= allocated or high != stored - 1:
        raise InputError(
            f"{where}: found BitsAllocated {allocated}, BitsStored {stored} and HighBit {high}, expected 8, "
            "16 or 32 allocated, no more of them stored, and the high bit one below BitsStored; export the "
            "series again."
        )
    if sign not in (0, 1):
        raise InputError(
            f"{where}: found the PixelRepresentation {sign}, expected 0 (unsigned) or 1 (signed); export the "
            "series again."
        )
    slope, intercept = _rescaling(one)
    return PixelModule(allocated, stored, sign == 1, slope, intercept, _padding(one, allocated, sign == 1))


def check_pixels(folder: Path, slices: Sequence[Slice]) -> None:
    """Check the pixel module of each slice, and that all of them or none say how values are rescaled.

    Raises:
        InputError: see `pixel_module`, or a rescaling that is missing.
    """
    for one in slices:
        pixel_module(one)
    told = [has(one.header, _RESCALE[0]) for one in slices]
    if any(told) and not all(told):
        without, other = slices[told.index(False)], slices[told.index(True)]
        raise InputError(
            f"{folder}: {without.name} has no RescaleSlope and RescaleIntercept and {other.name} has them, "
            "expected them in all slices or in none, since values of different slices would not be "
            "comparable; export the series again."
        )
    kind = modality_of(slices[0].header)
    if not any(told) and kind in ("CT", "PT"):
        unit = "Hounsfield units" if kind == "CT" else "activity"
        raise InputError(
            f"{folder}: found no RescaleSlope and RescaleIntercept in this {kind}, expected them in every "
            f"slice, since its values cannot be converted to {unit} without them; export the series again."
        )
    if kind == "CT" and not all(in_hounsfield(one.header) for one in slices):
        _log.warning(
            "%s: its RescaleType is not HU, so its values may not be Hounsfield units, which networks for CT "
            "expect; give the original series if this one is derived.",
            folder,
        )


def in_hounsfield(header: pydicom.Dataset) -> bool:
    """Whether values are HU: those of a CT are, unless it says otherwise."""
    return modality_of(header) == "CT" and text(header, "RescaleType") in ("", "HU")


def check_stored(file: DicomFile) -> None:
    """Refuse pixels that are none, cut off, or stored in another way than the transfer syntax says.

    Raises:
        InputError: one of these.
    """
    path, syntax = file.path, file.header.file_meta.TransferSyntaxUID
    if syntax.is_private or not syntax.is_transfer_syntax:
        raise InputError(
            f"{path}: found a transfer syntax that DICOM does not define, expected a standard one; export "
            "the series uncompressed."
        )
    if file.sop_class in SLICE_CLASSES and has(file.header, "NumberOfFrames"):
        frames = integer(path, file.header, "NumberOfFrames")
        if frames != 1:
            raise InputError(
                f"{path}: found {frames} frames in a file of one slice ({class_name(file.sop_class)}), "
                "expected one; export the series again."
            )
    if syntax.is_deflated:
        return
    if file.start[:4] in _FLOAT_PIXELS or has(file.header, "FloatPixelData"):
        raise InputError(
            f"{path}: found floating-point pixels (FloatPixelData), expected whole numbers (PixelData) as "
            "CT, MR and PET images have; export the series again."
        )
    encapsulated = (file.start[4:8] if syntax.is_implicit_VR else file.start[8:]) == UNDEFINED
    if syntax.is_compressed != encapsulated and file.held > 12:
        state = "compressed" if encapsulated else "uncompressed"
        raise InputError(
            f"{path}: found {state} pixels, expected those of its transfer syntax {syntax.name}; export the "
            "series again."
        )
    held = file.held - (8 if syntax.is_implicit_VR else 12)
    expected = 1 if syntax.is_compressed else _bytes_of_pixels(file)
    if held < expected:
        raise InputError(
            f"{path}: found {max(held, 0)} bytes after the header, expected {expected} for its pixels, so it "
            "is cut off; copy it again."
        )


def _bytes_of_pixels(file: DicomFile) -> int:
    sizes = [integer(file.path, file.header, name) for name in ("Rows", "Columns", "BitsAllocated")]
    frames = integer(file.path, file.header, "NumberOfFrames") if is_multi_frame(file.header) else 1
    return sizes[0] * sizes[1] * sizes[2] // 8 * frames


def _rescaling(one: Slice) -> tuple[float, float]:
    """Slope and intercept; (1, 0) where there are none."""
    if has(one.header, "ModalityLUTSequence"):
        raise InputError(
            f"{one.where}: found a table of modality values (ModalityLUTSequence), expected RescaleSlope and "
            "RescaleIntercept; export the series again."
        )
    told = [has(one.header, keyword) for keyword in _RESCALE]
    if not any(told):
        return 1.0, 0.0
    if not all(told):
        present, absent = (_RESCALE[told.index(state)] for state in (True, False))
        raise InputError(
            f"{one.where}: found {present} without {absent}, expected both; export the series again."
        )
    slope, intercept = (float(numbers(one.where, one.header, keyword, 1)[0]) for keyword in _RESCALE)
    if slope == 0:
        raise InputError(
            f"{one.where}: found a RescaleSlope of 0, which makes all values alike, expected another number; "
            "export the series again."
        )
    return slope, intercept


def _padding(one: Slice, allocated: int, signed: bool) -> tuple[int, int] | None:
    """Smallest and largest stored value that is padding; writers mix up the signs of these elements."""
    if not has(one.header, "PixelPaddingValue"):
        if has(one.header, "PixelPaddingRangeLimit"):
            raise InputError(
                f"{one.where}: found PixelPaddingRangeLimit without PixelPaddingValue, expected both; export "
                "the series again."
            )
        return None
    ends = [integer(one.where, one.header, "PixelPaddingValue")]
    if has(one.header, "PixelPaddingRangeLimit"):
        ends.append(integer(one.where, one.header, "PixelPaddingRangeLimit"))
    cells = [end % 2**allocated for end in ends]
    if signed:
        cells = [cell - 2**allocated if cell >= 2 ** (allocated - 1) else cell for cell in cells]
    return min(cells), max(cells)

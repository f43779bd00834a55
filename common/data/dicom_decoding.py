"""From the stored bits of DICOM slices to modality values: decode, keep the stored bits, rescale, pad."""

import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydicom
from pydicom.uid import MultiFrameGrayscaleWordSecondaryCaptureImageStorage, RLELossless, generate_uid

from ..errors import InputError
from .dicom_files import UNREADABLE
from .dicom_geometry import Slice
from .dicom_pixels import PixelModule, in_hounsfield, pixel_module
from .dicom_values import has

AIR_HU = -1000.0
# What a decoder needs to know; values are rescaled here, and never inverted for showing.
_COPIED = (
    *("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("SamplesPerPixel", "NumberOfFrames", "ExtendedOffsetTable", "ExtendedOffsetTableLengths"),
)

_log = logging.getLogger(__name__)


def modality_values(folder: Path, slices: Sequence[Slice]) -> np.ndarray:
    """(slices, rows, columns) float32: slope * stored value + intercept, in HU for CT.

    Whether small values are shown black or white (MONOCHROME1) changes nothing. Padding becomes background:
    the smallest other value, in CT no more than air.

    Raises:
        InputError: a file that cannot be decoded, or nothing but padding.
    """
    first = slices[0].header
    values = np.empty((len(slices), int(first.Rows), int(first.Columns)), np.float32)
    padded_as, excess = [], []
    cells, read = np.empty(0), None
    for index, one in enumerate(slices):
        if one.path != read:  # frames of one file follow each other
            cells, read = _cells(one.path, one.header), one.path
        module = pixel_module(one)
        cell = cells[(one.frame or 1) - 1]
        stored = _stored_bits(cell, module)
        values[index] = stored * module.slope + module.intercept
        padding = _is_padding(cell, stored, module)
        if _holds_more(cell, stored, padding, one.header):
            excess.append(one)
        if padding.any():
            padded_as.append(values[index][padding])
            values[index][padding] = np.nan
    if excess:
        _log.warning(
            "%s: %d slices (first %s) have bits set above BitsStored, which are ignored as the standard "
            "requires; if values look cut off, BitsStored is wrong, so export the series again.",
            folder,
            len(excess),
            excess[0].name,
        )
    if padded_as:
        _pad(folder, values, np.concatenate(padded_as), is_hu=in_hounsfield(first))
    return values


def _cells(path: Path, header: pydicom.Dataset) -> np.ndarray:
    """(frames, rows, columns) as stored, with whatever lies above the stored bits where it was kept."""
    syntax = header.file_meta.TransferSyntaxUID
    try:
        file = pydicom.dcmread(path, force=True)
        file.file_meta = header.file_meta
        by_gdcm = syntax.is_encapsulated and syntax != RLELossless  # GDCM cannot read all RLE, pydicom can
        decoded = _decompressed(file) if by_gdcm else _by_pydicom(file)
    except (*UNREADABLE, RuntimeError):  # whose words may quote the header
        raise InputError(
            f"{path}: the pixels cannot be decoded ({syntax.name}), so the file is broken or its compression "
            "is not supported; export the series uncompressed."
        ) from None
    cells = decoded.reshape(-1, *decoded.shape[-2:])
    expected = (int(header.get("NumberOfFrames") or 1), int(header.Rows), int(header.Columns))
    if cells.shape != expected:
        raise InputError(
            f"{path}: found {cells.shape} frames, rows and columns in its pixels, expected {expected} as its "
            "header says; export the series again."
        )
    return cells


def _by_pydicom(file: pydicom.Dataset) -> np.ndarray:
    """All bits of each pixel, by version 3 or, in MONAI Label's environment, version 2."""
    if hasattr(file, "pixel_array_options"):  # version 3 would clear the bits above the stored ones
        file.pixel_array_options(correct_unused_bits=False)
    return file.pixel_array


def _decompressed(file: pydicom.Dataset) -> np.ndarray:
    """GDCM's decoding of a copy that says nothing but how the pixels are stored; float32."""
    import itk  # takes seconds to load and is not needed for NIfTI

    bare = pydicom.Dataset()
    bare.file_meta = pydicom.dataset.FileMetaDataset()
    bare.file_meta.TransferSyntaxUID = file.file_meta.TransferSyntaxUID
    bare.SOPClassUID = MultiFrameGrayscaleWordSecondaryCaptureImageStorage
    bare.file_meta.MediaStorageSOPClassUID = bare.SOPClassUID
    bare.SOPInstanceUID = bare.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    bare.PhotometricInterpretation = "MONOCHROME2"
    for keyword in _COPIED:
        if has(file, keyword):
            bare[keyword] = file[keyword]
    bare.PixelData = file.PixelData
    bare["PixelData"].is_undefined_length = True
    with tempfile.TemporaryDirectory(prefix="dicom-") as folder:
        path = Path(folder) / "pixels.dcm"
        if hasattr(bare, "pixel_array_options"):
            bare.save_as(path, enforce_file_format=True)
        else:  # version 2
            bare.is_little_endian, bare.is_implicit_VR = True, False
            bare.save_as(path, write_like_original=False)
        reader = itk.ImageFileReader[itk.Image[itk.F, 3]].New()
        reader.SetImageIO(itk.GDCMImageIO.New())
        reader.SetFileName(str(path))
        reader.Update()
    return itk.array_from_image(reader.GetOutput())


def _stored_bits(cell: np.ndarray, module: PixelModule) -> np.ndarray:
    """float64 of the stored bits alone: those above may be overlays, and mean nothing here."""
    if cell.dtype.kind == "f":  # decompressed, which has done so
        return cell.astype(np.float64)
    unused = module.allocated - module.stored
    return ((cell << unused) >> unused).astype(np.float64)


def _is_padding(cell: np.ndarray, stored: np.ndarray, module: PixelModule) -> np.ndarray:
    """Whether each pixel is padding, by all of its bits too: its value need not fit into the stored ones."""
    if module.padding is None:
        return np.zeros(cell.shape, bool)
    low, high = module.padding
    return ((cell >= low) & (cell <= high)) | ((stored >= low) & (stored <= high))


def _holds_more(cell: np.ndarray, stored: np.ndarray, padding: np.ndarray, header: pydicom.Dataset) -> bool:
    """Whether bits above the stored ones hold what is neither sign, nor padding, nor an overlay."""
    groups = range(0x6000, 0x6020, 2)
    # OverlayBitPosition, without OverlayData: the overlay lies in the pixels
    overlays = any((group, 0x0102) in header and (group, 0x3000) not in header for group in groups)
    return not overlays and bool(((cell != stored) & ~padding).any())


def _pad(folder: Path, values: np.ndarray, padded_as: np.ndarray, *, is_hu: bool) -> None:
    """Set padding, marked by NaN in `values`, to background; say when it lies among other values.

    Args:
        padded_as: the values that padding would have had.
    """
    if np.isnan(values).all():
        raise InputError(
            f"{folder}: found nothing but padding (PixelPaddingValue), expected an image; export it again."
        )
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    between = np.count_nonzero((padded_as > low) & (padded_as < high))
    if between:
        _log.warning(
            "%s: %d voxels equal a PixelPaddingValue that lies within the range of the other values, so they "
            "became background; if they are part of the body, remove that element from the files.",
            folder,
            between,
        )
    values[np.isnan(values)] = min(low, AIR_HU) if is_hu else low

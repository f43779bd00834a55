"""A DICOM series as a volume that remembers the headers of its slices."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom

from ..errors import InputError
from .dicom_frames import rescaled_frames
from .dicom_series import Series, find_series
from .itk_files import RAS_FROM_LPS, volume_from_array
from .volumes import Volume


@dataclass(frozen=True)
class DicomVolume(Volume):
    """A volume from a DICOM series.

    Attributes:
        headers: of the slices without their pixels, in the order of the stored third axis. Those of a
            multi-frame image have their frame number as InstanceNumber.
        multi_frame: the header of a multi-frame image as it stands, None for others.
    """

    headers: tuple[pydicom.Dataset, ...]
    multi_frame: pydicom.Dataset | None


def read_dicom(folder: str | os.PathLike[str], *, series: str | None = None) -> DicomVolume:
    """Read a series of images or one multi-frame image: modality values (rescaled, HU for CT), float32.

    The stored axes are columns, rows and slices. A tilted gantry is kept as a sheared affine, and said.

    Args:
        folder: holds the files.
        series: SeriesInstanceUID or SeriesNumber, needed where there are several.

    Raises:
        InputError: as `find_series`, or pixels that cannot be decoded.
    """
    found = find_series(folder, series=series)
    affine = RAS_FROM_LPS @ _affine(found)
    volume = volume_from_array(folder, _pixels(Path(folder), found), affine)
    return DicomVolume(volume.slices, volume.spacing_mm, volume.grid, found.headers, found.multi_frame)


def _affine(series: Series) -> np.ndarray:
    """(4, 4) indices of (column, row, slice) to LPS+ mm (DICOM PS3.3, C.7.6.2.1.1)."""
    first, last = series.headers[0], series.headers[-1]
    orientation = np.asarray(first.ImageOrientationPatient, dtype=float)
    row_spacing, column_spacing = (float(value) for value in first.PixelSpacing)
    origin = np.asarray(first.ImagePositionPatient, dtype=float)
    affine = np.eye(4)
    affine[:3, 0] = orientation[:3] * column_spacing
    affine[:3, 1] = orientation[3:] * row_spacing
    if len(series.headers) > 1:
        step = (np.asarray(last.ImagePositionPatient, dtype=float) - origin) / (len(series.headers) - 1)
    else:
        thickness = float(first.get("SliceThickness") or 1.0)
        step = np.cross(orientation[:3], orientation[3:]) * thickness
    affine[:3, 2] = step
    affine[:3, 3] = origin
    return affine


def _pixels(folder: Path, series: Series) -> np.ndarray:
    """(columns, rows, slices) float32, decoded and rescaled by GDCM."""
    import itk  # takes seconds to load, which NIfTI needs not

    kind = itk.ImageSeriesReader if series.multi_frame is None else itk.ImageFileReader
    reader = kind[itk.Image[itk.F, 3]].New()
    reader.SetImageIO(itk.GDCMImageIO.New())
    files = [str(path) for path in series.files]
    if series.multi_frame is None:
        reader.SetFileNames(files)
    else:
        reader.SetFileName(files[0])
    try:
        reader.Update()
    except RuntimeError as error:
        syntaxes = sorted({header.file_meta.TransferSyntaxUID.name for header in series.headers})
        raise InputError(
            f"{folder}: the pixels cannot be decoded ({', '.join(syntaxes)}), so a file is broken or its "
            "compression is not supported; export the series uncompressed."
        ) from error
    pixels = itk.array_from_image(reader.GetOutput())
    if series.multi_frame is not None:
        pixels = rescaled_frames(pixels, series.headers)
    return pixels.transpose()

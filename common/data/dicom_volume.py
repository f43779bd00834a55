"""A DICOM series as a volume that remembers the headers of its slices."""

import os
from dataclasses import dataclass
from pathlib import Path

import pydicom

from ..machine import check_memory
from .dicom_decoding import modality_values
from .dicom_geometry import affine_of
from .dicom_series import find_series
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

    The stored axes are columns, rows and slices. A tilted gantry is kept as a sheared affine, with a warning.
    Padding (PixelPaddingValue) is background.

    Args:
        folder: holds the files.
        series: SeriesInstanceUID or SeriesNumber, needed where there are several.

    Raises:
        InputError: as `find_series`, more voxels than memory holds, or pixels that cannot be decoded.
    """
    found = find_series(folder, series=series)
    first = found.slices[0].header
    check_memory(folder, (int(first.Columns), int(first.Rows), len(found.slices)))
    affine = RAS_FROM_LPS @ affine_of(found.slices)
    stored = modality_values(Path(folder), found.slices).transpose()
    volume = volume_from_array(folder, stored, affine)
    headers = tuple(one.header for one in found.slices)
    return DicomVolume(volume.slices, volume.spacing_mm, volume.grid, headers, found.multi_frame)

"""One door to volumes in any format."""

import os
import tempfile
import zipfile
import zlib
from pathlib import Path

from ..errors import InputError
from .dicom_series import holds_dicom
from .dicom_volume import read_dicom
from .itk_reader import ENDINGS as ITK_ENDINGS
from .itk_reader import read_itk
from .volumes import Volume, read_volume

NIFTI_ENDINGS = (".nii.gz", ".nii")
ENDINGS = (*NIFTI_ENDINGS, *ITK_ENDINGS, ".zip")
EXPECTED = "NIfTI (.nii, .nii.gz), NRRD, MHA, or a DICOM series as a folder or .zip"


def read_image(path: str | os.PathLike[str], *, series: str | None = None) -> Volume:
    """Read a scalar volume, float32, from a file, or from a folder or zip with a DICOM series.

    Args:
        series: SeriesInstanceUID or SeriesNumber, where a folder has several.

    Raises:
        InputError: as the format's reader, or an unknown format.
    """
    path = Path(path)
    if path.name.endswith(NIFTI_ENDINGS):
        return read_volume(path)
    if path.name.endswith(ITK_ENDINGS):
        return read_itk(path)
    if path.name.endswith(".zip"):
        return _read_zip(path, series)
    if path.is_dir():
        return read_dicom(path, series=series)
    raise InputError(f"{path}: found the ending '{path.suffix}', expected {EXPECTED}; convert it to NIfTI.")


def _read_zip(path: Path, series: str | None) -> Volume:
    """The DICOM series in a zip, wherever its folder is in it."""
    with tempfile.TemporaryDirectory(prefix="dicom-") as name:
        try:
            with zipfile.ZipFile(path) as archive:
                archive.extractall(name)
        except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, ValueError) as error:
            raise InputError(f"{path}: cannot be unpacked ({error}); copy it again or unpack it.") from error
        folders = [folder for folder in (Path(name), *sorted(Path(name).rglob("*/"))) if holds_dicom(folder)]
        if len(folders) != 1:
            raise InputError(
                f"{path}: found DICOM files in {len(folders)} folders of this archive, expected one; "
                "unpack it and name one folder."
            )
        return read_dicom(folders[0], series=series)

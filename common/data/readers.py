"""One door to images in any format."""

import os
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from ..errors import InputError
from ..terminal import logged_as
from ..zips import unpack_zip
from .dicom_files import is_dicom
from .dicom_folder import holds_slices
from .dicom_volume import read_dicom
from .images import ENDINGS as IMAGE_2D_ENDINGS
from .images import read_image_2d
from .itk_files import ENDINGS as ITK_ENDINGS
from .itk_files import read_itk
from .volumes import Volume, read_volume

NIFTI_ENDINGS = (".nii.gz", ".nii")
VOLUME_ENDINGS = (*NIFTI_ENDINGS, *ITK_ENDINGS, ".zip")


def endings(*, images_2d: bool) -> tuple[str, ...]:
    """Endings of files that can be read, in lower case; a file's name may have capitals."""
    return (*VOLUME_ENDINGS, *(IMAGE_2D_ENDINGS if images_2d else ()))


def expected(*, images_2d: bool) -> str:
    """The formats in words."""
    volumes = "NIfTI (.nii, .nii.gz), NRRD, MHA, or a DICOM series as a folder or .zip"
    return f"PNG, JPEG, {volumes}" if images_2d else volumes


def ending_of(path: Path, among: Sequence[str]) -> str | None:
    """The ending that the path's name has, as it is written there; None for another one."""
    found = next((ending for ending in among if path.name.lower().endswith(ending)), None)
    return None if found is None else path.name[-len(found) :]


def image_ending(path: Path, *, images_2d: bool) -> str:
    """As `ending_of`, of a file that a network takes: volumes, and `images_2d` if its framing takes images.

    Raises:
        InputError: another ending.
    """
    ending = ending_of(path, endings(images_2d=images_2d))
    if ending is None:
        _check_no_slice(path)
        raise InputError(
            f"{path}: found the ending '{path.suffix}', expected {expected(images_2d=images_2d)}; convert it."
        )
    return ending


def check_images(images: Iterable[Path], *, images_2d: bool) -> None:
    """Check that a network takes these files and folders, before any is read; see `image_ending`.

    Raises:
        InputError: it does not take one.
    """
    for path in images:
        if not path.is_dir():
            image_ending(path, images_2d=images_2d)


def read_image(path: str | os.PathLike[str], *, series: str | None = None) -> Volume:
    """Read an image to segment, float32, from a file, or from a folder or zip with a DICOM series.

    Args:
        series: SeriesInstanceUID or SeriesNumber, where a folder has several.

    Raises:
        InputError: as the format's reader, an unknown format, more than memory holds, or the same value in
            every voxel.
    """
    path = Path(path)
    volume = read_any(path, series=series)
    if is_blank(volume):
        raise InputError(
            f"{path}: every voxel is {volume.slices.min():g}, expected an image with some contrast; export "
            "it again."
        )
    return volume


def is_blank(volume: Volume) -> bool:
    """Whether all voxels have one value."""
    return volume.slices.size > 1 and bool(volume.slices.min() == volume.slices.max())


def read_any(path: Path, *, series: str | None = None) -> Volume:
    """As `read_image`, which refuses blank images."""
    if ending_of(path, NIFTI_ENDINGS):
        return read_volume(path)
    if ending_of(path, ITK_ENDINGS):
        return read_itk(path)
    if ending_of(path, IMAGE_2D_ENDINGS):
        return read_image_2d(path)
    if ending_of(path, (".zip",)):
        return _read_zip(path, series)
    if path.is_dir():
        return read_dicom(path, series=series)
    _check_no_slice(path)
    raise InputError(
        f"{path}: found the ending '{path.suffix}', expected {expected(images_2d=True)}; convert it to NIfTI."
    )


def _check_no_slice(path: Path) -> None:
    """Refuse a single DICOM file: its folder is the image, of a multi-frame one too."""
    if is_dicom(path):
        raise InputError(
            f"{path}: found one DICOM file, expected the folder of its series; name its folder, and the "
            "series with --series if it holds several."
        )


def _read_zip(path: Path, series: str | None) -> Volume:
    """The DICOM series in a zip, wherever its folder is in it."""
    with tempfile.TemporaryDirectory(prefix="dicom-") as name:
        room = "free space there or set TMPDIR to another disk"
        unpack_zip(path, Path(name), again="copy it again or unpack it", room=room)
        folders = [folder for folder in (Path(name), *sorted(Path(name).rglob("*/"))) if holds_slices(folder)]
        if len(folders) != 1:
            raise InputError(
                f"{path}: found DICOM slices in {len(folders)} folders of this archive, expected one; "
                "unpack it and name one folder."
            )
        try:  # the folder will be gone: what is said names the zip
            with logged_as(name, str(path)):
                volume = read_dicom(folders[0], series=series)
        except InputError as error:
            raise InputError(str(error).replace(name, str(path))) from error
        return replace(volume, grid=replace(volume.grid, path=path))

"""Sort a folder of DICOM files into image series, scouts and others, and find possibly lost slices."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom.uid import MediaStorageDirectoryStorage

from ..errors import InputError
from .dicom_files import IMAGE_CLASSES, DicomFile, class_name, class_of, is_dicom, modality_of, read_file
from .dicom_frames import is_scout
from .dicom_values import text

SLICES, SCOUTS, UNREADABLE_FILES = "slices", "scouts", "unreadable files"
_JUNK = ("thumbs.db", "desktop.ini")  # what file managers leave in folders, beside hidden files


@dataclass
class FolderContent:
    """What lies in a folder: image files by SeriesInstanceUID, scouts, and others with what they are."""

    series: dict[str, list[DicomFile]]
    scouts: list[DicomFile]
    others: dict[Path, str]


def look_through(folder: Path) -> FolderContent:
    """Read the headers of all DICOM files.

    Raises:
        InputError: a file may be a slice and cannot be read, or does not say of which series it is.
    """
    found = FolderContent(defaultdict(list), [], {})
    strange: dict[Path, str] = {}
    for path in files_in(folder):
        if not is_dicom(path):
            strange[path] = _why_strange(path)
            continue
        file = read_file(path)
        if file.sop_class not in IMAGE_CLASSES:
            found.others[path] = class_name(file.sop_class)
        elif is_scout(path, file.header):
            found.scouts.append(file)
        else:
            found.series[_series_of(file)].append(file)
    slices = [file.path for files in found.series.values() for file in files]
    for path, why in strange.items():
        if _may_be_slice(path, why, slices):
            raise InputError(
                f"{path}: found {why} among DICOM slices, with a name like theirs, expected a slice; copy it "
                "again, or remove it if it is not a slice."
            )
        found.others[path] = why
    return found


def _why_strange(path: Path) -> str:
    """What keeps a file from being DICOM."""
    if path.is_symlink() and not path.exists():
        return "a link to a file that is not there"
    try:
        with path.open("rb") as file:
            return "no DICOM file" if file.read(1) else "an empty file"
    except OSError as error:
        return f"a file that cannot be read ({error.strerror})"


def _may_be_slice(path: Path, why: str, slices: Sequence[Path]) -> bool:
    """Whether a file is named as slices are: a slice that went missing must not shorten a volume in silence.

    A file with other content (a README beside slices without endings) has to be named alike but for digits.
    """
    if _shape(path) in map(_shape, slices):
        return True
    alike = any(path.suffix.lower() == other.suffix.lower() for other in slices)
    return alike and (why != "no DICOM file" or path.suffix != "")


def _shape(path: Path) -> str:
    return re.sub(r"\d+", "#", path.name)


def _series_of(file: DicomFile) -> str:
    uid = text(file.header, "SeriesInstanceUID")
    if not uid:
        raise InputError(
            f"{file.path}: found no SeriesInstanceUID, expected a complete {modality_of(file.header)} slice; "
            "copy or export it again."
        )
    return uid


def holds_slices(folder: Path) -> bool:
    """Whether a folder directly holds image slices, or DICOM files of an unknown kind."""
    return any(kind in (SLICES, UNREADABLE_FILES) for kind in _kinds(folder))


def kinds_in(folder: Path) -> Counter[str]:
    """What the DICOM files directly in a folder are, but for directories of CDs (DICOMDIR)."""
    return Counter(_kinds(folder))


def in_words(kinds: Counter[str]) -> str:
    """Kinds with their number of files, for messages."""
    return ", ".join(f"{kind} ({count})" for kind, count in sorted(kinds.items()))


def no_slices(folder: Path) -> str:
    """Sentence for a folder without image slices: what its DICOM files are."""
    kinds = kinds_in(folder)
    found = f"no CT, MR or PET slice but {in_words(kinds)}" if kinds else "no DICOM file"
    return f"{folder}: found {found}, expected a series of CT, MR or PET slices; name its folder."


def _kinds(folder: Path) -> Iterator[str]:
    for path in files_in(folder):
        if is_dicom(path) and (kind := _kind(path)) is not None:
            yield kind


def _kind(path: Path) -> str | None:
    """One of the words above, or the name of a class; None for the directory of a CD."""
    uid = class_of(path)
    if uid == MediaStorageDirectoryStorage:
        return None
    if uid and uid not in IMAGE_CLASSES:
        return class_name(uid)
    try:
        return SCOUTS if is_scout(path, read_file(path).header) else SLICES
    except InputError:
        return UNREADABLE_FILES


def files_in(folder: Path) -> list[Path]:
    """Files and dangling links of a folder but hidden ones and what file managers leave; sorted.

    Pipes and devices, which may never answer, are left out.
    """
    return [
        path
        for path in sorted(folder.iterdir())
        if (path.is_file() or not path.exists())
        and not path.name.startswith(".")
        and path.name.lower() not in _JUNK
    ]

"""Find which DICOM files of a folder belong together, and which are left out."""

import filecmp
import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pydicom

from ..errors import InputError
from .dicom_files import MULTI_FRAME_CLASSES, UNREADABLE, DicomFile, modality_of
from .dicom_folder import FolderContent, look_through, no_slices
from .dicom_frames import frame_headers, is_multi_frame
from .dicom_geometry import Slice, sorted_stack
from .dicom_pixels import check_pixels, check_stored
from .dicom_values import has, text

NAMED = 5  # files that a message names before it counts the others

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Series:
    """A stack of slices.

    Attributes:
        slices: in their order in space.
        multi_frame: the header of a multi-frame file as it stands, None for others.
    """

    slices: tuple[Slice, ...]
    multi_frame: pydicom.Dataset | None = None


def find_series(folder: str | os.PathLike[str], *, series: str | None = None) -> Series:
    """The image series in a folder, sorted along its slices' normal, its geometry and pixel module checked.

    Objects without slices of their own (segmentations, structure sets, reports) and scouts are left aside.
    Files that are not used are named in a warning. Only the chosen series is judged.

    Args:
        folder: holds the files of one series, or of several.
        series: SeriesInstanceUID or SeriesNumber, needed where there are several.

    Raises:
        InputError: none or several series, another one asked for, a file that may be one of its slices and
            cannot be read, or slices that make no stack or whose values are not known.
    """
    folder = Path(folder)
    found = look_through(folder)
    chosen = {
        uid: files
        for uid, files in found.series.items()
        if series is None or series in (uid, text(files[0].header, "SeriesNumber"))
    }
    if len(chosen) != 1:
        raise InputError(_choice(folder, found, chosen, series))
    uid, files = chosen.popitem()
    _warn_of_unused(folder, found, uid)
    _warn_of_remarks(folder, files)
    files = _without_copies(folder, files)
    _check_multi_frame(folder, files)
    for file in files:
        check_stored(file)
    multi_frame = files[0].header if _has_frames(files[0]) else None
    slices = sorted_stack(folder, [one for file in files for one in _slices_of(file)])
    check_pixels(folder, slices)
    return Series(tuple(slices), multi_frame)


def _has_frames(file: DicomFile) -> bool:
    return file.sop_class in MULTI_FRAME_CLASSES and is_multi_frame(file.header)


def _slices_of(file: DicomFile) -> list[Slice]:
    if not _has_frames(file):
        return [Slice(file.path, file.header)]
    headers = frame_headers(file.path, file.header)
    return [Slice(file.path, header, number) for number, header in enumerate(headers, start=1)]


def _choice(
    folder: Path, found: FolderContent, chosen: dict[str, list[DicomFile]], series: str | None
) -> str:
    """Explain why no series, or more than one, matches the request."""
    scouts = [file for file in found.scouts if series in _names_of(file)]
    if scouts or (found.scouts and not found.series):
        return (
            f"{folder}: found {len(scouts or found.scouts)} scouts (ImageType LOCALIZER), which are not a "
            "volume, expected a series of slices; name another series or folder."
        )
    if not found.series:
        return no_slices(folder)
    listed = chosen or found.series
    rows = [
        f"{uid} (number {_number(files[0])}, {modality_of(files[0].header)}, {_count(files)}, such as "
        f"{files[0].path.name})"
        for uid, files in listed.items()
    ]
    numbers = [_number(files[0]) for files in listed.values()]
    equal = len(set(numbers)) < len(numbers)
    if chosen and series is not None:
        asked, how = f" with the number {series}", "its UID"
    else:
        asked = f" and not {series!r}" if series is not None else ""
        how = "its UID, since their numbers are equal" if equal else "its UID or number"
    return (
        f"{folder}: found {len(rows)} series{asked}: {'; '.join(rows)}; choose one with --series and {how}."
    )


def _names_of(file: DicomFile) -> tuple[str, str]:
    return text(file.header, "SeriesInstanceUID"), text(file.header, "SeriesNumber")


def _number(file: DicomFile) -> str:
    """SeriesNumber, "-" where it is absent or no number."""
    number = text(file.header, "SeriesNumber")
    return number if re.fullmatch(r"-?\d{1,12}", number) else "-"


def _count(files: Sequence[DicomFile]) -> str:
    return f"{len(files)} file{'s' if len(files) > 1 else ''}"


def _without_copies(folder: Path, files: Sequence[DicomFile]) -> list[DicomFile]:
    """Files without those that say the same as one before; these are named in a warning."""
    kept: dict[str, DicomFile] = {}
    copies: list[str] = []
    for index, file in enumerate(files):
        first = kept.setdefault(text(file.header, "SOPInstanceUID") or f"none {index}", file)
        if first is file:
            continue
        if not _is_copy(first.path, file.path):
            raise InputError(
                f"{folder}: {first.path.name} and {file.path.name} have the same SOPInstanceUID but "
                "different content, expected one file for each image; remove the wrong one."
            )
        copies.append(f"{file.path.name} of {first.path.name}")
    if copies:
        _log.warning("%s: copies are left out: %s.", folder, _listed(copies))
    return list(kept.values())


def _is_copy(one: Path, other: Path) -> bool:
    """Whether two files are equal, or say the same in other bytes."""
    if filecmp.cmp(one, other, shallow=False):
        return True
    try:
        first, second = (dict(pydicom.dcmread(path, force=True).items()) for path in (one, other))
        return first.keys() == second.keys() and all(
            getattr(first[tag], "value", None) == getattr(second[tag], "value", None) for tag in first
        )
    except UNREADABLE:
        return False


def _check_multi_frame(folder: Path, files: Sequence[DicomFile]) -> None:
    """Refuse several multi-frame files and parts of a larger one: they are not a supported stack."""
    framed = [file for file in files if _has_frames(file)]
    parts = [file for file in framed if has(file.header, "ConcatenationUID")]
    if parts:
        raise InputError(
            f"{folder}: found {_count(parts)} of a concatenation (one multi-frame image in parts), expected "
            "a complete image; export it as one file or as single slices."
        )
    if framed and len(files) > 1:
        raise InputError(
            f"{folder}: found {len(files)} files with multi-frame images in one series, expected one file; "
            "put each into a folder of its own."
        )


def _warn_of_unused(folder: Path, found: FolderContent, chosen: str) -> None:
    """Name the files that were not used, in one line; the first ones stand for the others."""
    unused = [f"{path.name} ({why})" for path, why in found.others.items()]
    unused += [f"{file.path.name} (a scout)" for file in found.scouts]
    others = [files for uid, files in found.series.items() if uid != chosen]
    unused += [f"{file.path.name} (another series)" for files in others for file in files]
    if unused:
        _log.warning("%s: files beside the series are not used: %s.", folder, _listed(unused))


def _warn_of_remarks(folder: Path, files: Sequence[DicomFile]) -> None:
    odd = [file.path.name for file in files if file.remarks]
    if odd:
        _log.warning(
            "%s: headers hold values that DICOM does not allow (%s); they are not shown because they may "
            "identify a patient, and all values that are used here are checked.",
            folder,
            _listed(odd),
        )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")

"""Which DICOM files of a folder belong together, and in which order they lie in space."""

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    EnhancedMRImageStorage,
    EnhancedPETImageStorage,
    MRImageStorage,
    PositronEmissionTomographyImageStorage,
)

from ..errors import InputError
from .dicom_frames import frame_headers

SLICE_CLASSES = (CTImageStorage, MRImageStorage, PositronEmissionTomographyImageStorage)
MULTI_FRAME_CLASSES = (EnhancedCTImageStorage, EnhancedMRImageStorage, EnhancedPETImageStorage)
UNDEFINED = b"\xff" * 4  # length of compressed pixels, which end with a delimiter
NUMBERS = (
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"),
    *("Rows", "Columns", "BitsAllocated"),
)
TEXTS = ("SeriesInstanceUID", "SeriesNumber", "InstanceNumber", "Modality", "SeriesDescription")
UNREADABLE = (
    *(InvalidDicomError, BytesLengthException, OSError, EOFError),
    *(ValueError, TypeError, AttributeError, NotImplementedError),
)
PREAMBLE = 128  # bytes before the letters DICM
SAME_DIRECTION = 1e-3  # of a direction cosine: 0.06 degrees
EVEN_STEPS = 0.05  # of the usual step between slices: tables round positions to some micrometres


@dataclass(frozen=True)
class Series:
    """A stack of slices.

    Attributes:
        uid: SeriesInstanceUID.
        number: SeriesNumber, or "".
        description: modality and SeriesDescription.
        files: one a slice in the order of the slices, or the one multi-frame file.
        headers: of the slices, all but the pixels, in the order of the slices.
        multi_frame: the header of a multi-frame file as it stands, None for others.
    """

    uid: str
    number: str
    description: str
    files: tuple[Path, ...]
    headers: tuple[pydicom.Dataset, ...]
    multi_frame: pydicom.Dataset | None = None


def is_dicom(path: Path) -> bool:
    """Whether a file has the letters that DICOM files have after their preamble."""
    try:
        with path.open("rb") as file:
            return file.read(PREAMBLE + 4)[PREAMBLE:] == b"DICM"
    except OSError:
        return False


def holds_dicom(folder: Path) -> bool:
    """Whether a DICOM file lies directly in a folder."""
    return any(is_dicom(path) for path in sorted(folder.iterdir()) if path.is_file())


def find_series(folder: str | os.PathLike[str], *, series: str | None = None) -> Series:
    """The image series in a folder, sorted along its slices' normal.

    Objects without slices of their own (segmentations, structure sets, reports) are left aside.

    Args:
        folder: holds the files of one series, or of several.
        series: SeriesInstanceUID or SeriesNumber, needed where there are several.

    Raises:
        InputError: none or several series, another one asked for, or slices that make no stack: repeated
            or missing positions (named by instance number), different sizes or directions.
    """
    folder = Path(folder)
    groups = _group(folder)
    chosen = {
        uid: members for uid, members in groups.items() if series is None or series in (uid, _number(members))
    }
    if len(chosen) != 1:
        raise InputError(_choice(folder, groups, series))
    uid, members = chosen.popitem()
    _check_alike(folder, members)
    members = _sorted(folder, members)
    files, headers = zip(*members, strict=True)
    frames = None
    if headers[0].file_meta.MediaStorageSOPClassUID in MULTI_FRAME_CLASSES:
        if len(set(files)) > 1:
            raise InputError(
                f"{folder}: found {len(set(files))} multi-frame images in one series, expected one; "
                "put each into a folder of its own."
            )
        files, frames = files[:1], _read_header(files[0])
    return Series(uid, _number(members), _description(headers[0]), files, headers, frames)


Member = tuple[Path, pydicom.Dataset]


def _group(folder: Path) -> dict[str, list[Member]]:
    """Slices by SeriesInstanceUID."""
    groups: dict[str, list[Member]] = defaultdict(list)
    for path in sorted(folder.iterdir()):
        if not path.is_file() or not is_dicom(path):
            continue
        header = _read_header(path)
        kind = header.file_meta.MediaStorageSOPClassUID
        if kind in MULTI_FRAME_CLASSES:
            slices = frame_headers(path, header)
        elif kind in SLICE_CLASSES:
            slices = [header]
        else:
            continue
        for one in slices:
            groups[_series_of(path, one)].append((path, one))
    return groups


def _series_of(path: Path, header: pydicom.Dataset) -> str:
    for keyword in ("SeriesInstanceUID", "ImagePositionPatient", "Rows", "Columns"):
        if header.get(keyword) is None:
            raise InputError(
                f"{path}: found no {keyword}, expected a whole {header.get('Modality', 'DICOM')} slice; "
                "copy or export it again."
            )
    return str(header.SeriesInstanceUID)


def _read_header(path: Path) -> pydicom.Dataset:
    """All of a file but its pixels, which are checked to be there: decoders fill in what is missing."""
    try:
        with path.open("rb") as file:
            header = pydicom.dcmread(file, stop_before_pixels=True)
            if not {"MediaStorageSOPClassUID", "TransferSyntaxUID"} <= set(header.file_meta.dir()):
                raise EOFError("it does not say what it is")
            held = path.stat().st_size - file.tell()
            start = file.read(12)  # of the pixels: tag, type (but in implicit VR) and length
        for keyword in (*TEXTS, *NUMBERS):  # pydicom reads a value, and finds it broken, at first use
            value = header.get(keyword)
            if keyword in NUMBERS and value is not None:
                np.asarray(value, dtype=float)
    except UNREADABLE as error:
        raise InputError(
            f"{path}: cannot be read as DICOM ({error}), so the file is broken or cut off; copy it again."
        ) from error
    if "Rows" in header:
        _check_pixels(path, header, start, held)
    return header


def _check_pixels(path: Path, header: pydicom.Dataset, start: bytes, held: int) -> None:
    """Refuse pixels that are cut off, or stored in another way than the transfer syntax says.

    Args:
        start: the 12 bytes with the pixels' tag and length.
        held: bytes from the pixels' tag to the end of the file.
    """
    syntax = header.file_meta.TransferSyntaxUID
    if syntax.is_private or not syntax.is_transfer_syntax:
        raise InputError(
            f"{path}: found the transfer syntax {syntax}, expected one that DICOM defines; export the series "
            "uncompressed."
        )
    if syntax.is_deflated:
        return
    encapsulated = start[4:8] == UNDEFINED if syntax.is_implicit_VR else start[8:] == UNDEFINED
    if syntax.is_compressed != encapsulated and held > 12:
        state = "compressed" if encapsulated else "uncompressed"
        raise InputError(
            f"{path}: found {state} pixels, expected those of its transfer syntax {syntax.name}; export the "
            "series again."
        )
    held -= 8 if syntax.is_implicit_VR else 12
    expected = 1 if syntax.is_compressed else _bytes_of_pixels(header)
    if held < expected:
        raise InputError(
            f"{path}: found {max(held, 0)} bytes after the header, expected {expected} for its pixels, so it "
            "is cut off; copy it again."
        )


def _bytes_of_pixels(header: pydicom.Dataset) -> int:
    one = header.Rows * header.Columns * int(header.get("BitsAllocated") or 8) // 8
    multi_frame = header.file_meta.MediaStorageSOPClassUID in MULTI_FRAME_CLASSES
    return one * int(header.get("NumberOfFrames") or 1) if multi_frame else one


def _choice(folder: Path, found: dict[str, list[Member]], series: str | None) -> str:
    if not found:
        return f"{folder}: found no DICOM slice with a position, expected a series of them; name its folder."
    rows = [
        f"{uid} (number {_number(members) or '-'}, {_description(members[0][1])}, {len(members)} slices)"
        for uid, members in found.items()
    ]
    asked = f" and not {series!r}" if series is not None else ""
    return (
        f"{folder}: found {len(rows)} series{asked}: {'; '.join(rows)}; "
        "choose one with --series and its UID or number."
    )


def _number(members: Sequence[Member]) -> str:
    value = members[0][1].get("SeriesNumber")
    return "" if value is None else str(value)


def _description(header: pydicom.Dataset) -> str:
    return f"{header.get('Modality', '?')} {header.get('SeriesDescription', '')}".strip()


def _instance(header: pydicom.Dataset) -> str:
    return str(header.get("InstanceNumber", "?"))


def _check_alike(folder: Path, members: Sequence[Member]) -> None:
    """All slices have the size, pixel spacing and directions of the first one."""
    first = members[0][1]
    for keyword in ("Rows", "Columns", "PixelSpacing", "ImageOrientationPatient"):
        expected = _numbers(folder, first, keyword)
        for _, header in members:
            found = _numbers(folder, header, keyword)
            if found.shape != expected.shape or not np.allclose(found, expected, rtol=0, atol=SAME_DIRECTION):
                raise InputError(
                    f"{folder}: instance {_instance(header)} has {keyword} {found.tolist()} and instance "
                    f"{_instance(first)} has {expected.tolist()}, expected the same in the whole series; "
                    "remove the images that do not belong to the stack."
                )


def _numbers(folder: Path, header: pydicom.Dataset, keyword: str) -> np.ndarray:
    value: Any = header.get(keyword)
    if value is None:
        raise InputError(
            f"{folder}: instance {_instance(header)} has no {keyword}, expected it in every slice; "
            "export the series again."
        )
    return np.atleast_1d(np.asarray(value, dtype=float))


def _sorted(folder: Path, members: Sequence[Member]) -> list[Member]:
    """Along the normal, with one distance between neighbours."""
    orientation = _numbers(folder, members[0][1], "ImageOrientationPatient")
    normal = np.cross(orientation[:3], orientation[3:])
    heights = np.array([_numbers(folder, header, "ImagePositionPatient") @ normal for _, header in members])
    order = np.argsort(heights, kind="stable")
    members, heights = [members[index] for index in order], heights[order]
    steps = np.diff(heights)
    if len(steps):
        _check_steps(folder, [header for _, header in members], steps)
    return members


def _check_steps(folder: Path, headers: Sequence[pydicom.Dataset], steps: np.ndarray) -> None:
    usual = float(np.median(steps))
    for before, after, step in zip(headers, headers[1:], steps, strict=False):
        pair = f"instances {_instance(before)} and {_instance(after)}"
        if step < 0.01:  # mm
            raise InputError(
                f"{folder}: {pair} lie at the same place, expected one image a slice; "
                "remove the duplicate, or the images of another phase."
            )
        if abs(step - usual) <= EVEN_STEPS * usual:
            continue
        count = round(step / usual) - 1
        if count > 0 and abs(step - (count + 1) * usual) <= EVEN_STEPS * usual:
            missing = "1 slice is" if count == 1 else f"{count} slices are"
            raise InputError(
                f"{folder}: {missing} missing between {pair} ({step:g} mm apart, elsewhere {usual:g} mm), "
                "expected a complete series; export it again."
            )
        raise InputError(
            f"{folder}: the slice spacing is uneven: {step:g} mm between {pair}, elsewhere {usual:g} mm, "
            "expected one spacing; split the series or resample it."
        )

"""Multi-frame (enhanced) DICOM images, whose frames say each for itself what single slices say in a file."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom

from ..errors import InputError

# Functional groups (PS3.3 C.7.6.16.2) and what single-frame images have in their header.
_GROUPS = {
    "PlanePositionSequence": ("ImagePositionPatient",),
    "PlaneOrientationSequence": ("ImageOrientationPatient",),
    "PixelMeasuresSequence": ("PixelSpacing", "SliceThickness"),
    "PixelValueTransformationSequence": ("RescaleSlope", "RescaleIntercept"),
}


def frame_headers(path: Path, header: pydicom.Dataset) -> list[pydicom.Dataset]:
    """A header for every frame as a single slice would have it; InstanceNumber is the frame's number.

    Raises:
        InputError: it does not describe as many frames as it says it has.
    """
    shared = next(iter(header.get("SharedFunctionalGroupsSequence") or []), pydicom.Dataset())
    frames = header.get("PerFrameFunctionalGroupsSequence") or []
    if len(frames) != int(header.get("NumberOfFrames") or 0):
        raise InputError(
            f"{path}: found {len(frames)} frames described and {header.get('NumberOfFrames')} announced, "
            "expected a whole multi-frame image; copy or export it again."
        )
    common = pydicom.Dataset()
    common.update(header)
    for keyword in ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"):
        if keyword in common:
            del common[keyword]
    return list(_frames(common, header, shared, frames))


def _frames(
    common: pydicom.Dataset,
    header: pydicom.Dataset,
    shared: pydicom.Dataset,
    frames: Sequence[pydicom.Dataset],
) -> Iterator[pydicom.Dataset]:
    for number, own in enumerate(frames, start=1):
        frame = pydicom.Dataset()
        frame.update(common)
        frame.file_meta = header.file_meta
        _replace(frame, "InstanceNumber", number)
        for group, keywords in _GROUPS.items():
            found = own.get(group) or shared.get(group)
            for keyword in keywords:
                if found and found[0].get(keyword) is not None:
                    _replace(frame, keyword, found[0].get(keyword))
        yield frame


def _replace(frame: pydicom.Dataset, keyword: str, value: Any) -> None:
    """Set an element of its own: an element that `frame` shares with others would change in all of them."""
    if keyword in frame:
        del frame[keyword]
    setattr(frame, keyword, value)


def rescaled_frames(pixels: np.ndarray, headers: Sequence[pydicom.Dataset]) -> np.ndarray:
    """Frames (N, rows, columns) of a file in the order of the headers, each with its own rescaling.

    GDCM gives all frames the rescaling of the first one.
    """
    rescaling = np.ones((len(headers), 2))
    order = np.array([int(header.InstanceNumber) - 1 for header in headers])
    for place, header in zip(order, headers, strict=True):
        rescaling[place] = header.get("RescaleSlope", 1), header.get("RescaleIntercept", 0)
    slope, intercept = (rescaling[:, column, None, None].astype(np.float32) for column in (0, 1))
    if (rescaling != rescaling[0]).any():
        pixels = np.rint((pixels - intercept[0]) / slope[0]) * slope + intercept
    return pixels[order]

"""Multi-frame (enhanced) DICOM images, whose frames say each for itself what single slices say in a file."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pydicom
from pydicom.datadict import tag_for_keyword

from ..errors import InputError
from .dicom_files import UNREADABLE
from .dicom_values import has, integer, words

# Functional groups (PS3.3 C.7.6.16.2) and what single-frame images have in their header.
_GROUPS = {
    "PlanePositionSequence": ("ImagePositionPatient",),
    "PlaneOrientationSequence": ("ImageOrientationPatient",),
    "PixelMeasuresSequence": ("PixelSpacing", "SliceThickness"),
    "PixelValueTransformationSequence": ("RescaleSlope", "RescaleIntercept", "RescaleType"),
}
# Functional groups that say what kind of image a frame is, as ImageType does of a single slice.
_FRAME_TYPES = ("CTImageFrameTypeSequence", "MRImageFrameTypeSequence", "PETFrameTypeSequence")


def frame_headers(path: Path, header: pydicom.Dataset) -> list[pydicom.Dataset]:
    """A header for every frame as a single slice would have it; InstanceNumber is the frame's number.

    Raises:
        InputError: it does not describe as many frames as it says it has, or its groups are malformed.
    """
    shared, frames = _groups(path, header)
    announced = integer(path, header, "NumberOfFrames")
    if len(frames) != announced:
        raise InputError(
            f"{path}: found {len(frames)} frames described and {announced} announced, expected a complete "
            "multi-frame image; copy or export it again."
        )
    common = pydicom.Dataset()
    common.update(header)
    for keyword in ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"):
        if keyword in common:
            del common[keyword]
    try:
        return list(_frames(common, header, shared, frames))
    except UNREADABLE:
        raise _malformed(path) from None


def is_multi_frame(header: pydicom.Dataset) -> bool:
    """Whether a header of a multi-frame class has frames: some programs write single slices with it."""
    return has(header, "PerFrameFunctionalGroupsSequence") or has(header, "NumberOfFrames")


def is_scout(path: Path, header: pydicom.Dataset) -> bool:
    """Whether an image is a scout view (localizer): a word of its ImageType, or of a frame's type."""
    if "LOCALIZER" in words(header, "ImageType"):
        return True
    if not has(header, "PerFrameFunctionalGroupsSequence"):
        return False
    shared, frames = _groups(path, header)
    types = (group.get(name) for group in (shared, *frames) for name in _FRAME_TYPES)
    return any("LOCALIZER" in words(found[0], "FrameType") for found in types if found)


def _groups(path: Path, header: pydicom.Dataset) -> tuple[pydicom.Dataset, Sequence[pydicom.Dataset]]:
    """The shared functional groups, and those of each frame."""
    try:
        shared = next(iter(header.get("SharedFunctionalGroupsSequence") or []), pydicom.Dataset())
        return shared, header.get("PerFrameFunctionalGroupsSequence") or []
    except UNREADABLE:
        raise _malformed(path) from None


def _malformed(path: Path) -> InputError:
    return InputError(
        f"{path}: found malformed functional groups, expected a complete multi-frame image; copy or export "
        "it again."
    )


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
        # New elements, not new values: an element that frames share would change in all of them.
        frame["InstanceNumber"] = pydicom.DataElement("InstanceNumber", "IS", number)
        for group, keywords in _GROUPS.items():
            if found := own.get(group) or shared.get(group):
                wanted = {tag_for_keyword(keyword) for keyword in keywords}
                frame.update({tag: element for tag, element in found[0].items() if tag in wanted})
        yield frame

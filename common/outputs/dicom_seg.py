"""A label map as a DICOM Segmentation object (PS3.3 A.51), one binary segment a prompt."""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import highdicom
import numpy as np
from highdicom.color import CIELabColor
from highdicom.content import AlgorithmIdentificationSequence
from highdicom.seg import SegmentAlgorithmTypeValues, Segmentation, SegmentationTypeValues, SegmentDescription
from highdicom.sr import CodedConcept
from pydicom import Dataset
from pydicom.config import disable_value_validation
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid
from pydicom.valuerep import DS

from .. import __version__
from ..data.dicom_files import MULTI_FRAME_CLASSES, SLICE_CLASSES
from ..data.dicom_volume import DicomVolume
from ..errors import InputError, reason_of
from ..files import atomic_path
from ..inference.segmentation import PromptResult
from ..inference.segmentation import Segmentation as Result
from ..text.vocabulary import Vocabulary
from .dicom_names import CHARACTER_SET, dicom_name, property_of
from .dicom_source import TYPE_2, source_of
from .preview import colours

MAKER = "text-guided-segmentation-bundles"
SERIES_NUMBER = 901  # out of the way of a scanner's numbers


def write_dicom_seg(path: str | os.PathLike[str], volume: DicomVolume, result: Result) -> None:
    """Write the label map as a binary SEG that refers to the series which `volume` was read from.

    Segments are numbered from 1 in the order of the prompts; their labels are the prompts' names, and known
    organs have their SNOMED CT code. The file is read back before it counts as written.

    Raises:
        InputError: see `source_of`; or the file reads back as something else.
    """
    source = source_of(volume)
    images, frames = [_nameless(image) for image in source.images], _frames(volume, result)
    if volume.multi_frame is not None:  # frames then stand in the order of the file
        order = np.argsort([int(header.InstanceNumber) for header in volume.headers])
        images, frames = [_multi_frame([images[index] for index in order])], frames[order]
    classes = {image.SOPInstanceUID: image.SOPClassUID for image in images}
    if volume.multi_frame is None:
        images = [_of_single_class(image) for image in images]
    with disable_value_validation(), _highdicom_is_silent():  # their remarks show values of the series
        segmentation = Segmentation(
            source_images=images,
            pixel_array=np.ascontiguousarray(frames),
            segmentation_type=SegmentationTypeValues.BINARY,
            segment_descriptions=_describe_all(result.results),
            series_instance_uid=generate_uid(),
            series_number=SERIES_NUMBER,
            sop_instance_uid=generate_uid(),
            instance_number=1,
            manufacturer=MAKER,
            manufacturer_model_name=MAKER,
            software_versions=f"{__version__}, highdicom {highdicom.__version__}",
            device_serial_number="0",
            series_description="Segmentation from text, research use",
            content_label="FROM TEXT",
            specific_character_set=CHARACTER_SET,  # highdicom refuses some that scanners write
        )
        if any(image.SOPClassUID != classes[image.SOPInstanceUID] for image in images):
            _refer_to_classes(segmentation, classes)
        segmentation.update(source.patient)
        with atomic_path(path) as temporary:
            segmentation.save_as(temporary, enforce_file_format=True)
            _check_read_back(temporary, segments=len(result.results), voxels=int(np.count_nonzero(frames)))


def _frames(volume: DicomVolume, result: Result) -> np.ndarray:
    """(slices, rows, columns) uint8: 0, or the number of a segment."""
    segment_of = np.zeros(256, np.uint8)
    for number, one in enumerate(result.results, start=1):
        segment_of[one.prompt.label] = number
    return volume.to_stored(segment_of[result.labels]).transpose(2, 1, 0)


def _describe_all(results: Sequence[PromptResult]) -> list[SegmentDescription]:
    vocabulary = Vocabulary.load()
    rgb = np.rint(255 * colours(results)[:, :3]).astype(int)
    return [
        _describe(number, one, rgb[one.prompt.label], vocabulary)
        for number, one in enumerate(results, start=1)
    ]


@contextmanager
def _highdicom_is_silent() -> Iterator[None]:
    """What highdicom logs of a series has UIDs and names in it."""
    logger = logging.getLogger("highdicom")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _nameless(image: Dataset) -> Dataset:
    """An image that tells highdicom nothing of the patient: it would log names, and refuse some."""
    nameless = Dataset()
    nameless.update(image)
    for keyword in TYPE_2:
        setattr(nameless, keyword, None)
    return nameless


def _of_single_class(image: Dataset) -> Dataset:
    """A file of one frame, whose class may be that of multi-frame images: highdicom goes by the class."""
    kind = MULTI_FRAME_CLASSES.get(image.SOPClassUID)
    if kind is not None:
        image.SOPClassUID = next(uid for uid, one in SLICE_CLASSES.items() if one == kind)
    return image


def _refer_to_classes(segmentation: Segmentation, classes: Mapping[str, str]) -> None:
    """Give references to images the classes that these have: {SOPInstanceUID: SOPClassUID}."""
    for element in segmentation.iterall():
        for item in element.value if element.VR == "SQ" else ():
            if found := classes.get(item.get("ReferencedSOPInstanceUID")):
                item.ReferencedSOPClassUID = found


def _multi_frame(images: Sequence[Dataset]) -> Dataset:
    """The frames of one file as a multi-frame image, with what they share where highdicom looks for it."""
    whole, shared, measures, orientation = _nameless(images[0]), Dataset(), Dataset(), Dataset()
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"):
        del whole[keyword]
    measures.PixelSpacing = [DS(value, auto_format=True) for value in images[0].PixelSpacing]
    measures.SliceThickness = DS(images[0].SliceThickness, auto_format=True)
    orientation.ImageOrientationPatient = [
        DS(value, auto_format=True) for value in images[0].ImageOrientationPatient
    ]
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    whole.SharedFunctionalGroupsSequence = [shared]
    whole.PerFrameFunctionalGroupsSequence = [_frame(image) for image in images]
    whole.NumberOfFrames = len(images)
    return whole


def _frame(image: Dataset) -> Dataset:
    frame, position = Dataset(), Dataset()
    position.ImagePositionPatient = [DS(value, auto_format=True) for value in image.ImagePositionPatient]
    frame.PlanePositionSequence = [position]
    return frame


def _check_read_back(path: Path, *, segments: int, voxels: int) -> None:
    """Refuse a file that a reader finds to be other than what was meant."""
    try:
        written = highdicom.seg.segread(path)
        held = -(-written.NumberOfFrames * written.Rows * written.Columns // 8)  # bytes; another may fill up
        bits = np.unpackbits(np.frombuffer(written.PixelData, np.uint8, held))
        found = (written.number_of_segments, int(bits.sum()))
    except Exception as error:
        raise InputError(
            f"{path.name}: cannot be read back ({reason_of(error)}), expected a DICOM segmentation; ask for "
            "labels instead."
        ) from error
    if found != (segments, voxels):
        raise InputError(
            f"{path.name}: reads back with {found[0]} segments of {found[1]} voxels, expected {segments} of "
            f"{voxels}; ask for labels instead."
        )


def _describe(
    number: int, result: PromptResult, rgb: np.ndarray, vocabulary: Vocabulary
) -> SegmentDescription:
    kind, side = property_of(result.prompt, vocabulary)
    description = SegmentDescription(
        segment_number=number,
        segment_label=dicom_name(result.prompt.name),
        segmented_property_category=codes.SCT.AnatomicalStructure,
        segmented_property_type=kind,
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=AlgorithmIdentificationSequence(
            name=MAKER, version=__version__, family=codes.DCM.ArtificialIntelligence
        ),
        tracking_uid=generate_uid(),
        tracking_id=f"{number}",
        display_color=CIELabColor.from_rgb(*(int(value) for value in rgb)),
    )
    if side is not None:  # PS3.3 table 10-19; highdicom has no argument for it
        modifier = CodedConcept.from_code(side)
        description.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [
            modifier
        ]
    return description

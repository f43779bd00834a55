"""A label map as a DICOM Segmentation object (PS3.3 A.51), one binary segment a prompt."""

import os

import highdicom
import numpy as np
from highdicom.color import CIELabColor
from highdicom.content import AlgorithmIdentificationSequence
from highdicom.seg import SegmentAlgorithmTypeValues, Segmentation, SegmentationTypeValues, SegmentDescription
from highdicom.sr import CodedConcept
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid

from .. import __version__
from ..data.dicom_volume import DicomVolume
from ..files import atomic_path
from ..inference.segmentation import PromptResult
from ..inference.segmentation import Segmentation as Result
from ..text.vocabulary import Vocabulary
from .dicom_names import CHARACTER_SET, dicom_name, property_of
from .preview import colours

MAKER = "text-guided-segmentation-bundles"
SERIES_NUMBER = 901  # out of the way of a scanner's numbers


def write_dicom_seg(path: str | os.PathLike[str], volume: DicomVolume, result: Result) -> None:
    """Write the label map as a binary SEG that refers to the series which `volume` was read from.

    Segments are numbered from 1 in the order of the prompts; their labels are the prompts' names, and known
    organs have their SNOMED CT code.
    """
    vocabulary = Vocabulary.load()
    found = result.results
    segment_of = np.zeros(256, np.uint8)
    for number, one in enumerate(found, start=1):
        segment_of[one.prompt.label] = number
    frames = volume.to_stored(segment_of[result.labels]).transpose(2, 1, 0)  # (slices, rows, columns)
    sources = volume.headers
    if volume.multi_frame is not None:  # frames then stand in the order of the file
        sources = (volume.multi_frame,)
        frames = frames[np.argsort([header.InstanceNumber for header in volume.headers])]
    rgb = np.rint(255 * colours(found)[:, :3]).astype(int)
    segmentation = Segmentation(
        source_images=sources,
        pixel_array=np.ascontiguousarray(frames),
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=[
            _describe(number, one, rgb[one.prompt.label], vocabulary)
            for number, one in enumerate(found, start=1)
        ],
        series_instance_uid=generate_uid(),
        series_number=SERIES_NUMBER,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer=MAKER,
        manufacturer_model_name=MAKER,
        software_versions=f"{__version__}, highdicom {highdicom.__version__}",
        device_serial_number="0",
        series_description="Segmentation from text, research use",
        specific_character_set=CHARACTER_SET,  # highdicom refuses some that scanners write
    )
    with atomic_path(path) as temporary:
        segmentation.save_as(temporary)


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

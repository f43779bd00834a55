"""A label map as a DICOM Segmentation object (PS3.3 A.51), one binary segment a prompt."""

import os

import highdicom
import numpy as np
from highdicom.color import CIELabColor
from highdicom.content import AlgorithmIdentificationSequence
from highdicom.seg import SegmentAlgorithmTypeValues, Segmentation, SegmentationTypeValues, SegmentDescription
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid

from .. import __version__
from ..data.dicom_volume import DicomVolume
from ..files import atomic_path
from .preview import colours
from .segmentation import PromptResult
from .segmentation import Segmentation as Result

MAKER = "text-guided-segmentation-bundles"
SERIES_NUMBER = 901  # out of the way of a scanner's numbers
LABEL_CHARACTERS = 64  # of a SegmentLabel (VR LO)


def write_dicom_seg(path: str | os.PathLike[str], volume: DicomVolume, result: Result) -> None:
    """Write the label map as a binary SEG that refers to the series which `volume` was read from.

    Segments are numbered from 1 in the order of the prompts; their labels are the prompts' names.
    """
    found = result.results
    segment_of = np.zeros(256, np.uint8)
    for number, one in enumerate(found, start=1):
        segment_of[one.prompt.label] = number
    frames = volume.to_stored(segment_of[result.labels]).transpose(2, 1, 0)  # (slices, rows, columns)
    rgb = np.rint(255 * colours(found)[:, :3]).astype(int)
    segmentation = Segmentation(
        source_images=volume.headers,
        pixel_array=np.ascontiguousarray(frames),
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=[
            _describe(number, one, rgb[one.prompt.label]) for number, one in enumerate(found, start=1)
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
    )
    with atomic_path(path) as temporary:
        segmentation.save_as(temporary)


def _describe(number: int, result: PromptResult, rgb: np.ndarray) -> SegmentDescription:
    return SegmentDescription(
        segment_number=number,
        segment_label=result.prompt.name[:LABEL_CHARACTERS],
        # what a text means is not coded: the most general concept is the honest one
        segmented_property_category=codes.SCT.AnatomicalStructure,
        segmented_property_type=codes.SCT.AnatomicalStructure,
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=AlgorithmIdentificationSequence(
            name=MAKER, version=__version__, family=codes.DCM.ArtificialIntelligence
        ),
        tracking_uid=generate_uid(),
        tracking_id=f"{number}",
        display_color=CIELabColor.from_rgb(*(int(value) for value in rgb)),
    )

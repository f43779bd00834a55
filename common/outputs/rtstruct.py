"""A label map as a DICOM RT Structure Set (PS3.3 A.19): closed contours around each prompt's mask."""

import os
from collections.abc import Iterator, Sequence
from datetime import datetime

import numpy as np
from pydicom import Dataset, FileDataset
from pydicom.config import disable_value_validation
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, RTStructureSetStorage, generate_uid
from scipy.ndimage import binary_fill_holes
from skimage.measure import find_contours

from .. import __version__
from ..data.dicom_volume import DicomVolume
from ..data.itk_files import RAS_FROM_LPS
from ..files import atomic_path
from ..inference.segmentation import Segmentation
from .dicom_names import CHARACTER_SET, dicom_name
from .dicom_source import DicomSource, source_of
from .preview import colours

SERIES_NUMBER = 902


def write_rtstruct(path: str | os.PathLike[str], volume: DicomVolume, result: Segmentation) -> None:
    """Write one region of interest a prompt, contoured in the slices of the series.

    Contours run half-way between the pixels inside and outside. A slice with holes has all of its
    contours as CLOSEDPLANAR_XOR, which readers combine by exclusive or; others are CLOSED_PLANAR.

    Raises:
        InputError: see `source_of`.
    """
    source = source_of(volume)
    with disable_value_validation():  # pydicom's warnings would show values of the series
        structures = _structure_set(source, multi_frame=volume.multi_frame is not None)
        _add_regions(structures, volume, source, result)
        with atomic_path(path) as temporary:
            structures.save_as(temporary, enforce_file_format=True)


def _add_regions(structures: Dataset, volume: DicomVolume, source: DicomSource, result: Segmentation) -> None:
    masks = volume.to_stored(result.labels).transpose(2, 1, 0)  # (slices, rows, columns)
    rgb = np.rint(255 * colours(result.results)[:, :3]).astype(int)
    for number, one in enumerate(result.results, start=1):
        region = Dataset()
        region.ROINumber = number
        region.ReferencedFrameOfReferenceUID = structures.FrameOfReferenceUID
        region.ROIName = dicom_name(one.prompt.name)
        region.ROIGenerationAlgorithm = "AUTOMATIC"
        structures.StructureSetROISequence.append(region)
        contours = Dataset()
        contours.ROIDisplayColor = rgb[one.prompt.label].tolist()
        contours.ReferencedROINumber = number
        drawn = list(_contours(volume, source, masks == one.prompt.label))
        if drawn:  # the standard wants one or more
            contours.ContourSequence = drawn
        structures.ROIContourSequence.append(contours)
        observation = Dataset()
        observation.ObservationNumber = observation.ReferencedROINumber = number
        observation.RTROIInterpretedType = observation.ROIInterpreter = ""
        structures.RTROIObservationsSequence.append(observation)


def _contours(volume: DicomVolume, source: DicomSource, masks: np.ndarray) -> Iterator[Dataset]:
    """Contours of masks (slices, rows, columns) in mm, LPS."""
    to_lps = RAS_FROM_LPS @ volume.grid.affine
    for index in np.flatnonzero(masks.any(axis=(1, 2))):
        mask = masks[index]
        kind = "CLOSED_PLANAR" if (binary_fill_holes(mask) == mask).all() else "CLOSEDPLANAR_XOR"
        # a rim of one pixel closes the contours of masks that touch the border
        for line in find_contours(np.pad(mask, 1).astype(float), 0.5):
            row, column = line[:-1].T - 1  # the last point repeats the first
            index_points = np.stack([column, row, np.full_like(row, index), np.ones_like(row)])
            points = (to_lps @ index_points)[:3].T
            contour = Dataset()
            contour.ContourImageSequence = [_reference(source.images[index])]
            if volume.multi_frame is not None:
                frame = volume.headers[index].InstanceNumber
                contour.ContourImageSequence[0].ReferencedFrameNumber = frame
            contour.ContourGeometricType = kind
            contour.NumberOfContourPoints = len(points)
            contour.ContourData = [f"{value:.4f}" for value in points.ravel()]  # a DS has 16 characters
            yield contour


def _structure_set(source: DicomSource, *, multi_frame: bool) -> FileDataset:
    """An empty structure set of the patient, study and frame of reference that the series has."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = RTStructureSetStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    structures = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    structures.SpecificCharacterSet = CHARACTER_SET
    structures.update(source.patient)
    first = source.images[0]
    structures.StudyInstanceUID, structures.FrameOfReferenceUID = (
        first.StudyInstanceUID,
        first.FrameOfReferenceUID,
    )
    structures.PositionReferenceIndicator = first.get("PositionReferenceIndicator", "")
    now = datetime.now()
    structures.SOPClassUID, structures.SOPInstanceUID = RTStructureSetStorage, meta.MediaStorageSOPInstanceUID
    structures.Modality, structures.SeriesInstanceUID = "RTSTRUCT", generate_uid()
    structures.SeriesNumber, structures.InstanceNumber = SERIES_NUMBER, 1
    structures.SeriesDescription = "Contours from text, research use"
    structures.Manufacturer, structures.SoftwareVersions = "text-guided-segmentation-bundles", __version__
    structures.OperatorsName = ""
    structures.StructureSetLabel = "FROM TEXT"
    structures.StructureSetDate = structures.InstanceCreationDate = now.strftime("%Y%m%d")
    structures.StructureSetTime = structures.InstanceCreationTime = now.strftime("%H%M%S")
    structures.ApprovalStatus = "UNAPPROVED"
    structures.ReferencedFrameOfReferenceSequence = [
        _frame_of_reference(source.images[:1] if multi_frame else source.images)
    ]
    structures.StructureSetROISequence = []
    structures.ROIContourSequence = []
    structures.RTROIObservationsSequence = []
    return structures


def _frame_of_reference(images: Sequence[Dataset]) -> Dataset:
    first = images[0]
    series = Dataset()
    series.SeriesInstanceUID = first.SeriesInstanceUID
    series.ContourImageSequence = [_reference(header) for header in images]
    study = Dataset()
    study.ReferencedSOPClassUID = "1.2.840.10008.3.1.2.3.1"  # detached study, as the standard still asks for
    study.ReferencedSOPInstanceUID = first.StudyInstanceUID
    study.RTReferencedSeriesSequence = [series]
    frame = Dataset()
    frame.FrameOfReferenceUID = first.FrameOfReferenceUID
    frame.RTReferencedStudySequence = [study]
    return frame


def _reference(header: Dataset) -> Dataset:
    reference = Dataset()
    reference.ReferencedSOPClassUID = header.SOPClassUID
    reference.ReferencedSOPInstanceUID = header.SOPInstanceUID
    return reference

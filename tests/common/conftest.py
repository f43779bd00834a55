"""DICOM series made for a test."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian, generate_uid

AXIAL = (1, 0, 0, 0, 1, 0)


def write_dicom_series(
    folder: Path,
    slices: np.ndarray,
    *,
    orientation: Sequence[float] = AXIAL,
    spacing: tuple[float, float] = (1.0, 1.0),
    step: Sequence[float] = (0.0, 0.0, 2.0),
    origin: Sequence[float] = (-10.0, 20.0, -30.0),
    compress: str | None = None,
    **tags: object,
) -> str:
    """Write slices (N, rows, columns) of integer HU; slice k lies at origin + k * step (LPS, mm).

    Names are in reverse order, so that only positions tell the order. Returns the SeriesInstanceUID.
    """
    folder.mkdir(parents=True, exist_ok=True)
    series, study, frame = generate_uid(), generate_uid(), generate_uid()
    for index, pixels in enumerate(slices):
        header = pydicom.Dataset()
        header.file_meta = pydicom.dataset.FileMetaDataset()
        header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        header.SOPClassUID, header.SOPInstanceUID = CTImageStorage, generate_uid()
        header.Modality, header.SeriesDescription, header.SeriesNumber = "CT", "Abdomen", 4
        header.SeriesInstanceUID, header.StudyInstanceUID, header.FrameOfReferenceUID = series, study, frame
        header.PatientID, header.PatientName, header.InstanceNumber = "P1", "Test^Patient", index + 1
        header.PatientBirthDate = header.PatientSex = header.AccessionNumber = header.StudyID = ""
        header.StudyDate, header.StudyTime, header.ReferringPhysicianName = "20240101", "120000", ""
        header.ImageOrientationPatient = list(orientation)
        header.ImagePositionPatient = (np.asarray(origin) + index * np.asarray(step)).tolist()
        header.PixelSpacing, header.SliceThickness = list(spacing), float(np.linalg.norm(step))
        header.Rows, header.Columns = pixels.shape
        header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
        header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 16, 16, 15, 0
        header.RescaleSlope, header.RescaleIntercept, header.RescaleType = 2, -1024, "HU"
        header.PixelData = ((pixels.astype(int) + 1024) // 2).astype("<u2").tobytes()
        for keyword, value in tags.items():
            setattr(header, keyword, value)
        header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID
        if compress is not None:
            header.compress(compress)
        name = f"{len(slices) - index:04d}-{series[-6:]}.dcm"
        header.save_as(folder / name, enforce_file_format=True)
    return str(series)


@pytest.fixture
def make_dicom() -> Callable[..., str]:
    return write_dicom_series


def write_multi_frame(
    path: Path,
    slices: np.ndarray,
    *,
    order: Sequence[int],
    slopes: Sequence[float],
    orientation: Sequence[float] = AXIAL,
    step: Sequence[float] = (0.0, 0.0, 2.0),
    compress: str | None = None,
    **tags: object,
) -> pydicom.Dataset:
    """Write slices (N, rows, columns) of HU, -1024 + a multiple of their slope, as one enhanced CT image.

    Frame f of the file holds slice order[f]; slice k lies at k * step. Returns the header.
    """
    write_dicom_series(path.parent / "single", slices[:1], orientation=orientation, step=step)
    (single,) = (path.parent / "single").iterdir()
    header = pydicom.dcmread(single)
    single.unlink()
    single.parent.rmdir()
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness",
                    "RescaleSlope", "RescaleIntercept", "RescaleType"):  # fmt: skip
        delattr(header, keyword)
    header.SOPClassUID = header.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    header.NumberOfFrames = len(slices)
    shared, measures, plane = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
    measures.PixelSpacing, measures.SliceThickness = [1.0, 1.0], float(np.linalg.norm(step))
    plane.ImageOrientationPatient = list(orientation)
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [plane]
    header.SharedFunctionalGroupsSequence = [shared]
    header.PerFrameFunctionalGroupsSequence = []
    for place in order:
        frame, position, rescaling = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
        position.ImagePositionPatient = (place * np.asarray(step)).tolist()
        rescaling.RescaleSlope, rescaling.RescaleIntercept = slopes[place], -1024
        rescaling.RescaleType = "HU"
        frame.PlanePositionSequence, frame.PixelValueTransformationSequence = [position], [rescaling]
        header.PerFrameFunctionalGroupsSequence.append(frame)
    stored = [(slices[place] + 1024) / slopes[place] for place in order]
    header.PixelData = np.rint(stored).astype("<u2").tobytes()
    for keyword, value in tags.items():
        setattr(header, keyword, value)
    if compress is not None:
        header.compress(compress)
    header.save_as(path, enforce_file_format=True)
    return header


@pytest.fixture
def make_multi_frame() -> Callable[..., pydicom.Dataset]:
    return write_multi_frame

"""A NIfTI phantom as a DICOM CT series: one file a slice, axial, in Hounsfield units."""

from pathlib import Path

import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from common.data.volumes import Volume, read_volume

LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def write_series(image: Path, folder: Path) -> tuple[str, str]:
    """Write the series; returns its StudyInstanceUID and SeriesInstanceUID."""
    volume = read_volume(image)
    folder.mkdir(parents=True)
    study, series, frame = (generate_uid() for _ in range(3))
    for index, slice_ in enumerate(volume.slices):
        file = _slice(volume, index, np.rint(slice_).astype(np.int16))
        file.StudyInstanceUID, file.SeriesInstanceUID, file.FrameOfReferenceUID = study, series, frame
        file.PatientID = file.PatientName = image.name.removesuffix(".nii.gz")
        file.save_as(folder / f"{index:03d}.dcm", write_like_original=False)
    return str(study), str(series)


def _slice(volume: Volume, index: int, pixels: np.ndarray) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    file.is_little_endian, file.is_implicit_VR = True, False
    file.SOPClassUID, file.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    file.Modality, file.SeriesDescription, file.StudyDescription = "CT", "Phantom", "Phantom"
    file.StudyDate, file.StudyTime, file.StudyID, file.AccessionNumber = "20260101", "120000", "1", ""
    file.PatientBirthDate, file.PatientSex, file.ReferringPhysicianName = "", "O", ""
    file.SeriesNumber, file.InstanceNumber, file.ImageType = 1, index + 1, ["DERIVED", "PRIMARY", "AXIAL"]
    affine = LPS_FROM_RAS @ volume.affine  # (slice, row, column) to LPS mm
    position = affine @ [index, 0, 0, 1]
    file.ImagePositionPatient = [round(float(value), 6) for value in position[:3]]
    depth, height, width = volume.spacing_mm
    file.ImageOrientationPatient = [float(v) for v in (*affine[:3, 2] / width, *affine[:3, 1] / height)]
    file.PixelSpacing, file.SliceThickness = [height, width], depth
    file.Rows, file.Columns = pixels.shape
    file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME2"
    file.BitsAllocated, file.BitsStored, file.HighBit, file.PixelRepresentation = 16, 16, 15, 1
    file.RescaleIntercept, file.RescaleSlope, file.RescaleType = 0, 1, "HU"
    file.WindowCenter, file.WindowWidth = 40, 400
    file.PixelData = pixels.tobytes()
    return file

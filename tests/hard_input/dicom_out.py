"""Series whose headers lack or mangle what a segmentation or a structure set takes over from them."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.config import disable_value_validation
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from common.data.dicom_frames import frame_headers
from common.data.dicom_volume import DicomVolume
from common.data.itk_files import RAS_FROM_LPS, volume_from_array
from tests.common.conftest import write_dicom_series, write_multi_frame

STEP_MM = 2.0
SHAPE = (3, 6, 5)  # slices, rows, columns
SHEAR: dict[str, Any] = {
    "orientation": (1, 0, 0, 0, 0.8, -0.6),
    "step": (0.0, 0.0, 5.0),
}  # planes are 0.8 * 5 mm apart

# What a careful scanner writes, with every value to be found in logs if it got there
WHOLE: dict[str, Any] = {
    "PatientName": "Secretname^Jane",
    "PatientID": "SECRETID",
    "PatientBirthDate": "19470811",
    "PatientSex": "F",
    "StudyDate": "20190203",
    "StudyTime": "040506.070000",
    "StudyID": "SECRETSTUDY",
    "AccessionNumber": "SECRETACC",
    "ReferringPhysicianName": "Secretdoctor^Who",
}
OPTIONAL: dict[str, Any] = {
    "StudyDescription": "Secret description",
    "PatientAge": "071Y",
    "PatientSize": "1.71",
    "PatientWeight": "71.5",
    "PatientComments": "secret comment",
    "OtherPatientNames": ["Secretother^Jane", "Secretother^Joan"],
    "LastMenstrualDate": "19990101",
    "PregnancyStatus": 4,
    "PatientIdentityRemoved": "NO",
    "ClinicalTrialSponsorName": "Secretsponsor",
    "ClinicalTrialProtocolID": "SECRETPROTOCOL",
    "ClinicalTrialSubjectID": "SECRETSUBJECT",
    "Manufacturer": "Secretmaker",
    "ManufacturerModelName": "Secretmodel",
    "SoftwareVersions": ["secret1", "secret2"],
    "DeviceSerialNumber": "SECRETSERIAL",
    "InstitutionName": "Secrethospital",
    "InstitutionalDepartmentName": "Secretward",
    "InstitutionAddress": "Secretstreet 1",
    "StationName": "SECRETSTATION",
    "AcquisitionDateTime": "20190203040506",
    "PositionReferenceIndicator": "SECRETSPOT",
    "LossyImageCompression": "01",
    "LossyImageCompressionRatio": "12.5",
    "LossyImageCompressionMethod": "ISO_10918_1",
    "Modality": "CT",
}
PLACES = ("SliceThickness", "SpacingBetweenSlices")
UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "SOPClassUID", "SOPInstanceUID")

# Values that are against the standard, by VR
MALFORMED: Mapping[str, bytes] = {
    "AS": b"seventy ",
    "CS": b"secret low-case ",
    "DA": b"1947-08-11",
    "DS": b"4.5 secret",
    "DT": b"secret noon ",
    "LO": b"secret" * 20,
    "LT": b"secret\x1b[31m\x07",
    "PN": b"Secret=Secret=Secret=Secret ",
    "SH": b"secret" * 4,
    "ST": b"secret\x01\x02",
    "TM": b"4 o'clock ",
    "UI": b"secret",
    "US": b"\x01\x02\x03\x04\x05\x06",
}
Change = Callable[[pydicom.Dataset, str], None]


def _absent(header: pydicom.Dataset, keyword: str) -> None:
    header.pop(Tag(keyword), None)


def _raw(header: pydicom.Dataset, keyword: str, value: bytes, kind: str = "") -> None:
    tag = Tag(keyword)
    kind = kind or dictionary_VR(tag)
    header[tag] = RawDataElement(tag, kind, len(value), value, 0, False, True, True)


def _empty(header: pydicom.Dataset, keyword: str) -> None:
    _raw(header, keyword, b"")


def _malformed(header: pydicom.Dataset, keyword: str) -> None:
    _raw(header, keyword, MALFORMED[dictionary_VR(Tag(keyword))])


def _control_characters(header: pydicom.Dataset, keyword: str) -> None:
    _raw(header, keyword, b"\x01se\x00cret\xff\x1b")


def _of_another_kind(header: pydicom.Dataset, keyword: str) -> None:
    _raw(header, keyword, b"\x00\x00\xc0\x7f", "FL")  # not a number


def _a_day_that_no_calendar_has(header: pydicom.Dataset, keyword: str) -> None:
    _raw(header, keyword, b"19470230")


def _a_range(header: pydicom.Dataset, keyword: str) -> None:
    _raw(header, keyword, b"19470811-19470812 ")


def _two_values(header: pydicom.Dataset, keyword: str) -> None:
    _raw(header, keyword, b"19470811\\19470812 ")


WAYS: dict[str, Change] = {
    "absent": _absent,
    "empty": _empty,
    "malformed": _malformed,
    "control characters": _control_characters,
    "another kind": _of_another_kind,
}
MORE_WAYS: dict[str, dict[str, Change]] = {  # of some tags alone
    "PatientBirthDate": {"30 February": _a_day_that_no_calendar_has, "a range": _a_range},
    "StudyDate": {"30 February": _a_day_that_no_calendar_has, "two values": _two_values},
    "PatientName": {"two values": _two_values},
    "PatientID": {"two values": _two_values},
}


def ways_of(keywords: Iterable[str]) -> list[tuple[str, str]]:
    """(keyword, way) of all that can be wrong."""
    return [(keyword, way) for keyword in keywords for way in (*WAYS, *MORE_WAYS.get(keyword, ()))]


def spoil(header: pydicom.Dataset, keyword: str, way: str) -> None:
    """Change an element of a header in place."""
    (WAYS | MORE_WAYS.get(keyword, {}))[way](header, keyword)


def series(
    folder: Path,
    *,
    change: Callable[[int, pydicom.Dataset], None] = lambda _index, _header: None,
    enhanced: bool = False,
    count: int = SHAPE[0],
    **geometry: Any,
) -> DicomVolume:
    """A volume of `SHAPE`, or another `count` of slices, from files that `change` spoils one by one.

    It is as a lenient reader gives it, whatever the headers hold.

    Slices lie `STEP_MM` apart. The pixels do not matter: no network sees them.
    """
    slices = np.zeros((count, *SHAPE[1:]), int)
    with disable_value_validation():
        if enhanced:
            folder.mkdir(parents=True)
            write_multi_frame(
                folder / "ct.dcm", slices, order=(2, 0, 1), slopes=(1, 1, 1), **WHOLE, **OPTIONAL
            )
        else:
            write_dicom_series(folder, slices, **geometry, **WHOLE, **OPTIONAL)
        for index, path in enumerate(sorted(folder.iterdir(), reverse=True)):
            header = pydicom.dcmread(path)
            change(index, header)
            header.save_as(path)
    return _lenient(folder, enhanced=enhanced)


def _lenient(folder: Path, *, enhanced: bool) -> DicomVolume:
    paths = sorted(folder.iterdir(), reverse=True)  # of series whose first file is the last slice
    headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in paths]
    multi_frame = headers[0] if enhanced else None
    if multi_frame is not None:
        headers = frame_headers(paths[0], multi_frame)
        headers.sort(key=lambda header: header.ImagePositionPatient[2])
    places = [np.array(header.ImagePositionPatient, float) for header in headers]
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = np.array(headers[0].ImageOrientationPatient, float).reshape(2, 3)
    affine[:3, 2] = places[1] - places[0] if len(places) > 1 else (0, 0, 1)
    affine[:3, 3] = places[0]
    voxels = np.zeros((SHAPE[2], SHAPE[1], len(places)), np.float32)
    volume = volume_from_array(folder, voxels, RAS_FROM_LPS @ affine)
    return DicomVolume(volume.slices, volume.spacing_mm, volume.grid, tuple(headers), multi_frame)

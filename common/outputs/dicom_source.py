"""What a DICOM object takes over from the series that it refers to: values that are whole, or none.

Headers come from all kinds of devices and anonymisers. An attribute that may be empty (Type 2) is empty
where the series lacks it or has a malformed value; without what identifies the images (Type 1) no object
can refer to them. No value of a header is ever part of a message.
"""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydicom import DataElement, Dataset
from pydicom.config import RAISE, disable_value_validation
from pydicom.datadict import dictionary_has_tag, dictionary_VM, dictionary_VR, keyword_for_tag
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag, Tag
from pydicom.valuerep import DA, DT, PersonName, validate_value

from ..data.dicom_volume import DicomVolume
from ..errors import InputError

# Of Patient and General Study modules (PS3.3 C.7.1.1, C.7.2.1): there in every object, and empty if not known
TYPE_2 = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime"),
    *("AccessionNumber", "StudyID", "ReferringPhysicianName"),
)
PATIENT_GROUPS = (0x0010, 0x0012)  # patient, and clinical trial
STUDY = (
    *("StudyDate", "StudyTime", "StudyID", "StudyDescription", "AccessionNumber", "ReferringPhysicianName"),
    *("IssuerOfAccessionNumberSequence", "ReferringPhysicianIdentificationSequence", "ProcedureCodeSequence"),
    *("ConsultingPhysicianName", "PhysiciansOfRecord", "NameOfPhysiciansReadingStudy", "RequestingService"),
    *("ReferencedStudySequence", "ReasonForVisit", "AdmissionID", "AdmittingDiagnosesDescription"),
)
TRIAL = "ClinicalTrial"  # keywords of modules that need these two, and have the three others
TRIAL_TYPE_1 = ("ClinicalTrialSponsorName", "ClinicalTrialProtocolID")
TRIAL_TYPE_2 = ("ClinicalTrialProtocolName", "ClinicalTrialSiteID", "ClinicalTrialSiteName")
OF_IMAGE = (  # frame of reference, compression and equipment: what a segmentation says of its source
    *("PositionReferenceIndicator", "LossyImageCompressionRatio", "LossyImageCompressionMethod"),
    *("Manufacturer", "ManufacturerModelName", "SoftwareVersions", "DeviceSerialNumber"),
    *("InstitutionName", "InstitutionalDepartmentName", "InstitutionAddress", "StationName"),
    "AcquisitionDateTime",
)
ENUMERATED = {"PatientSex": ("M", "F", "O"), "LossyImageCompression": ("00", "01")}
OF_SERIES = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")  # Type 1, and one in a series
OF_SLICE = ("SOPClassUID", "SOPInstanceUID")  # Type 1
TEXT = ("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT")
LINES = ("LT", "ST", "UT")  # which may have line ends
UID = re.compile(r"[0-9]+(\.[0-9]+)*")  # zeros that lead a part are against the standard, and harmless
UID_CHARACTERS = 64

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DicomSource:
    """A series as other objects refer to it.

    Attributes:
        patient: elements of patient, clinical trial and study; those of Type 2 are all there.
        images: of the slices in the order of the stored third axis: UIDs, place, size, equipment.
        malformed: keywords of what was left out or emptied.
    """

    patient: Dataset
    images: tuple[Dataset, ...]
    malformed: tuple[str, ...]


def check_source(volume: DicomVolume, kinds: Sequence[str]) -> None:
    """Check that DICOM objects can refer to a series, and say which of its values they cannot take over.

    Raises:
        InputError: see `source_of`; names `kinds`, the outputs that need it.
    """
    wanted = " and ".join(kinds)
    try:
        source = source_of(volume)
    except InputError as error:
        raise InputError(
            f"{error}, expected what {wanted} can refer to; leave {wanted} out or export the series again."
        ) from error
    if source.malformed:
        logger.warning(
            "%s: malformed values of %s are left empty in %s.",
            volume.grid.path,
            ", ".join(source.malformed),
            wanted,
        )


def source_of(volume: DicomVolume) -> DicomSource:
    """What objects that refer to a series take over from it.

    Raises:
        InputError: a UID that identifies the series or one of its images is missing, malformed, or there
            twice. The message is the beginning of a sentence.
    """
    with disable_value_validation():  # pydicom's warnings would show the values
        shared = {keyword: _uid_of_series(volume, keyword) for keyword in OF_SERIES}
        own = {keyword: _uids(volume, keyword) for keyword in OF_SLICE}
        _check_distinct(volume, own["SOPInstanceUID"])
        first = volume.headers[0]
        patient, malformed = _patient(first)
        about, of_image = _take(first, [Tag(keyword) for keyword in (*OF_IMAGE, "LossyImageCompression")])
        about.Rows, about.Columns = int(first.Rows), int(first.Columns)
        about.ImageOrientationPatient = _numbers(first.ImageOrientationPatient)
        about.PixelSpacing, about.SliceThickness = _numbers(first.PixelSpacing), _thickness_mm(volume)
        for keyword, uid in shared.items():
            setattr(about, keyword, uid)
        images = [
            _image(about, header, {keyword: uids[index] for keyword, uids in own.items()})
            for index, header in enumerate(volume.headers)
        ]
    return DicomSource(patient, tuple(images), tuple(sorted({*malformed, *of_image})))


def _image(about: Dataset, header: Dataset, uids: Mapping[str, str]) -> Dataset:
    """A slice: what all of them share, its own UIDs and its place."""
    image = Dataset()
    image.update(about)
    for keyword, uid in uids.items():
        setattr(image, keyword, uid)
    image.ImagePositionPatient = _numbers(header.ImagePositionPatient)
    return image


def _uids(volume: DicomVolume, keyword: str) -> list[str]:
    """The UID of every slice."""
    found = [_uid(header, keyword) for header in volume.headers]
    total = f"of {len(found)} slice{'s' if len(found) > 1 else ''}"
    for wrong, what in ((None, f"no {keyword}"), ("", f"a malformed {keyword}")):
        if count := found.count(wrong):
            raise InputError(f"{volume.grid.path}: found {what} in {count} {total}")
    return [str(uid) for uid in found]


def _uid(header: Dataset, keyword: str) -> str | None:
    """A UID; None where there is none, and "" for a malformed one."""
    try:
        value = header.get(keyword)
    except Exception:  # whatever pydicom raises for a value that it cannot convert
        return ""
    if value is None or value == "":
        return None
    text = str(value)
    if not UID.fullmatch(text) or len(text) > UID_CHARACTERS:
        return ""
    meta = getattr(header, "file_meta", Dataset())
    other = keyword == "SOPClassUID" and meta.get("MediaStorageSOPClassUID", text) != text
    return "" if other else text


def _uid_of_series(volume: DicomVolume, keyword: str) -> str:
    found = set(_uids(volume, keyword))
    if len(found) > 1:
        raise InputError(f"{volume.grid.path}: found {len(found)} values of {keyword} in one series")
    return found.pop()


def _check_distinct(volume: DicomVolume, uids: Sequence[str]) -> None:
    if volume.multi_frame is None and len(set(uids)) < len(uids):
        raise InputError(
            f"{volume.grid.path}: found {len(set(uids))} values of SOPInstanceUID in {len(uids)} slices"
        )


def _patient(header: Dataset) -> tuple[Dataset, list[str]]:
    """Elements of patient, trial and study, and the keywords of malformed ones."""
    study = {Tag(keyword) for keyword in STUDY}
    tags = [tag for tag in list(header.keys()) if tag.group in PATIENT_GROUPS or tag in study]
    patient, malformed = _take(header, tags)
    required = list(TYPE_2)
    if all(keyword in patient for keyword in TRIAL_TYPE_1):
        required += TRIAL_TYPE_2
    else:
        for keyword in [one for one in patient.dir(TRIAL) if one.startswith(TRIAL)]:
            del patient[keyword]
    for keyword in required:
        if keyword not in patient:
            setattr(patient, keyword, "")
    return patient, malformed


def _take(header: Dataset, tags: Sequence[BaseTag]) -> tuple[Dataset, list[str]]:
    """Those of the elements that have a whole value, and the keywords of malformed ones."""
    taken, malformed = Dataset(), []
    for tag in tags:
        if tag not in header or not dictionary_has_tag(tag):
            continue
        try:
            element = _whole(header, tag)
        except Exception:  # pydicom raises many kinds of errors for values that it cannot convert
            malformed.append(keyword_for_tag(tag))
            continue
        if not element.is_empty:
            taken[tag] = element
    return taken, malformed


def _whole(header: Dataset, tag: BaseTag) -> DataElement:
    """An element anew, with the type of value that its tag has.

    Raises:
        Exception: its value is not of that type.
    """
    found, kind = header[tag], dictionary_VR(tag)
    if kind == "SQ":
        return DataElement(tag, kind, [_whole_item(item) for item in found.value or ()])
    if found.is_empty:
        return DataElement(tag, kind, "" if kind in TEXT else None)
    values = list(found.value) if isinstance(found.value, MultiValue) else [found.value]
    if len(values) > 1 and dictionary_VM(tag) == "1":
        raise ValueError("several values")
    values = [_text(kind, value) if kind in TEXT else value for value in values]
    allowed = ENUMERATED.get(keyword_for_tag(tag))
    for value in values:
        validate_value(kind, value, RAISE)
        if allowed is not None and value not in allowed:
            raise ValueError("not one of the allowed values")
    return DataElement(tag, kind, values if len(values) > 1 else values[0])


def _whole_item(item: Dataset) -> Dataset:
    """An item of a sequence, whole in all of its elements. Text is UTF-8 in the end, so it says none."""
    whole = Dataset()
    for tag in list(item.keys()):
        if dictionary_has_tag(tag) and tag != Tag("SpecificCharacterSet"):
            whole[tag] = _whole(item, tag)
    return whole


def _text(kind: str, value: Any) -> str:
    """A value as text, if it is what the kind allows."""
    if not isinstance(value, str | PersonName | (int | float if kind in ("DS", "IS") else str)):
        raise TypeError("no text")
    text = str(value).rstrip(" \0")
    allowed = "\n\r\t\f" if kind in LINES else ""
    if "\ufffd" in text or any(not one.isprintable() and one not in allowed for one in text):
        raise ValueError("bytes that are not text")
    if kind == "DA" and text:
        DA(text)  # a day that the calendar has
    elif kind == "DT" and text:
        DT(text)
    if kind in ("DA", "TM") and "-" in text:
        raise ValueError("a range, which only queries may have")
    return text


def _numbers(values: Any) -> list[float]:
    return [float(value) for value in values]


def _thickness_mm(volume: DicomVolume) -> float:
    """As the series says it, else the distance between the planes of the volume's slices."""
    try:
        stated = float(volume.headers[0].get("SliceThickness") or 0)
    except Exception:  # "4.5 mm"
        stated = 0.0
    if np.isfinite(stated) and stated > 0:
        return stated
    column, row, step = volume.grid.affine[:3, :3].T
    normal = np.cross(column, row)
    return float(abs(step @ normal) / np.linalg.norm(normal))

"""Segmentations and structure sets of series whose headers are not what the standard wants.

What is right comes from the standard's own tables of attributes (as highdicom has them) and from readers.
"""

import logging

import highdicom
import numpy as np
import pydicom
import pytest
from highdicom._standard_utils import get_iod_module_map, get_module_attribute_map
from pydicom.config import RAISE, disable_value_validation, strict_reading
from pydicom.uid import LegacyConvertedEnhancedCTImageStorage
from pydicom.valuerep import DA, DT, VALIDATORS, validate_value

from common.errors import InputError
from common.outputs.dicom_seg import write_dicom_seg
from common.outputs.dicom_source import source_of
from common.outputs.rtstruct import write_rtstruct
from common.outputs.writers import check_possible
from common.text.prompts import Prompt
from common.text.vocabulary import Vocabulary
from tests.common.made_up import segmentation
from tests.hard_input.dicom_out import (
    OPTIONAL,
    PLACES,
    SHAPE,
    SHEAR,
    STEP_MM,
    UIDS,
    WAYS,
    WHOLE,
    series,
    spoil,
    ways_of,
)

ASKED = [Prompt("liver", "liver", 3), Prompt("the stone", "stone", 1)]
KINDS = ("dicom_seg", "rtstruct")
MODULES = {"dicom_seg": "segmentation", "rtstruct": "rt-structure-set"}
_VOCABULARY = Vocabulary.load()
OF_THE_PATIENT = (*WHOLE, *(keyword for keyword in OPTIONAL if keyword.startswith(("Patient", "Clinical"))))


@pytest.fixture(autouse=True)
def vocabulary(monkeypatch):
    """Read once: it is no part of what is tried here."""
    monkeypatch.setattr(Vocabulary, "load", lambda: _VOCABULARY)


@pytest.fixture
def result():
    """Two boxes that share no voxel."""
    masks = np.zeros((2, *SHAPE), bool)
    masks[0, 0:2, 1:4, 1:4], masks[1, 1:3, 4, 0:2] = True, True
    return segmentation(ASKED, list(masks))


def written(kind, volume, result, folder):
    """The object of a volume, read again."""
    path = folder / f"{kind}.dcm"
    {"dicom_seg": write_dicom_seg, "rtstruct": write_rtstruct}[kind](path, volume, result)
    return pydicom.dcmread(path)


def spoilt(folder, keyword, way, **options):
    """A series with one element spoilt in all files."""
    return series(folder, change=lambda _index, header: spoil(header, keyword, way), **options)


def lacking(dataset, iod):
    """What of Type 1 is not there or empty, and of Type 2 not there, in an IOD's mandatory modules."""
    found = []
    for module in get_iod_module_map()[iod]:
        if module["usage"] != "M" or "functional-groups" in module["key"]:  # in shared or in each frame's
            continue
        for attribute in get_module_attribute_map()[module["key"]]:
            for place in places(dataset, attribute["path"]):
                keyword, kind = attribute["keyword"], attribute["type"]
                there = keyword in place
                if (kind == "2" and not there) or (
                    kind == "1" and not (there and not place[keyword].is_empty)
                ):
                    found.append(".".join([*attribute["path"], f"{keyword} ({kind})"]))
    return found


def places(dataset, path):
    if not path:
        return [dataset]
    return [place for item in dataset.get(path[0]) or [] for place in places(item, path[1:])]


def malformed(path):
    """Elements that a strict reader refuses."""
    with strict_reading():
        dataset = pydicom.dcmread(path)
        found = []
        for element in dataset.iterall():
            values = element.value if element.VM > 1 else [element.value]
            for value in values if element.VR in VALIDATORS and not element.is_empty else ():
                try:
                    validate_value(
                        element.VR, str(value) if element.VR in ("PN", "IS", "DS") else value, RAISE
                    )
                    {"DA": DA, "DT": DT}.get(element.VR, str)(value)
                except ValueError as error:
                    found.append(f"{element.keyword}: {error}")
    return found


def check(kind, dataset, volume, folder):
    """All that a reader may want of the objects of `result`."""
    assert lacking(dataset, MODULES[kind]) == []
    assert malformed(folder / f"{kind}.dcm") == []
    uids = [str(header.SOPInstanceUID) for header in volume.headers]
    if kind == "rtstruct":
        assert [roi.ROIName for roi in dataset.StructureSetROISequence] == ["liver", "stone"]
        drawn = [
            {contour.ContourImageSequence[0].ReferencedSOPInstanceUID for contour in roi.ContourSequence}
            for roi in dataset.ROIContourSequence
        ]
        assert drawn == [set(uids[:2]), set(uids[1:])]
        return
    read = highdicom.seg.segread(folder / "dicom_seg.dcm")
    if volume.multi_frame is None:
        frames = read.get_pixels_by_source_instance(uids, assert_missing_frames_are_empty=True)
    else:
        numbers = [int(header.InstanceNumber) for header in volume.headers]
        frames = read.get_pixels_by_source_frame(uids[0], numbers, assert_missing_frames_are_empty=True)
    expected = np.zeros((*SHAPE, 2), bool)
    expected[0:2, 1:4, 1:4, 0], expected[1:3, 4, 0:2, 1] = True, True
    np.testing.assert_array_equal(np.asarray(frames, bool), expected)
    geometry = read.get_volume_geometry()
    np.testing.assert_allclose(geometry.spacing, [STEP_MM, 1, 1], atol=1e-6)


def quiet(caplog, recwarn):
    """What was logged and warned of, without a value of the series."""
    said = caplog.text + " ".join(str(one.message) for one in recwarn)
    assert "secret" not in said.lower()
    assert "1947" not in said
    return said


@pytest.mark.parametrize("enhanced", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_of_a_whole_series_everything_is_taken_over(kind, enhanced, result, tmp_path, caplog, recwarn):
    with caplog.at_level(logging.DEBUG):
        volume = series(tmp_path / "scan", enhanced=enhanced)
        recwarn.clear()
        check_possible(KINDS, volume)
        dataset = written(kind, volume, result, tmp_path)
    check(kind, dataset, volume, tmp_path)
    assert quiet(caplog, recwarn) == ""
    for keyword in OF_THE_PATIENT:
        expected = str((WHOLE | OPTIONAL)[keyword])
        assert str(dataset[keyword].value) == expected, keyword
    for keyword in ("StudyInstanceUID", "FrameOfReferenceUID"):
        assert dataset[keyword].value == volume.headers[0][keyword].value
    if kind == "dicom_seg":
        assert [dataset.LossyImageCompression, dataset.LossyImageCompressionMethod] == ["01", "ISO_10918_1"]
        assert dataset.ContributingEquipmentSequence[0].Manufacturer == "Secretmaker"


ONE_BY_ONE = [(keyword, way, False) for keyword, way in ways_of(WHOLE)]
ENHANCED = [(keyword, way, True) for keyword in WHOLE for way in ("absent", "malformed")]


@pytest.mark.parametrize(("keyword", "way", "enhanced"), [*ONE_BY_ONE, *ENHANCED])
def test_a_value_that_is_not_whole_is_empty(keyword, way, enhanced, result, tmp_path, caplog, recwarn):
    """The standard wants it to be there; all others are as they were."""
    volume = spoilt(tmp_path / "scan", keyword, way, enhanced=enhanced)
    recwarn.clear()
    with caplog.at_level(logging.DEBUG):
        check_possible(KINDS, volume)
        for kind in KINDS:
            dataset = written(kind, volume, result, tmp_path)
            check(kind, dataset, volume, tmp_path)
            assert dataset[keyword].is_empty
            for other in set(WHOLE) - {keyword}:
                assert str(dataset[other].value) == WHOLE[other]
    said = quiet(caplog, recwarn)
    if way in ("absent", "empty"):
        assert said == ""
    else:
        assert f"malformed values of {keyword} are left empty in dicom_seg and rtstruct." in said


@pytest.mark.parametrize("keyword", OPTIONAL)
def test_what_need_not_be_there_is_left_out(keyword, result, tmp_path, caplog, recwarn):
    volume = spoilt(tmp_path / "scan", keyword, "malformed")
    recwarn.clear()
    with caplog.at_level(logging.DEBUG):
        check_possible(KINDS, volume)
        for kind in KINDS:
            dataset = written(kind, volume, result, tmp_path)
            check(kind, dataset, volume, tmp_path)
            if keyword in OF_THE_PATIENT:
                assert keyword not in dataset
    said = quiet(caplog, recwarn)
    if keyword != "Modality":  # which nothing is taken from
        assert f"malformed values of {keyword} are left empty in dicom_seg and rtstruct." in said


@pytest.mark.parametrize(("keyword", "way"), ways_of(OPTIONAL))
def test_what_is_taken_over_is_whole(keyword, way, tmp_path):
    """Of all ways, without writing: the writers see nothing else of a series."""
    source = source_of(spoilt(tmp_path / "scan", keyword, way))
    assert keyword not in source.patient
    assert keyword not in source.images[0]
    assert list(source.malformed) == (
        [] if way in ("absent", "empty") or keyword == "Modality" else [keyword]
    )
    taken = {element.keyword for element in (*source.patient, *source.images[0])}
    kept = set(WHOLE) | set(OPTIONAL) - {keyword, "Modality"}
    if keyword in ("ClinicalTrialSponsorName", "ClinicalTrialProtocolID"):
        kept = {one for one in kept if not one.startswith("ClinicalTrial")}
    assert kept <= taken


def test_a_trial_without_its_sponsor_is_no_trial(result, tmp_path):
    """A module of which one attribute must be there is there as a whole or not at all."""
    volume = spoilt(tmp_path / "scan", "ClinicalTrialSponsorName", "absent")
    for kind in KINDS:
        dataset = written(kind, volume, result, tmp_path)
        assert not [keyword for keyword in dataset.dir() if keyword.startswith("ClinicalTrial")]


@pytest.mark.parametrize(
    ("way", "enhanced"),
    [("absent", False), ("absent", True), ("empty", False), ("empty", True), ("malformed", False)],
)
@pytest.mark.parametrize("keyword", PLACES)
def test_thickness_and_spacing_are_those_of_the_positions(keyword, way, enhanced, result, tmp_path):
    def change(_index, header):
        shared = header.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0] if enhanced else header
        spoil(shared, keyword, way)

    volume = series(tmp_path / "scan", enhanced=enhanced, change=change)
    check_possible(KINDS, volume)
    dataset = written("dicom_seg", volume, result, tmp_path)
    check("dicom_seg", dataset, volume, tmp_path)
    measures = dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert (measures.SliceThickness, measures.SpacingBetweenSlices) == (STEP_MM, STEP_MM)


@pytest.mark.parametrize("stated", [0, -3, float("nan"), float("inf")])
def test_a_thickness_that_cannot_be_is_that_of_the_positions(stated, result, tmp_path):
    def change(_index, header):
        header.SliceThickness = pydicom.valuerep.DSfloat(stated, validation_mode=0)

    volume = series(tmp_path / "scan", change=change)
    dataset = written("dicom_seg", volume, result, tmp_path)
    assert dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SliceThickness == STEP_MM


def test_a_stated_thickness_is_kept_and_a_spacing_that_lies_is_not(result, tmp_path):
    """Slices that overlap are thicker than their distance."""

    def change(_index, header):
        header.SliceThickness, header.SpacingBetweenSlices = 3, 17

    dataset = written("dicom_seg", series(tmp_path / "scan", change=change), result, tmp_path)
    measures = dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert (measures.SliceThickness, measures.SpacingBetweenSlices) == (3, STEP_MM)


def test_planes_of_a_tilted_gantry_are_as_thick_as_they_are_apart(result, tmp_path):
    """Steps of 5 mm at a cosine of 0.8."""
    volume = spoilt(tmp_path / "scan", "SliceThickness", "absent", **SHEAR)
    dataset = written("dicom_seg", volume, result, tmp_path)
    thickness = dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SliceThickness
    assert thickness == pytest.approx(4.0)


def test_one_slice_without_thickness_gets_that_of_the_volume(result, tmp_path):
    """A segmentation without one cannot be read by highdicom."""
    volume = spoilt(tmp_path / "scan", "SliceThickness", "absent", count=1)
    found = segmentation(ASKED, [np.ones((1, *SHAPE[1:]), bool), np.zeros((1, *SHAPE[1:]), bool)])
    check_possible(KINDS, volume)
    written("dicom_seg", volume, found, tmp_path)
    read = highdicom.seg.segread(tmp_path / "dicom_seg.dcm")
    measures = read.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert measures.SliceThickness == volume.spacing_mm[0]


def test_directions_that_differ_by_rounding_are_one(result, tmp_path):
    """Less than what makes a series two stacks; highdicom wants them equal."""

    def change(index, header):
        header.ImageOrientationPatient = [1, index * 1e-5, 0, 0, 1, 0]

    volume = series(tmp_path / "scan", change=change)
    check("dicom_seg", written("dicom_seg", volume, result, tmp_path), volume, tmp_path)


@pytest.mark.parametrize("group", ["PlaneOrientationSequence", "PixelMeasuresSequence"])
def test_frames_may_each_say_what_they_could_share(group, result, tmp_path):
    """The standard allows both; highdicom looks in the shared group alone."""

    def change(_index, header):
        shared = header.SharedFunctionalGroupsSequence[0]
        for frame in header.PerFrameFunctionalGroupsSequence:
            frame[group] = shared[group]
        del shared[group]

    volume = series(tmp_path / "scan", enhanced=True, change=change)
    for kind in KINDS:
        check(kind, written(kind, volume, result, tmp_path), volume, tmp_path)


@pytest.mark.parametrize("enhanced", [False, True])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("keyword", UIDS)
def test_an_image_that_nothing_can_refer_to_is_refused(keyword, way, enhanced, tmp_path, recwarn):
    """Of one slice of three, or of the one file."""

    def change(index, header):
        if index == SHAPE[0] - 1 or enhanced:
            spoil(header, keyword, way)

    volume = series(tmp_path / "scan", enhanced=enhanced, change=change)
    recwarn.clear()
    found = f"no {keyword}" if way in ("absent", "empty") else f"a malformed {keyword}"
    count = 3 if enhanced else 1
    with pytest.raises(InputError) as caught:
        check_possible(["labels", "rtstruct"], volume)
    assert str(caught.value) == (
        f"{tmp_path}/scan: found {found} in {count} of 3 slices, expected what rtstruct can refer to; leave "
        "rtstruct out or export the series again."
    )
    check_possible(["labels"], volume)  # which refers to nothing
    assert not recwarn.list


def test_single_slices_of_a_multi_frame_class_are_referred_to_by_that_class(result, tmp_path):
    """Some programs write them; highdicom goes by the class."""

    def change(_index, header):
        header.SOPClassUID = header.file_meta.MediaStorageSOPClassUID = LegacyConvertedEnhancedCTImageStorage

    volume = series(tmp_path / "scan", change=change)
    check_possible(KINDS, volume)
    for kind in KINDS:
        dataset = written(kind, volume, result, tmp_path)
        check(kind, dataset, volume, tmp_path)
        uids = {header.SOPInstanceUID for header in volume.headers}
        items = [item for element in dataset.iterall() if element.VR == "SQ" for item in element.value]
        classes = [
            item.ReferencedSOPClassUID for item in items if item.get("ReferencedSOPInstanceUID") in uids
        ]
        assert classes
        assert set(classes) == {LegacyConvertedEnhancedCTImageStorage}


@pytest.mark.parametrize("keyword", UIDS[:3])
def test_a_series_of_two_studies_is_refused(keyword, tmp_path):
    def change(index, header):
        if index:
            setattr(header, keyword, "1.2.3")

    with pytest.raises(InputError, match=rf"scan: found 2 values of {keyword} in one series, expected what"):
        check_possible(["dicom_seg"], series(tmp_path / "scan", change=change))


def test_images_that_share_a_uid_are_refused(tmp_path):
    def change(_index, header):
        header.SOPInstanceUID = "1.2.3"

    with pytest.raises(
        InputError, match=r"scan: found 1 values of SOPInstanceUID in 3 slices, expected what dicom_seg can"
    ):
        check_possible(["dicom_seg"], series(tmp_path / "scan", change=change))


def test_a_class_other_than_the_files_own_is_refused(tmp_path):
    def change(_index, header):
        header.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2.1"  # an enhanced image, as the file is none

    with pytest.raises(InputError, match=r"scan: found a malformed SOPClassUID in 3 of 3 slices, expected"):
        check_possible(["dicom_seg"], series(tmp_path / "scan", change=change))


def test_uids_with_leading_zeros_still_refer(result, tmp_path, caplog, recwarn):
    """Against the standard and not rare; what refers to them has to have them as they are."""

    def change(index, header):
        header.SOPInstanceUID = f"1.2.03.{index}"
        header.StudyInstanceUID = "1.2.007"

    with disable_value_validation():
        volume = series(tmp_path / "scan", change=change)
    recwarn.clear()
    check_possible(KINDS, volume)
    datasets = [written(kind, volume, result, tmp_path) for kind in KINDS]
    assert quiet(caplog, recwarn) == ""
    with disable_value_validation():
        assert [dataset.StudyInstanceUID for dataset in datasets] == ["1.2.007"] * 2


def test_nested_values_are_judged_as_well(result, tmp_path, caplog):
    """An item that is not whole takes its sequence along, and no other."""

    def change(_index, header):
        good, bad = pydicom.Dataset(), pydicom.Dataset()
        good.PatientID, good.TypeOfPatientID = "Ö 2", "TEXT"
        bad.ReferencedSOPClassUID = "1.2.3"
        spoil(bad, "ReferencedSOPInstanceUID", "malformed")
        header.SpecificCharacterSet = "ISO_IR 100"
        header.OtherPatientIDsSequence, header.ReferencedStudySequence = [good], [bad]

    volume = series(tmp_path / "scan", change=change)
    check_possible(KINDS, volume)
    for kind in KINDS:
        dataset = written(kind, volume, result, tmp_path)
        check(kind, dataset, volume, tmp_path)
        assert dataset.OtherPatientIDsSequence[0].PatientID == "Ö 2"
        assert "ReferencedStudySequence" not in dataset
    assert "malformed values of ReferencedStudySequence are left empty" in caplog.text


def test_a_name_without_carets_is_a_name(result, tmp_path, caplog, recwarn):
    """highdicom would log it."""

    def change(_index, header):
        header.PatientName = "Secretname"

    volume = series(tmp_path / "scan", change=change)
    check_possible(KINDS, volume)
    for kind in KINDS:
        assert written(kind, volume, result, tmp_path).PatientName == "Secretname"
    assert quiet(caplog, recwarn) == ""

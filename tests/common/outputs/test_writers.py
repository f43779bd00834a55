"""Every kind of output, read back by other libraries."""

import json
import sys

import highdicom
import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
from matplotlib.path import Path as Polygon

from common.data.readers import read_image
from common.errors import InputError
from common.inference import CaseRunner, CasesFailedError, VolumeInferer
from common.outputs.staging import scratch_array
from common.outputs.writers import FORMATS
from common.text.prompts import Prompt

STEEP, GENTLE = "9 at 99.5", "3 at 19.5"  # logits are equal at 139.5 HU
ASKED = [
    Prompt(STEEP, "bright / spots", 5, (255, 0, 0)),
    Prompt(GENTLE, "grey", 2),
    Prompt("9 at 239", "none", 7),
]


@pytest.fixture
def run(network, tmp_path):
    def start(source, **options):
        inferer = options.pop("inferer", VolumeInferer())
        options = {"prompts": ASKED, "progress": False} | options
        CaseRunner(source, tmp_path / "out", network=network, inferer=inferer, **options).run()
        return tmp_path / "out"

    return start


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def voxels(path):
    image = nib.load(path)
    assert image.get_data_dtype() == np.uint8
    return np.asarray(image.dataobj)


def test_one_mask_a_prompt_may_overlap_the_others(run, make_nifti, random_hu):
    stored = random_hu(8, 8, 5)
    out = run(make_nifti(stored), outputs=["masks"])
    names = ["case_mask_5_bright_spots.nii.gz", "case_mask_2_grey.nii.gz", "case_mask_7_none.nii.gz"]
    assert sorted(path.name for path in out.iterdir()) == sorted([*names, "case_seg.json"])
    for name, threshold in zip(names, (99.5, 19.5, 239), strict=True):
        np.testing.assert_array_equal(voxels(out / name), stored > threshold)
    report = json.loads((out / "case_seg.json").read_text("utf-8"))
    assert report["outputs"] == {"masks": names}
    counted = [row["mask"]["voxels"] for row in report["prompts"]]
    assert counted == [np.sum(stored > threshold) for threshold in (99.5, 19.5, 239)]


def test_a_prompt_below_the_threshold_has_an_empty_mask_and_its_probabilities(run, make_nifti, random_hu):
    stored = random_hu(8, 8, 5)
    out = run(
        make_nifti(stored),
        outputs=["masks", "probabilities"],
        prompts=[Prompt("0.5 at 19.5", "faint", 1), Prompt("9 at 99.5", "clear", 2)],
        inferer=VolumeInferer(presence_threshold=0.8),
    )
    assert not voxels(out / "case_mask_1_faint.nii.gz").any()
    rows = json.loads((out / "case_seg.json").read_text("utf-8"))["prompts"]
    assert [row["mask"]["voxels"] for row in rows] == [0, np.sum(stored > 99.5)]
    np.testing.assert_array_equal(voxels(out / "case_mask_2_clear.nii.gz"), stored > 99.5)
    expected = sigmoid(0.5 * (stored - 19.5) / 400.0) * 255
    np.testing.assert_allclose(voxels(out / "case_prob_1_faint.nii.gz"), expected, atol=0.51)


def test_probabilities_are_kept_only_where_they_are_asked_for(run, make_nifti, random_hu):
    """They take a byte a voxel and prompt; masks and the preview do without."""
    asked, source = [], make_nifti(random_hu(8, 8, 5))

    class Watched(VolumeInferer):
        def __call__(self, *arguments, probabilities=None, **options):
            asked.append(None if probabilities is None else probabilities.shape)
            return super().__call__(*arguments, probabilities=probabilities, **options)

    run(source, outputs=["labels", "masks", "preview"], inferer=Watched())
    run(source, outputs=["probabilities"], inferer=Watched())
    assert asked == [None, (3, 5, 8, 8)]


def test_probabilities_are_scaled_to_a_byte_and_agree_with_the_mask(run, make_nifti):
    """Gain 1: probabilities pass 0.5 so slowly that rounding alone would take 0.4999 for 0.5."""
    stored = np.arange(-100, 220).reshape(8, 8, 5)
    out = run(make_nifti(stored), outputs=["probabilities"], prompts=[Prompt("1 at 60", "half", 1)])
    scaled = voxels(out / "case_prob_1_half.nii.gz")
    np.testing.assert_array_equal(scaled >= 128, stored > 60)
    np.testing.assert_allclose(scaled, sigmoid((stored - 60) / 400.0) * 255, atol=0.51)


@pytest.mark.parametrize("file_format", FORMATS)
def test_masks_in_every_format_lie_where_simpleitk_says(file_format, run, random_hu, tmp_path):
    """An image with turned and exchanged axes: SimpleITK finds mask and image in one grid."""
    slices = random_hu(5, 8, 8)
    image = sitk.GetImageFromArray(slices)
    image.SetSpacing((0.8, 0.8, 2.0))
    image.SetOrigin((5.0, -6.0, 7.0))
    image.SetDirection((0.96, 0.28, 0.0, 0.28, -0.96, 0.0, 0.0, 0.0, -1.0))
    sitk.WriteImage(image, str(tmp_path / "case.mha"))
    out = run(tmp_path / "case.mha", outputs=["labels"], file_format=file_format)
    mask = sitk.ReadImage(str(out / f"case_seg.{file_format}"))
    expected = np.where(slices > 139.5, 5, np.where(slices > 19.5, 2, 0))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(mask), expected)
    for get in ("GetSpacing", "GetOrigin", "GetDirection"):
        np.testing.assert_allclose(getattr(mask, get)(), getattr(image, get)(), atol=1e-5)


SCANS = {
    "axial": {},
    "descending": {"step": (0, 0, -2.0)},
    "sagittal": {"orientation": (0, 1, 0, 0, 0, -1), "step": (-1.0, 0, 0)},
    "tilted": {"orientation": (1, 0, 0, 0, 0.96, -0.28), "step": (0, 0, 1.0)},
}


@pytest.fixture
def scan(make_dicom, tmp_path):
    """A cube of 8 voxels a side, so that every plane fits the network's field."""

    def make(kind, slices):
        make_dicom(tmp_path / "scan", slices, **SCANS[kind])
        return tmp_path / "scan"

    return make


def by_instance(folder):
    """Rescaled pixels of every file, by SOPInstanceUID."""
    found = {}
    for path in folder.iterdir():
        header = pydicom.dcmread(path)
        found[header.SOPInstanceUID] = header.pixel_array * 2.0 - 1024.0
    return found


@pytest.mark.parametrize("kind", SCANS)
def test_a_dicom_seg_read_back_equals_the_mask_in_every_source_image(kind, run, scan, random_hu):
    folder = scan(kind, 2 * (random_hu(8, 8, 8) // 2))
    out = run(folder, outputs=["dicom_seg"])
    segmentation = highdicom.seg.segread(out / "scan_seg.dcm")
    assert [segmentation.get_segment_description(n).segment_label for n in (1, 2, 3)] == [
        *("bright / spots", "grey", "none")
    ]
    pixels = by_instance(folder)
    frames = segmentation.get_pixels_by_source_instance(list(pixels), assert_missing_frames_are_empty=True)
    for values, frame in zip(pixels.values(), frames, strict=True):
        np.testing.assert_array_equal(frame[..., 0], values > 139.5)
        np.testing.assert_array_equal(frame[..., 1], (values > 19.5) & (values < 139.5))
        assert not frame[..., 2].any()
    header = pydicom.dcmread(next(folder.iterdir()))
    for keyword in ("PatientID", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert segmentation[keyword] == header[keyword]


def test_known_organs_have_their_snomed_code_in_a_dicom_seg():
    """Codes of DICOM PS3.16; 91723000 is "Anatomical Structure", of what is not known."""
    from common.outputs.dicom_names import property_of
    from common.text.vocabulary import Vocabulary

    vocabulary = Vocabulary.load()
    expected = {
        "liver": ("10200004", None),
        "Left-Kidney": ("64033007", "7771000"),
        "right adrenal gland": ("23451007", "24028007"),
        "the bright thing": ("91723000", None),
    }
    for text, (code, side) in expected.items():
        kind, found = property_of(Prompt(text, text, 1), vocabulary)
        assert (kind.value, kind.scheme_designator) == (code, "SCT")
        assert (found and found.value) == side
    assert property_of(Prompt("what filters the blood", "left kidney", 1), vocabulary)[0].value == "64033007"
    for organ in vocabulary.organs:  # no name of the table below is misspelt
        property_of(Prompt(organ.name, organ.name, 1), vocabulary)


def test_the_side_of_an_organ_survives_a_read_back(run, scan, random_hu):
    folder = scan("axial", 2 * (random_hu(3, 8, 8) // 2))
    out = run(folder, outputs=["dicom_seg"], prompts=[Prompt(STEEP, "left kidney", 1)])
    (segment,) = highdicom.seg.segread(out / "scan_seg.dcm").SegmentSequence
    kind = segment.SegmentedPropertyTypeCodeSequence[0]
    side = kind.SegmentedPropertyTypeModifierCodeSequence[0]
    assert (kind.CodeValue, kind.CodeMeaning) == ("64033007", "Kidney")
    assert (side.CodeValue, side.CodeMeaning) == ("7771000", "Left")


def test_a_dicom_seg_without_any_foreground_can_be_read(run, scan):
    folder = scan("axial", np.where(np.indices((3, 8, 8))[0] == 1, -100, -102))
    out = run(folder, outputs=["dicom_seg", "rtstruct"])
    segmentation = highdicom.seg.segread(out / "scan_seg.dcm")
    assert segmentation.number_of_segments == 3
    assert not segmentation.pixel_array.any()
    assert all(
        not roi.get("ContourSequence", [])
        for roi in pydicom.dcmread(out / "scan_seg_rtstruct.dcm").ROIContourSequence
    )


@pytest.mark.parametrize("kind", SCANS)
def test_rtstruct_contours_enclose_the_masks_pixels_and_no_others(kind, run, scan, random_hu):
    """Random masks have holes, islands and borders; even-odd filling at the pixels' centres restores them."""
    folder = scan(kind, 2 * (random_hu(8, 8, 8) // 2))
    out = run(folder, outputs=["rtstruct"])
    structures = pydicom.dcmread(out / "scan_seg_rtstruct.dcm")
    assert [roi.ROIName for roi in structures.StructureSetROISequence] == ["bright / spots", "grey", "none"]
    assert list(structures.ROIContourSequence[0].ROIDisplayColor) == [255, 0, 0]
    inside = [lambda hu: hu > 139.5, lambda hu: (hu > 19.5) & (hu < 139.5), lambda hu: hu > 239]
    headers = {header.SOPInstanceUID: header for header in map(pydicom.dcmread, folder.iterdir())}
    for roi, belongs in zip(structures.ROIContourSequence, inside, strict=True):
        filled = {uid: np.zeros((8, 8), bool) for uid in headers}
        for contour in roi.get("ContourSequence", []):
            uid = contour.ContourImageSequence[0].ReferencedSOPInstanceUID
            filled[uid] ^= fill(headers[uid], np.reshape(contour.ContourData, (-1, 3)).astype(float))
        for uid, values in by_instance(folder).items():
            np.testing.assert_array_equal(filled[uid], belongs(values))


def fill(header, points):
    """Pixels whose centres lie in a polygon of LPS points; these must lie in the slice's plane."""
    orientation = np.asarray(header.ImageOrientationPatient, float).reshape(2, 3)
    relative = points - np.asarray(header.ImagePositionPatient, float)
    assert np.abs(relative @ np.cross(*orientation)).max() < 1e-3
    columns, rows = (relative @ orientation.T).T  # pixels of 1 mm
    row, column = np.indices((header.Rows, header.Columns))
    centres = np.stack([column.ravel(), row.ravel()], axis=1)
    return Polygon(np.stack([columns, rows], axis=1)).contains_points(centres).reshape(8, 8)


def test_a_multi_frame_image_gives_a_seg_and_contours_of_its_frames(
    run, make_multi_frame, random_hu, tmp_path
):
    """Frames of another order than in space: each mask lies on the frame that it was made of."""
    (tmp_path / "scan").mkdir()
    slices, order = 2 * (random_hu(4, 8, 8) // 2), (2, 0, 3, 1)
    header = make_multi_frame(tmp_path / "scan/ct.dcm", slices, order=order, slopes=(2, 2, 2, 2))
    out = run(tmp_path / "scan", outputs=["dicom_seg", "rtstruct"])
    segmentation = highdicom.seg.segread(out / "scan_seg.dcm")
    frames = segmentation.get_pixels_by_source_frame(
        header.SOPInstanceUID, [1, 2, 3, 4], assert_missing_frames_are_empty=True
    )
    for place, frame in zip(order, frames, strict=True):
        np.testing.assert_array_equal(frame[..., 0], slices[place] > 139.5)
        np.testing.assert_array_equal(frame[..., 1], (slices[place] > 19.5) & (slices[place] < 139.5))
    structures = pydicom.dcmread(out / "scan_seg_rtstruct.dcm")
    filled = np.zeros((4, 8, 8), bool)
    for contour in structures.ROIContourSequence[0].ContourSequence:
        place = order[contour.ContourImageSequence[0].ReferencedFrameNumber - 1]
        points = np.reshape(contour.ContourData, (-1, 3)).astype(float)
        np.testing.assert_allclose(points[:, 2], 2.0 * place)
        single = pydicom.Dataset()
        single.Rows = single.Columns = 8
        single.ImageOrientationPatient, single.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, 2.0 * place]
        filled[place] ^= fill(single, points)
    np.testing.assert_array_equal(filled, slices > 139.5)


def test_a_region_that_was_not_found_has_no_contours(run, scan, random_hu):
    """The standard has one item or more in a sequence of contours, or no sequence."""
    folder = scan("axial", 2 * (random_hu(3, 8, 8) // 2))
    structures = pydicom.dcmread(run(folder, outputs=["rtstruct"]) / "scan_seg_rtstruct.dcm")
    assert [roi.ROIName for roi in structures.StructureSetROISequence] == ["bright / spots", "grey", "none"]
    assert ["ContourSequence" in roi for roi in structures.ROIContourSequence] == [True, True, False]


def test_rtstruct_is_a_structure_set_of_the_same_study(run, scan, random_hu):
    folder = scan("axial", 2 * (random_hu(3, 8, 8) // 2))
    structures = pydicom.dcmread(run(folder, outputs=["rtstruct"]) / "scan_seg_rtstruct.dcm")
    header = pydicom.dcmread(next(folder.iterdir()))
    assert structures.SOPClassUID == pydicom.uid.RTStructureSetStorage
    for keyword in ("PatientID", "PatientName", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert structures[keyword] == header[keyword]
    frame = structures.ReferencedFrameOfReferenceSequence[0]
    (series,) = frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence
    assert series.SeriesInstanceUID == header.SeriesInstanceUID
    referenced = {image.ReferencedSOPInstanceUID for image in series.ContourImageSequence}
    assert referenced == set(by_instance(folder))
    kinds = {
        c.ContourGeometricType
        for roi in structures.ROIContourSequence
        for c in roi.get("ContourSequence", [])
    }
    assert kinds <= {"CLOSED_PLANAR", "CLOSEDPLANAR_XOR"}


@pytest.mark.parametrize(
    ("characters", "patient"),
    [
        ("ISO_IR 100", "Müller^Jörg"),
        ("ISO_IR 192", "山田^太郎"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎"),
    ],
)
def test_names_in_any_script_survive_a_read_back(characters, patient, run, make_dicom, random_hu, tmp_path):
    """A backslash would begin a second value."""
    folder, slices = tmp_path / "scan", 2 * (random_hu(3, 8, 8) // 2)
    make_dicom(folder, slices, SpecificCharacterSet=characters, PatientName=patient)
    prompts = [Prompt("9 at 99.5", "肝臓 T1\\T2", 1)]
    out = run(folder, outputs=["rtstruct", "dicom_seg"], prompts=prompts)
    structures = pydicom.dcmread(out / "scan_seg_rtstruct.dcm")
    segmentation = pydicom.dcmread(out / "scan_seg.dcm")
    assert structures.StructureSetROISequence[0].ROIName == "肝臓 T1/T2"
    assert segmentation.SegmentSequence[0].SegmentLabel == "肝臓 T1/T2"
    assert str(structures.PatientName) == str(segmentation.PatientName) == patient


def test_all_kinds_at_once_and_none_left_behind(run, scan, random_hu):
    folder = scan("axial", 2 * (random_hu(3, 8, 8) // 2))
    kinds = ["labels", "masks", "probabilities", "preview", "dicom_seg", "rtstruct"]
    out = run(folder, outputs=kinds)
    report = json.loads((out / "scan_seg.json").read_text("utf-8"))
    assert list(report["outputs"]) == kinds
    names = [name for of_kind in report["outputs"].values() for name in of_kind]
    assert sorted(path.name for path in out.iterdir()) == sorted([*names, "scan_seg.json"])
    assert len(names) == 1 + 3 + 3 + 1 + 1 + 1


def test_errors_say_what_to_do(run, make_nifti, random_hu, scan, monkeypatch):
    source = make_nifti(random_hu(8, 8, 2))
    with pytest.raises(InputError, match="outputs: found 'mesh', expected any of labels, masks"):
        run(source, outputs=["labels", "mesh"])
    with pytest.raises(InputError, match=r"outputs: found the text 'masks', expected a list .*\['masks'\]"):
        run(source, outputs="masks")
    with pytest.raises(InputError, match="outputs: found none, expected any of labels"):
        run(source, outputs=[])
    with pytest.raises(InputError, match=r"file_format: found 'dcm', expected nii\.gz, nii, nrrd, mha"):
        run(source, file_format="dcm")
    with pytest.raises(CasesFailedError, match=r"case\.nii\.gz: found no DICOM series, expected it for"):
        run(source, outputs=["rtstruct"])
    monkeypatch.setitem(sys.modules, "highdicom", None)
    monkeypatch.delitem(sys.modules, "common.outputs.dicom_seg", raising=False)
    with pytest.raises(InputError, match=r"^dicom_seg: found no highdicom, expected it for DICOM"):
        run(scan("axial", 2 * random_hu(2, 8, 8)), outputs=["dicom_seg"])


def test_space_for_probabilities_is_asked_for_at_once(tmp_path):
    array = scratch_array(tmp_path, (3, 2, 5))
    array[1] = 7
    assert array.shape == (3, 2, 5)
    assert (tmp_path / "scratch.bin").stat().st_size == 30
    assert not array[0].any()


def test_readers_take_what_the_writers_wrote(run, scan, random_hu):
    """Masks of a series in NIfTI and NRRD are the same volume."""
    folder = scan("sagittal", 2 * (random_hu(8, 8, 8) // 2))
    one = read_image(run(folder, outputs=["labels"]) / "scan_seg.nii.gz")
    two = read_image(run(folder, outputs=["labels"], file_format="nrrd") / "scan_seg.nrrd")
    np.testing.assert_array_equal(one.slices, two.slices)
    np.testing.assert_allclose(one.affine, two.affine, atol=1e-4)

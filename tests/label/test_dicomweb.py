"""Series of a DICOMweb server: segmented by their UID, and masks stored there as DICOM SEG."""

import io
import re
import zipfile

import numpy as np
import pydicom
import pytest
from monailabel.client.client import MONAILabelClientException

from common.data.label_maps import read_label_map
from common.data.volumes import read_volume

from .conftest import BUNDLE, REPOSITORY, DicomServer, Phantoms, dice, voxels

ORGANS = ("liver", "spleen")
NOTHING = "2"  # for the threshold bundle: more than there is anywhere
CHAOS = REPOSITORY.parent / "shared/data/ct_chaos_liver_dicom/DICOM_anon.zip"


def segments(
    seg: pydicom.Dataset, volume_shape: tuple[int, ...], heights: list[float]
) -> dict[str, np.ndarray]:
    """{label: mask (slices, rows, columns)} of a SEG, with slices at these z positions in mm."""
    names = {one.SegmentNumber: one.SegmentLabel for one in seg.SegmentSequence}
    masks = {name: np.zeros(volume_shape, bool) for name in names.values()}
    for frame, place in zip(
        np.atleast_3d(seg.pixel_array), seg.PerFrameFunctionalGroupsSequence, strict=True
    ):
        height = float(place.PlanePositionSequence[0].ImagePositionPatient[2])
        index = int(np.argmin(np.abs(np.array(heights) - height)))
        assert abs(heights[index] - height) < 0.01
        number = place.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        masks[names[number]][index] |= frame.astype(bool)
    return masks


def heights_of(phantoms: Phantoms, name: str) -> list[float]:
    volume = read_label_map(phantoms.labels[name])
    return [float((volume.affine @ [index, 0, 0, 1])[2]) for index in range(volume.slices.shape[0])]


@pytest.fixture(scope="module")
def first(dicom: DicomServer, tmp_path_factory):
    """Masks of two organs by the series' UID: path of the label map, and what was found."""
    client = dicom.server.client(tmp_path_factory.mktemp("client"))
    params = {"prompt": "; ".join(ORGANS), "result_extension": ".nii.gz"}
    return client, *client.infer(BUNDLE, dicom.series, params)


def test_a_series_is_segmented_by_its_uid(dicom, first, phantoms):
    client, path, _ = first
    assert dicom.series in client.next_sample("first", {})["id"]
    truth, found = read_label_map(phantoms.labels[dicom.name]), read_label_map(path)
    np.testing.assert_allclose(found.affine, truth.affine, atol=1e-3)
    for number, organ in enumerate(ORGANS, start=1):
        assert dice(found.slices == number, truth.slices == phantoms.values[organ]) > 0.7


def test_the_result_as_dicom_seg(dicom, phantoms):
    """A name stays with its mask though the first mask is empty; codes say no more than is known."""
    prompts = [NOTHING, "0.6 (größer)"]
    answer = dicom.server.infer(dicom.series, {"prompts": prompts}, model="threshold", output="dicom_seg")
    assert answer.status_code == 200, answer.text
    seg = pydicom.dcmread(io.BytesIO(answer.content))
    assert seg.SOPClassUID == "1.2.840.10008.5.1.4.1.1.66.4"
    assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == dicom.series
    assert {one.SegmentAlgorithmType for one in seg.SegmentSequence} == {"AUTOMATIC"}
    assert {one.SegmentedPropertyTypeCodeSequence[0].CodeValue for one in seg.SegmentSequence} == {
        "123037004"
    }
    image = read_volume(phantoms.images[dicom.name]).slices
    masks = segments(seg, image.shape, heights_of(phantoms, dicom.name))
    assert set(masks) == {"0.6 (gro?er)"}
    # 0.6 of the window is 80 HU. Few voxels differ, from the way to the network's grid and back.
    assert np.mean(masks["0.6 (gro?er)"] == (image > 80)) > 0.99


def test_a_saved_label_is_read_back_from_orthanc(dicom, first, phantoms):
    client, path, _ = first
    before = len(dicom.orthanc.series("SEG"))
    info = [{"name": organ, "idx": number} for number, organ in enumerate(ORGANS, start=1)]
    client.save_label(dicom.series, path, params={"label_info": info})
    series = dicom.orthanc.series("SEG")
    assert len(series) == before + 1
    stored = pydicom.dcmread(io.BytesIO(dicom.orthanc.file(series[-1]["Instances"][0])))
    found = read_label_map(path).slices
    masks = segments(stored, found.shape, heights_of(phantoms, dicom.name))
    assert set(masks) == set(ORGANS)
    for number, organ in enumerate(ORGANS, start=1):
        np.testing.assert_array_equal(masks[organ], found == number)
    assert {one.SegmentAlgorithmType for one in stored.SegmentSequence} == {"SEMIAUTOMATIC"}
    assert client.datastore()["objects"][dicom.series]["labels"]["final"]["info"]["label_info"] == info


def test_what_cannot_be_done_is_said(dicom, first):
    client, path, _ = first
    empty = dicom.server.infer(dicom.series, {"prompt": NOTHING}, model="threshold", output="dicom_seg")
    assert empty.status_code == 422
    assert empty.json()["detail"].startswith("label: found nothing but background, expected a mask")
    unknown = dicom.server.infer("1.2.3.4", {"prompt": "liver"})
    assert (unknown.status_code, unknown.json()["detail"]) == (404, "Image 1.2.3.4 not found")
    with pytest.raises(MONAILabelClientException) as caught:
        client.save_label(dicom.series, path, params={"label_info": [{"name": "liver", "idx": 1}]})
    assert "label_info: found no name for the label numbers [2]" in caught.value.msg


def test_a_series_with_a_missing_slice_is_refused(dicom, phantoms, tmp_path):
    from .dicom_files import write_series

    _, series = write_series(phantoms.images["phantom_001"], tmp_path / "series")
    (tmp_path / "series" / "010.dcm").unlink()
    dicom.orthanc.add(tmp_path / "series")
    for _ in range(2):  # and is not taken from the cache the second time
        answer = dicom.server.infer(series, {"prompt": "liver"})
        assert answer.status_code == 422
        detail = answer.json()["detail"]
        assert re.search(r"1 slice is missing between \S+ \(instance 10\) and \S+ \(instance 12\)", detail)


@pytest.mark.skipif(not CHAOS.is_file(), reason=f"NOT TESTED: no real CT series at {CHAOS}")
def test_a_real_ct_series(dicom, tmp_path):
    with zipfile.ZipFile(CHAOS) as archive:
        archive.extractall(tmp_path)
    folder = next(path.parent for path in sorted(tmp_path.rglob("*.dcm")))
    dicom.orthanc.add(folder)
    headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in sorted(folder.glob("*.dcm"))]
    uid = headers[0].SeriesInstanceUID
    path = tmp_path / "mask.nii.gz"
    answer = dicom.server.infer(uid, {"prompt": "liver", "result_extension": ".nii.gz"}, output="image")
    assert answer.status_code == 200, answer.text
    path.write_bytes(answer.content)
    assert voxels(path).shape == (headers[0].Columns, headers[0].Rows, len(headers))
    answer = dicom.server.infer(uid, {"prompt": "liver"}, output="dicom_seg")
    seg = pydicom.dcmread(io.BytesIO(answer.content))
    known = {header.SOPInstanceUID for header in headers}
    referred = {
        one.ReferencedSOPInstanceUID for one in seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    }
    assert referred <= known
    heights = sorted(float(header.ImagePositionPatient[2]) for header in headers)
    shape = (len(headers), headers[0].Rows, headers[0].Columns)
    total = int(segments(seg, shape, heights)["liver"].sum())
    assert total == np.count_nonzero(voxels(path))

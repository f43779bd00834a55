"""DICOM series, against the standard's equation for positions, pydicom's pixels and SimpleITK's reader."""

import shutil
import zipfile
from collections import namedtuple
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813

from common.data.dicom_volume import read_dicom
from common.data.label_maps import read_label_map
from common.data.readers import read_image
from common.data.volumes import write_labels
from common.errors import InputError

DATA = Path(__file__).parents[4] / "shared" / "data"

ORIENTATIONS = {
    "axial": ((1, 0, 0, 0, 1, 0), (0, 0, 2.5)),
    "axial, head first": ((1, 0, 0, 0, 1, 0), (0, 0, -2.5)),
    "prone": ((-1, 0, 0, 0, -1, 0), (0, 0, 2.5)),
    "coronal": ((1, 0, 0, 0, 0, -1), (0, 3, 0)),
    "sagittal": ((0, 1, 0, 0, 0, -1), (-3, 0, 0)),
    "oblique": ((0.96, 0.28, 0, -0.28, 0.96, 0), (0, 0, 2.5)),
    "tilted gantry": ((1, 0, 0, 0, 0.96, -0.28), (0, 0, 5)),
}


def random_slices(*shape):
    return 2 * np.random.default_rng(1).integers(-500, 500, shape)  # even: the rescale slope is 2


def check_positions(volume, folder, padded=None):
    """Every pixel of every file lies where PS3.3 C.7.6.2.1.1 says, with its rescaled value.

    `padded` is the value of pixels that are PixelPaddingValue.
    """
    to_index = np.linalg.inv(volume.affine)
    for path in sorted(folder.iterdir()):
        header = pydicom.dcmread(path)
        values = header.pixel_array * float(header.RescaleSlope) + float(header.RescaleIntercept)
        if padded is not None:
            values[header.pixel_array == header.PixelPaddingValue] = padded
        row, column = np.indices(values.shape)
        orientation = np.asarray(header.ImageOrientationPatient, float)
        between_rows, between_columns = map(float, header.PixelSpacing)
        lps = (
            np.asarray(header.ImagePositionPatient, float)
            + np.multiply.outer(column * between_columns, orientation[:3])
            + np.multiply.outer(row * between_rows, orientation[3:])
        )
        ras = np.concatenate([lps * [-1, -1, 1], np.ones((*row.shape, 1))], axis=-1)
        index = ras @ to_index.T
        np.testing.assert_allclose(index, np.rint(index), atol=1e-3)
        d, h, w, _ = np.rint(index).astype(int).transpose(2, 0, 1)
        np.testing.assert_array_equal(volume.slices[d, h, w], values)


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_every_pixel_lies_where_the_standard_says(name, make_dicom, tmp_path):
    orientation, step = ORIENTATIONS[name]
    make_dicom(tmp_path / "s", random_slices(4, 5, 6), orientation=orientation, step=step, spacing=(0.7, 1.3))
    volume = read_image(tmp_path / "s")
    check_positions(volume, tmp_path / "s")
    assert volume.slices.dtype == np.float32
    assert len(volume.headers) == 4


def test_a_real_scan(tmp_path):
    folder = DATA / "ct_dcmqi_seg" / "ct-3slice"
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent: a real DICOM series is not read in this run")
    volume = read_dicom(folder)
    check_positions(volume, folder, padded=-1024)  # its smallest value: the padding lies 2000 HU below
    np.testing.assert_allclose(volume.spacing_mm, (1.0, 0.810547, 0.810547), atol=1e-5)


def test_a_whole_zip_equals_simpleitks_reading(tmp_path):
    archive = DATA / "ct_chaos_liver_dicom" / "DICOM_anon.zip"
    if not archive.is_file():
        pytest.skip(f"{archive} is absent: a whole DICOM scan is not read in this run")
    volume = read_image(archive)
    with zipfile.ZipFile(archive) as content:
        content.extractall(tmp_path)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path / "DICOM_anon")))
    expected = sitk.DICOMOrient(reader.Execute(), "LPS")  # towards left, posterior, superior
    np.testing.assert_array_equal(volume.slices, sitk.GetArrayFromImage(expected))
    np.testing.assert_allclose(volume.spacing_mm[::-1], expected.GetSpacing(), atol=1e-4)
    origin = volume.affine[:3, 3] * [-1, -1, 1]
    np.testing.assert_allclose(origin, expected.GetOrigin(), atol=1e-3)


def test_compressed_pixels_are_read(make_dicom, tmp_path):
    slices = random_slices(3, 16, 16)
    make_dicom(tmp_path / "rle", slices, compress=pydicom.uid.RLELossless)
    np.testing.assert_array_equal(read_dicom(tmp_path / "rle").slices, slices)


def test_compressed_pixels_that_are_broken_are_said(make_dicom, tmp_path):
    make_dicom(tmp_path, random_slices(1, 16, 16), compress=pydicom.uid.RLELossless)
    (path,) = tmp_path.iterdir()
    header = pydicom.dcmread(path)
    header.PixelData = pydicom.encaps.encapsulate([b"\xff" * 70])
    header.save_as(path)
    with pytest.raises(InputError, match=r"the pixels cannot be decoded \(RLE Lossless\), so the"):
        read_dicom(tmp_path)


@pytest.mark.parametrize("compress", [None, pydicom.uid.RLELossless])
@pytest.mark.parametrize("name", ["axial", "sagittal", "oblique", "tilted gantry"])
def test_every_frame_lies_where_the_standard_says_with_its_own_rescaling(
    name, compress, make_dicom, make_multi_frame, tmp_path
):
    """Four frames in another order than in space, two of them scaled differently, beside single slices."""
    orientation, step = ORIENTATIONS[name]
    slopes, slices = (1.0, 2.0, 1.0, 4.0), 4 * (random_slices(4, 5, 6) // 4)
    make_multi_frame(tmp_path / "ct.dcm", slices, order=(2, 0, 3, 1), slopes=slopes,
                     orientation=orientation, step=step, compress=compress)  # fmt: skip
    volume = read_image(tmp_path)
    make_dicom(tmp_path / "singles", slices, orientation=orientation, step=step, origin=(0, 0, 0))
    expected = read_dicom(tmp_path / "singles")
    np.testing.assert_array_equal(volume.slices, expected.slices)
    np.testing.assert_allclose(volume.affine, expected.affine, atol=1e-6)
    assert volume.spacing_mm == pytest.approx(expected.spacing_mm)


def test_multi_frame_errors_say_what_to_do(make_multi_frame, tmp_path):
    slices, options = random_slices(3, 4, 4), {"order": (0, 1, 2), "slopes": (2, 2, 2)}
    header = make_multi_frame(tmp_path / "a.dcm", slices, **options)
    make_multi_frame(tmp_path / "b.dcm", slices, **options, SeriesInstanceUID=header.SeriesInstanceUID)
    with pytest.raises(InputError, match="found 2 files with multi-frame images in one series"):
        read_dicom(tmp_path)
    (tmp_path / "b.dcm").unlink()
    header.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence[0].ImagePositionPatient = [0, 0, 0]
    header.save_as(tmp_path / "a.dcm")
    with pytest.raises(InputError, match="frame 1 and frame 2 lie at the same place, expected one image"):
        read_dicom(tmp_path)
    del header.PerFrameFunctionalGroupsSequence[1]
    header.save_as(tmp_path / "a.dcm")
    with pytest.raises(InputError, match=r"a\.dcm: found 2 frames described and 3 announced, expected a"):
        read_dicom(tmp_path)
    (tmp_path / "a.dcm").write_bytes((tmp_path / "a.dcm").read_bytes()[:-20])
    with pytest.raises(InputError, match=r"a\.dcm: found \d+ bytes after the header, expected 96 for its"):
        read_dicom(tmp_path)


@pytest.mark.parametrize(
    ("claimed", "message"),
    [
        (
            pydicom.uid.JPEG2000Lossless,
            "found uncompressed pixels, expected those of its transfer syntax",
        ),
        (pydicom.uid.UID("1.2.3.4.5"), "found a transfer syntax that DICOM does not define, expected a"),
    ],
)
def test_a_wrong_transfer_syntax_is_said(claimed, message, make_dicom, tmp_path):
    make_dicom(tmp_path, random_slices(2, 16, 16))
    for path in tmp_path.iterdir():
        content = path.read_bytes()
        old = pydicom.uid.ExplicitVRLittleEndian
        assert content.count(old.encode()) == 1
        meta = content.index(old.encode())
        length = int.from_bytes(content[meta - 2 : meta], "little")
        new = claimed.encode() + b"\0" * (len(claimed) % 2)
        changed = content[: meta - 2] + len(new).to_bytes(2, "little") + new + content[meta + length :]
        group = changed.index(b"\x02\x00\x00\x00UL\x04\x00") + 8
        total = int.from_bytes(changed[group : group + 4], "little") + len(new) - length
        path.write_bytes(changed[:group] + total.to_bytes(4, "little") + changed[group + 4 :])
    with pytest.raises(InputError, match=message):
        read_dicom(tmp_path)


def test_compressed_pixels_that_claim_to_be_plain_are_said(make_dicom, tmp_path):
    make_dicom(tmp_path, random_slices(1, 16, 16), compress=pydicom.uid.RLELossless)
    (path,) = tmp_path.iterdir()
    rle, plain = pydicom.uid.RLELossless.encode(), pydicom.uid.ExplicitVRLittleEndian.encode()
    content = path.read_bytes()
    assert content.count(rle) == 1
    path.write_bytes(content.replace(rle, plain.ljust(len(rle), b"\0")))
    with pytest.raises(InputError, match="found compressed pixels, expected those of its transfer syntax"):
        read_dicom(tmp_path)


def test_masks_come_back_where_the_pixels_are(make_dicom, tmp_path):
    make_dicom(tmp_path / "s", random_slices(4, 5, 6), orientation=(0, 1, 0, 0, 0, -1), step=(-3, 0, 0))
    volume = read_dicom(tmp_path / "s")
    write_labels(tmp_path / "mask.nii.gz", (volume.slices > 0).astype(np.uint8), like=volume)
    mask = read_label_map(tmp_path / "mask.nii.gz")
    np.testing.assert_array_equal(mask.slices, volume.slices > 0)
    np.testing.assert_allclose(mask.affine, volume.affine, atol=1e-4)


def test_a_tilted_gantry_is_said(make_dicom, tmp_path, caplog):
    orientation, step = ORIENTATIONS["tilted gantry"]
    make_dicom(tmp_path / "s", random_slices(3, 4, 4), orientation=orientation, step=step)
    read_dicom(tmp_path / "s")
    assert "s: the gantry is tilted by 16.3 degrees, or the grid is sheared; slices are" in caplog.text


def test_one_of_several_series_is_chosen_by_uid_or_number(make_dicom, tmp_path):
    first, second = random_slices(2, 4, 4), random_slices(3, 4, 4)
    one = make_dicom(tmp_path, first, SeriesNumber=1, SeriesDescription="native")
    two = make_dicom(tmp_path, second, SeriesNumber=2, SeriesDescription="portal venous")
    np.testing.assert_array_equal(read_dicom(tmp_path, series=one).slices, first)
    np.testing.assert_array_equal(read_dicom(tmp_path, series="2").slices, second)
    with pytest.raises(InputError) as caught:
        read_dicom(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path}: found 2 series: ")
    assert f"{one} (number 1, CT, 2 files, such as 0001-{one[-6:]}.dcm)" in str(caught.value)
    assert f"{two} (number 2, CT, 3 files, such as 0001-{two[-6:]}.dcm)" in str(caught.value)
    assert "portal" not in str(caught.value)  # free text, in which names stand
    assert str(caught.value).endswith("choose one with --series and its UID or number.")
    with pytest.raises(InputError, match="found 2 series and not '7': "):
        read_dicom(tmp_path, series="7")


def test_objects_that_are_no_slices_are_left_aside(make_dicom, tmp_path):
    slices = random_slices(2, 4, 4)
    make_dicom(tmp_path, slices)
    make_dicom(
        tmp_path, slices[:1], Modality="RTDOSE", SOPClassUID=pydicom.uid.RTDoseStorage, NumberOfFrames=2
    )
    (tmp_path / "DICOMDIR.txt").write_text("no image")
    np.testing.assert_array_equal(read_dicom(tmp_path).slices, slices)


def alter(folder, index, **tags):
    """Change tags of the slice with an instance number."""
    for path in folder.iterdir():
        header = pydicom.dcmread(path)
        if header.InstanceNumber == index:
            for keyword, value in tags.items():
                setattr(header, keyword, value)
            header.save_as(path)


@pytest.mark.parametrize(
    ("index", "tags", "message"),
    [
        (3, {"ImagePositionPatient": [-10, 20, -28]},
         r"0003-\d+\.dcm \(instance 3\) and 0004-\d+\.dcm \(instance 2\) lie at the same place, expected"),
        (5, {"ImagePositionPatient": [-10, 20, -20]},
         r"1 slice is missing between 0002.* \(instance 4\) and .* \(instance 5\) \(4 mm apart, elsewhere 2"),
        (5, {"ImagePositionPatient": [-10, 20, -21.2]},
         r"the slice spacing is uneven: 2\.8 mm between 0002.* and 0001.* \(instance 5\), elsewhere 2 mm"),
        (2, {"Rows": 2, "PixelData": bytes(16)}, r"0004.* \(instance 2\) has Rows \[2\.0\] and 000.* has"),
        (2, {"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}, r" \(instance .\) has ImageOrientationPatient"),
        (2, {"PixelSpacing": None}, r"0004-\d+\.dcm: found no PixelSpacing, expected it in every slice"),
        (1, {"PixelData": b"\0\0"}, r"found \d+ bytes after the header, expected 32 for its pixels"),
    ],
)  # fmt: skip
def test_slices_that_make_no_stack_are_named(index, tags, message, make_dicom, tmp_path):
    make_dicom(tmp_path, random_slices(5, 4, 4))
    alter(tmp_path, index, **tags)
    with pytest.raises(InputError, match=message):
        read_dicom(tmp_path)


def test_other_errors_say_what_to_do(make_dicom, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty: found no DICOM file, expected a series of CT, MR or PET"):
        read_dicom(tmp_path / "empty")
    make_dicom(tmp_path / "one", random_slices(1, 4, 4))
    for length, message in [
        (132, "cannot be read as DICOM"),
        (600, "found no SeriesInstanceUID, expected a complete CT slice"),
        (-7, "found .* bytes after the header, expected 32"),
    ]:
        folder = tmp_path / f"cut at {length}"
        make_dicom(folder, random_slices(1, 4, 4))
        (path,) = folder.iterdir()
        path.write_bytes(path.read_bytes()[:length])
        with pytest.raises(InputError, match=rf"{path.name}: {message}"):
            read_dicom(folder)
    (tmp_path / "broken.zip").write_bytes(b"no archive")
    with pytest.raises(InputError, match=r"broken\.zip: cannot be unpacked"):
        read_image(tmp_path / "broken.zip")
    with zipfile.ZipFile(tmp_path / "full.zip", "w") as archive:
        archive.writestr("a", bytes(1000))
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1000, 1, 999))
    with pytest.raises(
        InputError, match=r"full\.zip: found 0\.0 GB in it, expected at most the 0\.0 GB free"
    ):
        read_image(tmp_path / "full.zip")
    monkeypatch.undo()
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        for folder in "ab":
            for file in (tmp_path / "one").iterdir():
                archive.write(file, f"{folder}/{file.name}")
    with pytest.raises(InputError, match=r"two\.zip: found DICOM slices in 2 folders of this archive"):
        read_image(tmp_path / "two.zip")

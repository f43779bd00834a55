"""What becomes of DICOM folders that other tools' users fell over: the generators' right values hold."""

import logging
import re
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import uid
from pydicom.pixels import apply_modality_lut

from common.data.dicom_files import is_dicom
from common.data.dicom_volume import read_dicom
from common.data.readers import read_any, read_image
from common.errors import InputError
from common.inference.cases import find_cases
from tests.common.conftest import write_dicom_series

from . import dicom, dicom_folders, dicom_padding, dicom_pixels
from .dicom import SECRET, Right

FOLDERS = {**dicom_pixels.FOLDERS, **dicom_padding.FOLDERS, **dicom_folders.FOLDERS}


@pytest.fixture
def logged():
    """What reaches the root logger; caplog listens at loggers too that keep things to themselves."""
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append
    logging.getLogger().addHandler(handler)
    yield records
    logging.getLogger().removeHandler(handler)


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_ends_as_is_right(name, tmp_path, logged, capfd, recwarn):
    right = FOLDERS[name](tmp_path / "scan")
    recwarn.clear()  # of making it
    capfd.readouterr()
    logged.clear()
    check(tmp_path / "scan", right, logged)
    messages = [record.getMessage() for record in logged] + [str(one.message) for one in recwarn]
    said = "".join((*capfd.readouterr(), *messages))
    assert SECRET not in said
    assert "pydicom" not in said


def check(folder: Path, right: Right, logged: list[logging.LogRecord]) -> None:
    if right.refused is not None:
        with pytest.raises(InputError, match=right.refused) as caught:
            read_dicom(folder, series=right.series)
        sentence = str(caught.value)
        assert sentence.startswith(str(folder))
        assert sentence.endswith(".")
        assert "\n" not in sentence
        assert SECRET not in sentence
        return
    volume = read_dicom(folder, series=right.series)
    stored = volume.to_stored(volume.slices).transpose(2, 1, 0)  # slices, rows, columns
    np.testing.assert_array_equal(stored, right.values.astype(np.float32))
    assert volume.spacing_mm[0] == pytest.approx(right.spacing_mm, abs=0.01)
    warnings = [record.getMessage() for record in logged]
    if right.warned is None:
        assert warnings == []
    else:
        assert re.search(right.warned, " ".join(warnings))
        assert all(str(folder) in one for one in warnings)


def test_what_is_no_slice_is_no_case(tmp_path, caplog):
    """As archives and CDs have it: a DICOMDIR, structure sets and segmentations beside the images."""
    dicom.write(tmp_path / "in/CT")
    other = {"RTSTRUCT": uid.RTStructureSetStorage, "SEG": uid.SegmentationStorage, ".": uid.MediaStorageDirectoryStorage}  # fmt: skip  # noqa: E501
    for name, sop_class in other.items():
        dicom.write(tmp_path / "made", dicom.hounsfield()[:1], SOPClassUID=sop_class)
        (tmp_path / "in" / name).mkdir(exist_ok=True)
        shutil.move(dicom.file_of(tmp_path / "made", 0), tmp_path / "in" / name / "DICOMDIR")
    scouts = {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}
    dicom.write(tmp_path / "in/scouts", **scouts)
    (case,) = find_cases(tmp_path / "in", tmp_path / "out")
    assert case.source == tmp_path / "in/CT"
    assert (
        "left out 3 folders without CT, MR or PET slices (first "
        f"{tmp_path / 'in/RTSTRUCT'}): RT Structure Set Storage (1), Segmentation Storage (1), scouts (5)."
    ) in caplog.text


def test_a_folder_of_other_objects_alone_is_named_by_class(tmp_path):
    dicom_folders.secondary_capture(tmp_path / "scan")
    with pytest.raises(InputError, match=r"no CT, MR or PET slice but Secondary Capture Image Storage \(5\)"):
        find_cases(tmp_path / "scan", tmp_path / "out")


def test_numbers_of_another_format_are_no_dicom(tmp_path):
    """Voxels beside a MetaImage header may begin as DICOM headers without preamble do: 8, 0, 0."""
    (tmp_path / "ct.raw").write_bytes(np.array([8] + [0] * 300, "<i2").tobytes())
    assert not is_dicom(tmp_path / "ct.raw")


def test_what_is_said_of_a_zip_names_the_zip(tmp_path, caplog):
    """And no folder that is gone by then."""
    dicom_folders.copies(tmp_path / "made")
    shutil.make_archive(str(tmp_path / "ct"), "zip", tmp_path / "made")
    volume = read_image(tmp_path / "ct.zip")
    assert volume.grid.path == tmp_path / "ct.zip"
    assert caplog.messages
    assert all(one.startswith(f"{tmp_path / 'ct.zip'}: copies are left out: ") for one in caplog.messages)


def test_a_zip_of_a_cd_is_read(tmp_path):
    values = dicom.write(tmp_path / "CD/PAT/SE1")
    dicom.write(tmp_path / "made", dicom.hounsfield()[:1], SOPClassUID=uid.MediaStorageDirectoryStorage)
    dicom.file_of(tmp_path / "made", 0).rename(tmp_path / "CD/DICOMDIR")
    (tmp_path / "CD/AUTORUN.INF").write_text("[open]")
    with zipfile.ZipFile(tmp_path / "cd.zip", "w") as archive:
        for path in (tmp_path / "CD").rglob("*"):
            archive.write(path, path.relative_to(tmp_path / "CD"))
    (case,) = find_cases(tmp_path / "cd.zip", tmp_path / "out")
    np.testing.assert_array_equal(read_image(case.source).slices, values)


@pytest.mark.parametrize("name", ["slice.dcm", "IM0001", "SLICE.IMA"])
def test_one_file_of_a_series_says_to_name_the_folder(name, tmp_path):
    dicom.write(tmp_path / "scan")
    path = dicom.file_of(tmp_path / "scan", 0).rename(tmp_path / name)
    for reading in (lambda: find_cases(path, tmp_path / "out"), lambda: read_any(path)):
        with pytest.raises(InputError, match=rf"{name}: found one DICOM file, .* name its folder"):
            reading()


def test_a_tilted_gantry_advises_nrrd(tmp_path, caplog):
    dicom.write(tmp_path / "scan", ImageOrientationPatient=[1, 0, 0, 0, 0.96, -0.28])
    read_dicom(tmp_path / "scan")
    assert (
        "ITK-SNAP, 3D Slicer and SimpleITK cannot open such a NIfTI file, so write NRRD with" in caplog.text
    )


def test_remarks_of_pydicom_become_one_sentence(tmp_path, logged, recwarn):
    """An element that is needed has characters that its type does not allow; pydicom would quote it."""
    dicom.write(tmp_path / "scan")
    dicom.change(tmp_path / "scan", dicom.set_in(None, vr="UI", SeriesInstanceUID=f"1.2.{SECRET}"))
    recwarn.clear()
    logged.clear()
    read_dicom(tmp_path / "scan")
    assert SECRET not in "".join(record.getMessage() for record in logged)
    assert SECRET not in "".join(str(one.message) for one in recwarn)


@st.composite
def pixel_modules(draw):
    """A slice's elements and its stored cells, of everything that the standard allows in grey."""
    allocated = draw(st.sampled_from([8, 16, 32]))
    stored = draw(st.integers(1, allocated))
    signed = draw(st.booleans())
    low, high = (-(2 ** (stored - 1)), 2 ** (stored - 1) - 1) if signed else (0, 2**stored - 1)
    values = draw(st.lists(st.integers(low, high), min_size=12, max_size=12))
    noise = draw(st.integers(0, 2 ** (allocated - stored) - 1)) << stored if draw(st.booleans()) else 0
    slope = draw(st.sampled_from([1, 2, -1, 0.5, 1.25, 0.001, 3.7]))
    padding = draw(st.none() | st.tuples(st.sampled_from(values), st.none() | st.sampled_from(values)))
    tags = {
        "BitsAllocated": allocated,
        "BitsStored": stored,
        "HighBit": stored - 1,
        "PixelRepresentation": int(signed),
        "PhotometricInterpretation": draw(st.sampled_from(["MONOCHROME1", "MONOCHROME2"])),
        "RescaleSlope": slope,
        "RescaleIntercept": draw(st.sampled_from([0, -1024, 0.25, 1000])),
    }
    syntaxes = [uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian]
    if allocated == 8 or (allocated == 16 and stored > 8):  # what pydicom's encoder writes as it is read
        syntaxes.append(uid.RLELossless)
    syntax = draw(st.sampled_from(syntaxes))
    return tags, np.array(values).reshape(3, 4), noise, padding, syntax


@pytest.mark.slow
@settings(max_examples=2000, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(made=pixel_modules())
def test_values_are_those_of_pydicoms_own_arithmetic(made, tmp_path_factory):
    """Padding is the smallest other value, in CT at most -1000; where all is padding it is refused."""
    tags, values, noise, padding, syntax = made
    folder = tmp_path_factory.mktemp("scan")
    write_dicom_series(folder, np.zeros((1, 3, 4), int), **tags)
    (path,) = folder.iterdir()
    header = pydicom.dcmread(path)
    if padding is not None:
        vr = "SS" if tags["PixelRepresentation"] else "US"
        for keyword, end in zip(("PixelPaddingValue", "PixelPaddingRangeLimit"), padding, strict=True):
            if end is not None:
                header.add_new(keyword, vr if tags["BitsAllocated"] <= 16 else vr[0] + "L", end)
    plain = uid.ExplicitVRBigEndian if syntax == uid.ExplicitVRBigEndian else uid.ExplicitVRLittleEndian
    header.file_meta.TransferSyntaxUID = plain
    mask = 2 ** tags["BitsStored"] - 1
    dicom.put(header, (values & mask) | noise)
    if tags["BitsAllocated"] == 8 and plain == uid.ExplicitVRBigEndian:
        header["PixelData"].VR = "OB"
    if syntax == uid.RLELossless:
        header.compress(syntax)
    little = plain.is_little_endian
    pydicom.dcmwrite(path, header, implicit_vr=False, little_endian=little, force_encoding=True)

    again = pydicom.dcmread(path)
    stored = again.pixel_array
    np.testing.assert_array_equal(stored, values)  # pydicom drops what lies above the stored bits
    expected = apply_modality_lut(stored, again)
    padded = np.zeros(stored.shape, bool)
    if padding is not None:
        ends = [end for end in padding if end is not None]
        padded = (stored >= min(ends)) & (stored <= max(ends))
    if padded.all():
        with pytest.raises(InputError, match="found nothing but padding"):
            read_dicom(folder)
    else:
        expected = expected.astype(np.float32)
        expected[padded] = min(-1000, expected[~padded].min())
        np.testing.assert_array_equal(read_dicom(folder).slices[0], expected)
    shutil.rmtree(folder)

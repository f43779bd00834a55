"""A kind of output that fails leaves the others where they are, and the case counts as failed."""

import json

import nibabel as nib
import numpy as np
import pytest

from common.errors import InputError
from common.inference import CaseRunner, CasesFailedError, VolumeInferer
from common.outputs import rtstruct, writers

PROMPTS = ["9 at 99.5"]


@pytest.fixture
def run(network, tmp_path):
    def start(source, **options):
        options = {"prompts": PROMPTS, "progress": False} | options
        CaseRunner(source, tmp_path / "out", network=network, inferer=VolumeInferer(), **options).run()

    return start


@pytest.fixture
def scan(make_dicom, random_hu, tmp_path):
    """A folder with a series, and its values."""
    slices = 2 * (random_hu(3, 8, 8) // 2)
    make_dicom(tmp_path / "scan", slices, PatientName="Secret^Name")
    return tmp_path / "scan", slices


def fails(*_arguments, **_options):
    raise ValueError("Secret^Name is no name")


def test_a_structure_set_that_fails_leaves_the_label_map(run, scan, network, tmp_path, monkeypatch, caplog):
    """What other libraries say of it may quote a header; the place in the code is enough to find a fault."""
    (folder, slices), out = scan, tmp_path / "out"
    monkeypatch.setattr(rtstruct, "write_rtstruct", fails)
    with (
        caplog.at_level("DEBUG"),
        pytest.raises(
            CasesFailedError,
            match=r"^1 of 1 cases failed: .*scan: rtstruct could not be written \(ValueError in "
            r"test_failed_outputs\.py, line \d+\); leave it out of outputs\.$",
        ),
    ):
        run(folder, outputs=["rtstruct", "labels", "dicom_seg"], report=tmp_path / "run.json")
    assert "Secret" not in caplog.text
    assert "Traceback" not in caplog.text
    mask = np.asarray(nib.load(out / "scan_seg.nii.gz").dataobj)
    assert np.count_nonzero(mask) == np.count_nonzero(slices > 99.5)
    report = json.loads((out / "scan_seg.json").read_text("utf-8"))
    assert report["outputs"] == {"labels": ["scan_seg.nii.gz"], "dicom_seg": ["scan_seg.dcm"]}
    assert list(report["failed_outputs"]) == ["rtstruct"]
    assert "Secret" not in json.dumps(report)
    assert json.loads((tmp_path / "run.json").read_text("utf-8"))["failed"] == 1
    monkeypatch.undo()
    encoded = network.images_encoded
    run(folder, outputs=["rtstruct", "labels", "dicom_seg"], skip_existing=True)  # it is not done
    assert network.images_encoded == 2 * encoded
    assert (out / "scan_seg_rtstruct.dcm").is_file()
    assert json.loads((out / "scan_seg.json").read_text("utf-8"))["failed_outputs"] == {}


def test_a_picture_that_fails_leaves_the_label_map(run, make_nifti, random_hu, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(writers, "write_preview", fails)
    with pytest.raises(
        CasesFailedError, match=r"case\.nii\.gz: preview could not be written \(ValueError: Secret.*\); leave"
    ):
        run(make_nifti(random_hu(8, 8, 2)))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["case_seg.json", "case_seg.nii.gz"]
    assert "Traceback" in caplog.text


def test_without_any_output_nothing_is_left_and_nothing_is_lost(
    run, make_nifti, random_hu, tmp_path, monkeypatch
):
    source, out = make_nifti(random_hu(8, 8, 2)), tmp_path / "out"
    run(source, outputs=["labels"])
    before = {path: path.read_bytes() for path in out.iterdir()}
    monkeypatch.setattr(writers, "write_labels", fails)
    with pytest.raises(CasesFailedError, match=r"labels could not be written \(ValueError: Secret"):
        run(source, outputs=["labels"])
    assert {path: path.read_bytes() for path in out.iterdir()} == before


def test_a_series_that_nothing_can_refer_to_is_said_before_the_network_runs(
    run, network, make_dicom, random_hu, tmp_path
):
    make_dicom(tmp_path / "scan", 2 * random_hu(3, 8, 8), FrameOfReferenceUID="")
    with pytest.raises(
        CasesFailedError,
        match=r"scan: found no FrameOfReferenceUID in 3 of 3 slices, expected what dicom_seg",
    ):
        run(tmp_path / "scan", outputs=["labels", "dicom_seg"])
    assert network.images_encoded == 0
    assert not (tmp_path / "out").exists()
    run(tmp_path / "scan", outputs=["labels"])


def test_a_missing_library_is_said_before_anything_is_read(run, make_nifti, monkeypatch):
    """See `test_writers` for the sentence."""
    monkeypatch.setattr(writers, "_dicom_seg_writer", lambda: (_ for _ in ()).throw(InputError("no library")))
    with pytest.raises(InputError, match=r"^no library$"):
        run("nowhere.nii", outputs=["dicom_seg"])


def test_a_segmentation_that_reads_back_as_another_is_refused(run, scan, tmp_path, monkeypatch):
    """As where a library writes what it cannot read."""
    import highdicom

    save_as = highdicom.seg.Segmentation.save_as

    def spoiling(segmentation, *arguments, **options):
        segmentation.PixelData = bytes(len(segmentation.PixelData))
        save_as(segmentation, *arguments, **options)

    monkeypatch.setattr(highdicom.seg.Segmentation, "save_as", spoiling)
    with pytest.raises(
        CasesFailedError,
        match=r"scan_seg\.dcm: reads back with 1 segments of 0 voxels, expected 1 of \d+; ask",
    ):
        run(scan[0], outputs=["labels", "dicom_seg"])
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["scan_seg.json", "scan_seg.nii.gz"]

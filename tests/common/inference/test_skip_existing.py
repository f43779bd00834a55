"""What of an earlier run is kept, and what is done again."""

import gzip
import json
import os
import shutil

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import torch
from PIL import Image

from common.errors import InputError
from common.inference import CasesFailedError, VolumeInferer
from common.text.prompts import Prompt
from tests.common.inference.runs import TEXTS


def state(folder):
    """Which files there are, and when they were written."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_whole_outputs_of_the_same_request_are_skipped(run, network, make_nifti, random_hu, tmp_path):
    for name in ("in/a.nii", "in/b.nii"):
        make_nifti(random_hu(8, 8, 2), name=name)
    run(tmp_path / "in")
    before, encoded = state(tmp_path / "out"), network.images_encoded
    run(tmp_path / "in", skip_existing=True)
    assert state(tmp_path / "out") == before
    assert network.images_encoded == encoded


@pytest.mark.parametrize(
    "change", ["input", "prompts", "settings", "weights", "no mask", "half a mask", "no report", "old report"]
)
def test_anything_else_is_done_again(change, run, network, make_nifti, random_hu, tmp_path):
    network.register_buffer("weight", torch.zeros(1))
    source, out, options = make_nifti(random_hu(8, 8, 2)), tmp_path / "out", {}
    run(source)
    before = state(out)
    if change == "input":
        make_nifti(random_hu(8, 8, 2, seed=1))
    elif change == "prompts":
        options = {"prompts": [TEXTS[0], "3 at 20.5"]}
    elif change == "settings":
        options = {"inferer": VolumeInferer(presence_threshold=0.01)}
    elif change == "weights":
        network.weight += 1
    elif change == "no mask":
        (out / "case_seg.nii.gz").unlink()
    elif change == "half a mask":
        (out / "case_seg.nii.gz").write_bytes((out / "case_seg.nii.gz").read_bytes()[:40])
    elif change == "no report":
        (out / "case_seg.json").unlink()
    elif change == "old report":
        (out / "case_seg.json").write_text('["of another program"]')
    run(source, skip_existing=True, **options)
    after = state(out)
    assert after.keys() == before.keys()
    assert all(after[path] > before[path] for path in before)


def test_files_of_an_earlier_run_that_stay_are_named(run, make_nifti, random_hu, tmp_path, caplog):
    source = make_nifti(random_hu(8, 8, 2))
    run(source, outputs=["labels", "masks"])
    caplog.clear()
    run(source, outputs=["labels"], prompts=TEXTS[:1])
    assert "files of an earlier run stay beside the new ones (case_mask_1_9_at_99_5.nii.gz, " in caplog.text
    caplog.clear()
    run(source, outputs=["labels"], prompts=TEXTS[:1])
    assert "earlier run" not in caplog.text


def test_another_series_of_the_same_folder_is_done_again(run, make_dicom, random_hu, tmp_path):
    for number in (1, 2):
        make_dicom(tmp_path / "two", 2 * random_hu(3, 8, 8, seed=number), SeriesNumber=number)
    for number in (1, 2):
        (report,) = run(tmp_path / "two", series=str(number), skip_existing=True)
        assert report["series"] == str(number)
        mask = np.asarray(nib.load(tmp_path / "out/two_seg.nii.gz").dataobj)
        assert (mask > 0).sum() == (2 * random_hu(3, 8, 8, seed=number) > 19.5).sum()


@pytest.mark.parametrize(("header", "data"), [("a.mhd", "a.raw"), ("a.nhdr", "a.raw")])
def test_a_header_whose_voxels_are_others_is_done_again(header, data, run, random_hu, tmp_path):
    """The voxels of these formats are in a file beside the one that is named."""
    for seed in range(2):
        sitk.WriteImage(sitk.GetImageFromArray(random_hu(3, 8, 8, seed=seed)), str(tmp_path / header))
        assert (tmp_path / data).is_file()
        run(tmp_path / header, skip_existing=True, outputs=["labels"])
        mask = np.asarray(nib.load(tmp_path / "out/a_seg.nii.gz").dataobj).T
        assert (mask > 0).sum() == (random_hu(3, 8, 8, seed=seed) > 19.5).sum()
    written_at = state(tmp_path / "out")
    run(tmp_path / header, skip_existing=True, outputs=["labels"])
    assert state(tmp_path / "out") == written_at


def test_a_run_killed_between_two_files_is_completed_by_the_next(
    run, make_nifti, random_hu, tmp_path, monkeypatch
):
    """Older outputs of other prompts are there: a mix of old and new files must not pass for whole."""
    stored = random_hu(8, 8, 2)
    source, out = make_nifti(stored), tmp_path / "out"
    run(source, prompts=["9 at 0.5"])
    replace = os.replace

    def killed_at_the_preview(old, new):
        if new == out / "case_seg.png":
            raise KeyboardInterrupt
        replace(old, new)

    monkeypatch.setattr(os, "replace", killed_at_the_preview)
    with pytest.raises(KeyboardInterrupt):
        run(source)
    monkeypatch.undo()
    assert not (out / "case_seg.json").exists()
    (report,) = run(source, skip_existing=True)
    assert [row["prompt"] for row in report["prompts"]] == TEXTS
    mask = np.asarray(nib.load(out / "case_seg.nii.gz").dataobj)
    np.testing.assert_array_equal(mask, np.where(stored > 139.5, 1, np.where(stored > 19.5, 2, 0)))


def corrected(path):
    """A mask in which somebody drew a voxel."""
    image = nib.load(path)
    voxels = np.array(image.dataobj)
    voxels[0, 0, 0] ^= 1
    nib.save(nib.Nifti1Image(voxels, image.affine, image.header), path)
    return path.read_bytes()


@pytest.mark.parametrize("changes", [{}, {"prompts": ["2 at 5.5"]}, {"outputs": ["preview", "labels"]}])
def test_a_mask_corrected_by_hand_is_kept_and_named(
    changes, run, network, make_nifti, random_hu, tmp_path, caplog
):
    """Whatever is asked now: skipping is not to lose work of hours."""
    source, out = make_nifti(random_hu(8, 8, 2)), tmp_path / "out"
    run(source, outputs=["labels"])
    by_hand, encoded = corrected(out / "case_seg.nii.gz"), network.images_encoded
    run_report = tmp_path / "run.json"
    for _ in range(2):
        caplog.clear()
        run(source, skip_existing=True, report=run_report, **{"outputs": ["labels"], **changes})
        assert (out / "case_seg.nii.gz").read_bytes() == by_hand
        sentence = (
            f"{out}: found case_seg.nii.gz changed since case_seg.json was written, so nothing is "
            "overwritten; remove the report or leave skip_existing out to segment the case again."
        )
        assert sentence in caplog.text
        (outcome,) = json.loads(run_report.read_text("utf-8"))["outcomes"]
        assert (outcome["status"], outcome["reason"]) == ("skipped", sentence)
    assert network.images_encoded == encoded
    (out / "case_seg.json").unlink()
    run(source, outputs=["labels"], skip_existing=True)
    assert (out / "case_seg.nii.gz").read_bytes() != by_hand


def test_a_corrected_mask_is_kept_though_another_output_is_gone(run, make_nifti, random_hu, tmp_path):
    source, out = make_nifti(random_hu(8, 8, 2)), tmp_path / "out"
    run(source)
    by_hand = corrected(out / "case_seg.nii.gz")
    (out / "case_seg.png").unlink()
    run(source, skip_existing=True)
    assert (out / "case_seg.nii.gz").read_bytes() == by_hand


def test_every_kind_that_is_changed_by_hand_is_named(run, make_dicom, random_hu, tmp_path, caplog):
    """By bytes, also of equal length; and the source's own files are not looked at."""
    make_dicom(tmp_path / "scan", 2 * (random_hu(3, 8, 8) // 2))
    kinds = ["labels", "masks", "probabilities", "preview", "dicom_seg", "rtstruct"]
    (report,) = run(tmp_path / "scan", outputs=kinds, prompts=[Prompt(TEXTS[0], "a", 1)], file_format="nrrd")
    names = [name for of_kind in report["outputs"].values() for name in of_kind]
    assert len(names) == len(kinds)
    for name in names:
        path = tmp_path / "out" / name
        before = path.read_bytes()
        if name.endswith(".dcm"):
            path.write_bytes(before.replace(b"research use", b"hand-checked"))
        elif name.endswith(".png"):
            path.write_bytes(before + b"\0")
        else:
            path.write_bytes(before.replace(b"encoding: gzip", b"#.\nencoding: gzip"))
        assert path.read_bytes() != before
        caplog.clear()
        run(tmp_path / "scan", outputs=kinds, skip_existing=True)
        assert f"found {name} changed since scan_seg.json was written" in caplog.text
        path.write_bytes(before)


@pytest.mark.parametrize("cut", [0, 40])
def test_a_file_that_is_cut_off_is_no_correction(cut, run, make_nifti, random_hu, tmp_path):
    """A disk that was full, or a copy that was broken off."""
    source, mask = make_nifti(random_hu(8, 8, 2)), tmp_path / "out/case_seg.nii.gz"
    run(source)
    whole = mask.read_bytes()
    mask.write_bytes(whole[:cut])
    run(source, skip_existing=True)
    np.testing.assert_array_equal(
        nib.load(mask).dataobj, nib.Nifti1Image.from_bytes(gzip.decompress(whole)).dataobj
    )


@pytest.mark.parametrize("name", [".DS_Store", "._IM0001", "Thumbs.db", "desktop.ini"])
def test_what_file_managers_leave_beside_a_series_changes_nothing(
    name, run, network, make_dicom, random_hu, tmp_path
):
    make_dicom(tmp_path / "scan", 2 * random_hu(3, 8, 8))
    run(tmp_path / "scan")
    before, encoded = state(tmp_path / "out"), network.images_encoded
    (tmp_path / "scan" / name).write_bytes(b"\0\0\0\1Bud1")
    run(tmp_path / "scan", skip_existing=True)
    assert state(tmp_path / "out") == before
    assert network.images_encoded == encoded


def test_another_slice_beside_a_series_makes_it_run_again(run, network, make_dicom, random_hu, tmp_path):
    make_dicom(tmp_path / "scan", 2 * random_hu(4, 8, 8))
    last = min((tmp_path / "scan").iterdir())
    shutil.move(last, tmp_path / "later")
    run(tmp_path / "scan")
    encoded = network.images_encoded
    shutil.move(tmp_path / "later", last)
    run(tmp_path / "scan", skip_existing=True)
    assert network.images_encoded == encoded + 4


def test_a_second_run_does_not_segment_the_masks_of_the_first(
    run, network, make_nifti, random_hu, tmp_path, caplog
):
    """Into another folder inside the images' one, and of the folder in which one file was segmented."""
    for name in ("in/a.nii.gz", "in/sub/b.nii"):
        make_nifti(random_hu(8, 8, 2), name=name)
    kinds = ["labels", "masks", "probabilities", "preview"]
    run(tmp_path / "in", outputs=kinds, output_dir=tmp_path / "in/first")
    run(tmp_path / "in/sub/b.nii", outputs=kinds, output_dir=tmp_path / "in/sub")
    caplog.clear()
    reports = run(tmp_path / "in", output_dir=tmp_path / "in/second")
    names = ["in/a.nii.gz", "in/sub/b.nii"]
    assert [report["input"] for report in reports] == [str(tmp_path / name) for name in names]
    assert f"{tmp_path}/in: left out 15 files that reports beside them name as outputs" in caplog.text


def test_a_folder_of_outputs_alone_has_no_input(run, make_nifti, random_hu, tmp_path):
    run(make_nifti(random_hu(8, 8, 2)))
    with pytest.raises(InputError, match=r"out: found no image here, expected NIfTI"):
        run(tmp_path / "out", output_dir=tmp_path / "again")


def test_masks_of_others_are_images(run, make_nifti, random_hu, tmp_path):
    """A name does not make a file an output; nor does a report that is none of ours."""
    make_nifti(random_hu(8, 8, 2), name="in/a_seg.nii.gz")
    for content in ("{", "[]", '{"outputs": {"labels": ["a_seg.nii.gz"]}}', '{"outputs": 3}'):
        (tmp_path / "in/a_seg.json").write_text(content)
        (report,) = run(tmp_path / "in")
        assert report["input"].endswith("in/a_seg.nii.gz")


def test_pictures_of_an_earlier_run_are_no_inputs(run, make_network, random_hu, tmp_path):
    network = make_network(images=True)
    (tmp_path / "in").mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (8, 8), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "in/a.png")
    for folder in ("first", "second"):
        (report,) = run(tmp_path / "in", network=network, output_dir=tmp_path / "in" / folder)
        assert report["input"] == str(tmp_path / "in/a.png")


def test_two_images_with_one_output_fail_and_the_others_are_done(run, make_nifti, random_hu, tmp_path):
    for name in ("in/a.nii", "in/a.nii.gz", "in/b.nii"):
        make_nifti(random_hu(8, 8, 2), name=name)
    with pytest.raises(
        CasesFailedError, match=r"^2 of 3 cases failed: .*in/a\.nii and .*in/a\.nii\.gz: both "
    ):
        run(tmp_path / "in")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "b_seg.json", "b_seg.nii.gz", "b_seg.png",
    ]  # fmt: skip

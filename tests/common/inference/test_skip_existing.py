"""What of an earlier run is kept, and what is done again."""

import os

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import torch

from common.inference import VolumeInferer
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

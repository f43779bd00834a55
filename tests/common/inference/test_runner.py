"""From files to files: what is written, and what is said of it."""

import hashlib
import json
import re
from pathlib import Path

import monai
import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import torch

import common
from common.inference import CasesFailedError
from common.text.prompts import Prompt
from tests.common.inference.runs import TEXTS, written


def test_a_case_gets_a_label_map_a_report_and_a_preview(run, make_nifti, random_hu, tmp_path):
    stored = random_hu(8, 8, 5)
    affine = np.diag([-0.8, 0.8, 2.5, 1.0])
    source = make_nifti(stored, affine, "patient 1.nii.gz")
    weights = tmp_path / "model.pt"
    weights.write_bytes(b"weights")

    (report,) = run(source, checkpoint=weights)

    out = tmp_path / "out"
    assert written(out) == ["patient 1_seg.json", "patient 1_seg.nii.gz", "patient 1_seg.png"]
    mask = nib.load(out / "patient 1_seg.nii.gz")
    expected = np.where(stored > 139.5, 1, np.where(stored > 19.5, 2, 0))
    np.testing.assert_array_equal(np.asarray(mask.dataobj), expected)
    assert mask.get_data_dtype() == np.uint8
    np.testing.assert_allclose(mask.affine, affine, rtol=0, atol=1e-6)
    assert (out / "patient 1_seg.png").read_bytes().startswith(b"\x89PNG")

    assert report["input"] == str(source)
    assert report["input_sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
    assert report["outputs"] == {"labels": ["patient 1_seg.nii.gz"], "preview": ["patient 1_seg.png"]}
    assert report["shape"] == [5, 8, 8]
    assert report["spacing_mm"] == pytest.approx([2.5, 0.8, 0.8])
    assert [(row["prompt"], row["label"]) for row in report["prompts"]] == [(TEXTS[0], 1), (TEXTS[1], 2)]
    for row in report["prompts"]:
        of_prompt = expected == row["label"]
        in_slices = np.flatnonzero(of_prompt.any(axis=(0, 1)))
        assert row["voxels"] == of_prompt.sum()
        assert row["ml"] == pytest.approx(of_prompt.sum() * 0.8 * 0.8 * 2.5 / 1000, abs=1e-4)
        assert row["slices"] == {
            "first": in_slices[0],
            "last": in_slices[-1],
            "count": len(in_slices),
        }
        assert 0.5 < row["presence_score"] < 1.0
    counted = [row["mask"]["voxels"] for row in report["prompts"]]
    assert counted == [np.sum(stored > 99.5), np.sum(stored > 19.5)]
    assert report["prompts"][1]["overlap_voxels"] == np.sum(stored > 139.5)
    assert report["checkpoint"] == {"path": str(weights), "sha256": hashlib.sha256(b"weights").hexdigest()}
    assert report["versions"]["torch"] == str(torch.__version__)
    assert report["versions"]["monai"] == monai.__version__
    assert report["versions"]["common"] == common.__version__
    assert report["settings"]["presence_threshold"] == 0.0
    assert set(report["seconds"]) == {
        *(
            "read",
            "text",
            "preprocess",
            "encode",
            "decode",
            "postprocess",
            "clean",
            "write labels",
            "write preview",
        )
    }


def test_a_folder_is_mirrored_and_text_is_encoded_once(run, network, make_nifti, random_hu, tmp_path):
    for name in ("in/a.nii", "in/deep/er/b.nii.gz", "in/.hidden/c.nii", "in/out/old_seg.nii.gz"):
        make_nifti(random_hu(8, 8, 2), name=name)
    (tmp_path / "in/notes.txt").write_text("no image")
    out = tmp_path / "in/out"
    (out / "old_seg.nii.gz").rename(
        out / "a_seg.nii.gz"
    )  # an older output, in an output folder inside the input

    reports = run(tmp_path / "in", output_dir=out)

    assert [Path(report["input"]).name for report in reports] == ["a.nii", "b.nii.gz"]
    assert written(out) == sorted(
        f"{stem}_seg{ending}" for stem in ("a", "deep/er/b") for ending in (".json", ".nii.gz", ".png")
    )
    assert network.texts_encoded == TEXTS


def test_all_formats_of_a_tree_become_cases(run, make_dicom, make_nifti, random_hu, tmp_path):
    """A folder of DICOM files is one case, named after it; other formats are one file a case."""
    slices = 2 * random_hu(3, 8, 8)
    make_dicom(tmp_path / "in/patient/CT", slices)
    make_dicom(tmp_path / "in/two", slices, SeriesNumber=1)
    make_dicom(tmp_path / "in/two", slices + 2, SeriesNumber=2)
    image = sitk.GetImageFromArray(slices)
    sitk.WriteImage(image, str(tmp_path / "in/a.nrrd"))
    sitk.WriteImage(image, str(tmp_path / "in/b.mha"))
    make_nifti(slices.T, np.diag([-1.0, -1.0, 1.0, 1.0]), "in/c.nii")
    with pytest.raises(CasesFailedError, match=r"^1 of 5 cases failed: .*in/two: found 2 series"):
        run(tmp_path / "in")
    for name in ("a", "b", "c", "patient/CT"):
        mask = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / f"out/{name}_seg.nii.gz")))
        np.testing.assert_array_equal(mask, np.where(slices > 139.5, 1, np.where(slices > 19.5, 2, 0)))
    run(tmp_path / "in/two", series="2", output_dir=tmp_path / "second")
    assert written(tmp_path / "second") == ["two_seg.json", "two_seg.nii.gz", "two_seg.png"]


def test_prompts_come_from_a_file_as_data(run, make_nifti, random_hu, tmp_path):
    file = tmp_path / "prompts.txt"
    file.write_text("5 at 49.5\n-5 at -49.5\n")
    (report,) = run([make_nifti(random_hu(8, 8, 1))], prompts=None, prompts_file=file)
    assert [row["prompt"] for row in report["prompts"]] == ["5 at 49.5", "-5 at -49.5"]


def test_prompts_may_bring_their_names_and_numbers(run, make_nifti, random_hu, tmp_path):
    stored = random_hu(8, 8, 1)
    (report,) = run(make_nifti(stored), prompts=[Prompt("5 at 49.5", "bright", 17)])
    assert report["prompts"][0]["name"] == "bright"
    mask = np.asarray(nib.load(tmp_path / "out/case_seg.nii.gz").dataobj)
    np.testing.assert_array_equal(mask, 17 * (stored > 49.5))


def test_prompts_that_take_each_others_voxels_are_named(run, make_nifti, random_hu, caplog):
    stored = random_hu(8, 8, 2)
    with caplog.at_level("INFO"):
        run(make_nifti(stored), prompts=["9 at 99.5", "8 at 99.5"])
    lost = (stored > 99.5).sum()
    assert f"2 8 at 99.5: {lost / 1000:.1f} ml (label map: nothing), 2 slices, presence" in caplog.text
    assert (
        f"other prompts got {lost} of the {lost} voxels of '8 at 99.5', since a label map (and "
        in caplog.text
    )
    caplog.clear()
    run(make_nifti(stored), prompts=["9 at 99.5", "-9 at 0.5"])
    assert "other prompts" not in caplog.text


def test_masks_of_sentences_that_mean_the_same_are_found_whatever_the_label_map_has(
    run, make_nifti, random_hu, caplog
):
    """Voxels of 0.1 ml. The second sentence has nothing left in the label map, the third no mask."""
    stored = random_hu(8, 8, 2)
    both = int((stored > 99.5).sum())
    with caplog.at_level("INFO"):
        (report,) = run(
            make_nifti(stored, np.diag([5.0, 5.0, 4.0, 1.0])),
            prompts=["9 at 99.5", "8 at 99.5", "9 at 239"],
            outputs=["labels", "masks"],
        )
    assert "other prompts" not in caplog.text
    rows = report["prompts"]
    assert [row["voxels"] for row in rows] == [both, 0, 0]
    assert [row["mask"]["voxels"] for row in rows] == [both, both, 0]
    assert rows[1]["mask"]["ml"] == pytest.approx(both / 10)
    assert rows[1]["mask"]["slices"] == {"first": 0, "last": 1, "count": 2}
    lines = [re.sub(r", presence \S+", "", line.strip()) for line in caplog.text.splitlines()]
    ml = f"{both / 10:.1f} ml"
    assert f"1 9 at 99.5: {ml}, 2 slices" in lines
    assert f"2 8 at 99.5: {ml} (label map: nothing), 2 slices" in lines
    assert "3 9 at 239: 0.0 ml, not found" in lines


def test_what_dicom_objects_lose_is_said_beside_masks_too(run, make_dicom, random_hu, tmp_path, caplog):
    make_dicom(tmp_path / "CT", 2 * random_hu(2, 8, 8))
    run(tmp_path / "CT", prompts=["9 at 99.5", "8 at 99.5"], outputs=["masks", "rtstruct"])
    assert "of '8 at 99.5', since a label map (and DICOM SEG and RTSTRUCT) gives each to" in caplog.text
    assert caplog.text.rstrip().count("ask for it alone.") == 1


def test_images_without_negative_values_are_said_to_be_no_ct(run, make_nifti, random_hu, caplog):
    run(make_nifti(abs(random_hu(8, 8, 2))))
    assert re.search(r"case\.nii\.gz: found no value below \d+, expected CT in Hounsfield units", caplog.text)
    caplog.clear()
    run(make_nifti(random_hu(8, 8, 2)))
    assert "Hounsfield" not in caplog.text


def test_the_bar_shows_cases_slices_a_second_and_the_time_that_remains(run, make_nifti, random_hu, capsys):
    run([make_nifti(random_hu(8, 8, 2, seed=n), name=f"{n}.nii") for n in range(2)], progress=True)
    shown = capsys.readouterr().err
    assert re.search(r"cases: 100%\|.*\| 2/2 \[\d\d:\d\d<\d\d:\d\d, .*case.*, [\d.]+ slices/s\]", shown)


def test_the_run_report_says_what_became_of_every_case(run, make_nifti, random_hu, tmp_path):
    for name in ("in/a.nii", "in/b.nii", "in/c.nii"):
        make_nifti(random_hu(8, 8, 2), name=name)
    run(tmp_path / "in/a.nii")
    (tmp_path / "in/b.nii").write_bytes(b"no image")
    with pytest.raises(CasesFailedError):
        run(tmp_path / "in", skip_existing=True, report=tmp_path / "run.json")
    report = json.loads((tmp_path / "run.json").read_text("utf-8"))
    assert [report[key] for key in ("cases", "done", "skipped", "failed")] == [3, 1, 1, 1]
    assert [one["status"] for one in report["outcomes"]] == ["skipped", "failed", "done"]
    assert [Path(one["input"]).name for one in report["outcomes"]] == ["a.nii", "b.nii", "c.nii"]
    assert report["outcomes"][1]["reason"].startswith(str(tmp_path / "in/b.nii"))
    assert report["outcomes"][2]["report"] == str(tmp_path / "out/c_seg.json")


def test_a_run_that_is_cut_short_still_reports(run, network, make_nifti, random_hu, tmp_path):
    sources = [make_nifti(random_hu(8, 8, 1, seed=n), name=f"{n}.nii") for n in range(3)]
    encode = network.encode_image

    def interrupted(image):
        if network.images_encoded:
            raise KeyboardInterrupt
        return encode(image)

    network.encode_image = interrupted
    with pytest.raises(KeyboardInterrupt):
        run(sources, report=tmp_path / "run.json")
    report = json.loads((tmp_path / "run.json").read_text("utf-8"))
    assert [report[key] for key in ("cases", "done", "skipped", "failed")] == [3, 1, 0, 0]
    assert not list((tmp_path / "out").glob(".partial-*"))


def test_the_time_of_texts_that_are_encoded_once_counts_once(run, make_nifti, random_hu):
    reports = run([make_nifti(random_hu(8, 8, 1), name=f"{n}.nii") for n in range(3)])
    assert ["text" in report["seconds"] for report in reports] == [True, False, False]

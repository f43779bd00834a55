"""From files to files: what is written, and what is said when something is wrong."""

import hashlib
import json
import os
import re
import resource
from pathlib import Path

import monai
import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import torch

import common
from common.errors import InputError
from common.inference import CaseRunner, CasesFailedError, VolumeInferer
from common.inference.worker import check_device, input_error_of
from common.text.prompts import Prompt

TEXTS = ["9 at 99.5", "3 at 19.5"]  # logits are equal at 139.5 HU


@pytest.fixture
def run(network, tmp_path):
    """Run on inputs and return the cases' reports; keyword arguments replace the runner's."""

    def start(inputs, **changes):
        options = {"network": network, "inferer": VolumeInferer(), "prompts": TEXTS, "progress": False}
        output_dir = changes.pop("output_dir", tmp_path / "out")
        outcomes = CaseRunner(inputs, output_dir, **(options | changes)).run().outcomes
        return [json.loads(Path(outcome.report).read_text("utf-8")) for outcome in outcomes]

    return start


def written(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_case_gets_a_label_map_a_report_and_a_picture(run, make_nifti, random_hu, tmp_path):
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


def test_one_bad_case_is_reported_and_the_others_are_done(run, make_nifti, random_hu, tmp_path, caplog):
    for name in ("in/a.nii.gz", "in/b.nii.gz", "in/c.nii.gz"):
        make_nifti(random_hu(8, 8, 2), name=name)
    bad = tmp_path / "in/b.nii.gz"
    bad.write_bytes(bad.read_bytes()[:-40])
    with pytest.raises(InputError, match=r"^1 of 3 cases failed: .*in/b\.nii\.gz: ") as caught:
        run(tmp_path / "in")
    assert f"{bad}: {bad}" not in str(caught.value)
    assert str(bad) in caplog.text
    assert [name for name in written(tmp_path / "out") if name.endswith("gz")] == [
        "a_seg.nii.gz",
        "c_seg.nii.gz",
    ]


def test_an_unforeseen_error_in_a_case_does_not_end_the_run(run, network, make_nifti, random_hu, tmp_path):
    sources = [make_nifti(random_hu(8, 8, 2, seed=n), name=f"{n}.nii.gz") for n in range(2)]
    encode = network.encode_image

    def fails_once(image):
        network.encode_image = encode
        raise RuntimeError("the cable is out")

    network.encode_image = fails_once
    with pytest.raises(
        InputError, match=r"^1 of 2 cases failed: .*0\.nii\.gz: RuntimeError: the cable is out\."
    ):
        run(sources)
    assert "1_seg.json" in written(tmp_path / "out")


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


def test_prompts_that_take_each_others_voxels_are_named(run, make_nifti, random_hu, caplog):
    stored = random_hu(8, 8, 2)
    run(make_nifti(stored), prompts=["9 at 99.5", "8 at 99.5"])
    lost = (stored > 99.5).sum()
    assert f"other prompts got {lost} of the {lost} voxels of '8 at 99.5', since a label map" in caplog.text
    caplog.clear()
    run(make_nifti(stored), prompts=["9 at 99.5", "-9 at 0.5"])
    assert "other prompts" not in caplog.text


def test_images_without_negative_values_are_said_to_be_no_ct(run, make_nifti, random_hu, caplog):
    run(make_nifti(abs(random_hu(8, 8, 2))))
    assert re.search(r"case\.nii\.gz: found no value below \d+, expected CT in Hounsfield units", caplog.text)
    caplog.clear()
    run(make_nifti(random_hu(8, 8, 2)))
    assert "Hounsfield" not in caplog.text


def test_an_input_that_cannot_be_read_is_one_sentence(run, make_nifti, random_hu, tmp_path, caplog):
    make_nifti(random_hu(8, 8, 1), name="in/a.nii.gz")
    (tmp_path / "in/b.nii.gz").symlink_to(tmp_path / "gone.nii.gz")
    with (
        caplog.at_level("INFO"),
        pytest.raises(
            CasesFailedError,
            match=r"cases failed: .*in/b\.nii\.gz: cannot be read \(No such file or directory\), exp",
        ),
    ):
        run(tmp_path / "in")
    assert "Traceback" not in caplog.text
    assert "2 cases: 1 done, 0 skipped, 1 failed." in caplog.text


def test_a_device_that_is_not_there_is_one_sentence():
    with pytest.raises(
        InputError, match=r"^device: found 'cuda:99', which cannot be used here \(.*\), expected cpu"
    ):
        check_device("cuda:99")
    check_device("cpu")
    check_device(None)


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


def test_a_switch_that_works_for_no_case_ends_the_run(run, make_nifti, random_hu, tmp_path, monkeypatch):
    """As where there is no C++ compiler: the second case would wait for the same failure."""
    calls = []

    def failing(call):
        def run(*arguments):
            calls.append(call)
            raise torch._dynamo.exc.TorchDynamoException("no C++ compiler")

        return run

    monkeypatch.setattr(torch, "compile", failing)
    for name in ("a.nii.gz", "b.nii.gz"):
        make_nifti(random_hu(4, 4, 2), np.eye(4), f"in/{name}")
    with pytest.raises(InputError, match=r"^compile: torch.compile failed \(no C\+\+ compiler\), .* off"):
        run(tmp_path / "in", inferer=VolumeInferer(compiled=True), report=tmp_path / "run.json")
    assert len(calls) == 1
    assert written(tmp_path / "out") == []
    report = json.loads((tmp_path / "run.json").read_text("utf-8"))
    assert [report[key] for key in ("cases", "done", "skipped", "failed")] == [2, 0, 0, 0]


def test_a_bug_while_an_input_error_is_handled_is_no_input_error():
    """It gets a traceback; what MONAI raises from an InputError is that error."""
    bug = KeyError("a bug")
    bug.__context__ = InputError("the prompt")
    assert input_error_of(bug) is None
    wrapped = RuntimeError("component instantiate error")
    wrapped.__cause__ = InputError("the prompt")
    assert str(input_error_of(wrapped)) == "the prompt"


def test_many_failures_are_not_all_repeated(run, make_nifti, tmp_path):
    for number in range(7):
        make_nifti(np.zeros((8, 8, 1)), name=f"in/{number}.nii").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"^7 of 7 cases failed: .*4\.nii.*; and 2 more\.$"):
        run(tmp_path / "in")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompts": None}, "prompts, prompts_file: found neither, expected exactly one"),
        ({"prompts_file": "p.txt"}, "prompts, prompts_file: found both, expected exactly one"),
        ({"prompts": []}, "prompts: found none, expected at least one"),
        ({"prompts": ["liver", "  "]}, "prompt 2: found no text, expected words"),
        (
            {"prompts": None, "prompts_file": "gone.txt"},
            r"gone\.txt: cannot be read \(No such file or directory\)",
        ),
    ],
)
def test_prompts_are_checked_before_any_work(run, network, make_nifti, tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        run(make_nifti(np.zeros((8, 8, 1))), **changes)
    assert (network.texts_encoded, network.images_encoded) == ([], 0)
    assert not (tmp_path / "out").exists()


def test_inputs_are_checked_before_any_work(run, network, make_nifti, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "case.txt").write_text("no image")
    with pytest.raises(InputError, match=r"gone\.nii: no such file or folder; check the path"):
        run(tmp_path / "gone.nii")
    with pytest.raises(InputError, match=r"case\.txt: found the ending '\.txt', expected NIfTI"):
        run(tmp_path / "case.txt")
    with pytest.raises(InputError, match=r"empty: found no image here, expected NIfTI"):
        run(tmp_path / "empty")
    with pytest.raises(InputError, match="empty: input and output are one folder, so that masks would"):
        run(tmp_path / "empty", output_dir=tmp_path / "empty")
    with pytest.raises(InputError, match=r"gone\.pt: cannot be read \(No such file or directory\)"):
        run(make_nifti(np.zeros((8, 8, 1))), checkpoint=tmp_path / "gone.pt")
    with pytest.raises(InputError, match="input: found an empty list, expected at least one file"):
        run([])
    assert network.texts_encoded == []


def test_two_inputs_with_one_output_are_refused(run, make_nifti):
    one, two = (make_nifti(np.zeros((8, 8, 1)), name=name) for name in ("a/x.nii.gz", "b/x.nii"))
    with pytest.raises(
        InputError, match=r"a/x\.nii\.gz and .*b/x\.nii: both would be written to .*x_seg\.nii\.gz"
    ):
        run([one, two])
    with pytest.raises(InputError, match=r"x\.nii\.gz and .*x\.nii\.gz: both would be written"):
        run([one, one])


def test_an_output_folder_that_cannot_be_is_named_before_any_work(
    run, network, make_nifti, random_hu, tmp_path
):
    (tmp_path / "out").write_text("a file")
    source = make_nifti(random_hu(8, 8, 1))
    for output in (tmp_path / "out", tmp_path / "out/deeper/still"):
        with pytest.raises(InputError, match=r"^.*/out: cannot write there \(not a folder\), expected a"):
            run(source, output_dir=output)
    assert network.images_encoded == 0


def test_a_report_that_cannot_be_is_named_before_any_work(run, network, make_nifti, random_hu, tmp_path):
    source, blocked = make_nifti(random_hu(8, 8, 1)), tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(InputError, match=r"file: cannot write there \(not a folder\)"):
        run(source, report=blocked / "run.json")
    with pytest.raises(InputError, match=r"^report: .* is a folder, expected a file; add a name"):
        run(source, report=tmp_path)
    assert network.images_encoded == 0


def test_a_report_that_fails_at_the_end_hides_nothing(run, network, make_nifti, random_hu, tmp_path, caplog):
    """The folder of the report becomes a file while the cases are done."""
    sources = [make_nifti(random_hu(8, 8, 1), name=f"{n}.nii") for n in range(2)]
    encode, place = network.encode_image, tmp_path / "reports"

    def blocking(image):
        place.write_text("")
        if network.images_encoded:
            raise OSError("no such library")
        return encode(image)

    network.encode_image = blocking
    with pytest.raises(CasesFailedError, match=r"1 of 2 cases failed: .*1\.nii.*no such library"):
        run(sources, report=place / "run.json")
    assert re.search(r"report: .*reports: cannot write there", caplog.text)
    assert (tmp_path / "out/0_seg.json").is_file()
    network.encode_image = encode
    place.unlink()
    place.mkdir()
    run(sources, report=place / "run.json")


def test_a_full_disk_leaves_what_was_there(run, make_nifti, random_hu, tmp_path):
    """A limit on the size of files stands for the full disk; the picture exceeds it."""
    source, out = make_nifti(random_hu(8, 8, 2)), tmp_path / "out"
    run(source)
    before = {path: path.read_bytes() for path in out.iterdir()}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        with pytest.raises(InputError, match=r"out: cannot write there \(File too large\), expected"):
            run(source)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {path: path.read_bytes() for path in out.iterdir()} == before


@pytest.mark.parametrize(
    ("file_format", "reason"),
    [
        ("nii.gz", "File too large"),
        ("nrrd", "ITK did not write all of case_seg.nrrd"),
        ("mha", "ITK did not write all of case_seg.mha"),
    ],
)
def test_a_full_disk_is_said_whoever_writes(file_format, reason, run, make_nifti, random_hu, tmp_path):
    source = make_nifti(random_hu(32, 32, 20))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, hard))
    try:
        with pytest.raises(
            CasesFailedError, match=rf"out: cannot write there \({reason}\), expected a folder"
        ):
            run(source, prompts=["5 at 49.5"], outputs=["labels"], file_format=file_format)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list((tmp_path / "out").iterdir())


def test_a_run_killed_between_two_files_is_completed_by_the_next(
    run, make_nifti, random_hu, tmp_path, monkeypatch
):
    """Older outputs of other prompts are there: a mix of old and new files must not pass for whole."""
    stored = random_hu(8, 8, 2)
    source, out = make_nifti(stored), tmp_path / "out"
    run(source, prompts=["9 at 0.5"])
    replace = os.replace

    def killed_at_the_picture(old, new):
        if new == out / "case_seg.png":
            raise KeyboardInterrupt
        replace(old, new)

    monkeypatch.setattr(os, "replace", killed_at_the_picture)
    with pytest.raises(KeyboardInterrupt):
        run(source)
    monkeypatch.undo()
    assert not (out / "case_seg.json").exists()
    (report,) = run(source, skip_existing=True)
    assert [row["prompt"] for row in report["prompts"]] == TEXTS
    mask = np.asarray(nib.load(out / "case_seg.nii.gz").dataobj)
    np.testing.assert_array_equal(mask, np.where(stored > 139.5, 1, np.where(stored > 19.5, 2, 0)))

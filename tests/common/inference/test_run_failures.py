"""What is said when a case or a run cannot be, and what stays of it."""

import json
import re
import resource

import numpy as np
import pytest
import torch

from common.errors import InputError, input_error_of
from common.inference import CasesFailedError, VolumeInferer
from common.machine import check_device
from tests.common.inference.runs import written


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


def test_a_switch_that_works_for_no_case_ends_the_run(run, make_nifti, random_hu, tmp_path, monkeypatch):
    """As where there is no C++ compiler: the second case would wait for the same failure."""
    calls = []

    def failing(call):
        def run(*arguments):
            calls.append(call)
            raise RuntimeError("no C++ compiler")

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
    with pytest.raises(InputError, match="empty: input and output are the same folder, so masks would"):
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
    """A limit on the size of files stands for the full disk; the preview exceeds it."""
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

"""SIGKILL at every step that a real run takes in its output folder: nothing wrong, nothing half."""

import json
import os
import signal
import sys

import nibabel as nib
import numpy as np
import pytest
import torch

from common.inference import CaseRunner, VolumeInferer

STEPS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir"}  # Python's names for what it audits
OLD, NEW = "5 at 0.5", "5 at 49.5"


@pytest.fixture
def run(network, make_nifti, random_hu, tmp_path):
    """Run on two cases with a prompt; the inputs' voxels by name."""
    stored = {name: random_hu(8, 8, 3, seed=seed) for seed, name in enumerate("ab")}
    for name, voxels in stored.items():
        make_nifti(voxels, name=f"in/{name}.nii")

    def start(prompt):
        options = {"outputs": ["labels", "masks"], "skip_existing": True, "progress": False}
        CaseRunner(tmp_path / "in", tmp_path / "out", network=network, inferer=VolumeInferer(),
                   prompts=[prompt], **options).run()  # fmt: skip

    return start, stored


def killed_at(step, work, folder):
    """Do `work` in a process that kills itself at its `step`-th step in `folder`; False when it was done."""
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)
        left = [step]

        def count(event, arguments):
            if event in STEPS and str(folder) in str(arguments[0]):
                left[0] -= 1
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        try:
            work()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def check_what_is_seen(out, stored):
    """Files that are seen are whole, and a report speaks of the masks that lie beside it."""
    for name, voxels in stored.items():
        masks = {OLD: voxels > 0.5, NEW: voxels > 49.5}
        seen = out / f"{name}_seg.nii.gz"
        if seen.exists():
            mask = np.asarray(nib.load(seen).dataobj)
            assert any(np.array_equal(mask, expected) for expected in masks.values())
        if (out / f"{name}_seg.json").exists():
            report = json.loads((out / f"{name}_seg.json").read_text("utf-8"))
            prompt = report["prompts"][0]["prompt"]
            for of_kind in report["outputs"].values():
                for file in of_kind:
                    np.testing.assert_array_equal(np.asarray(nib.load(out / file).dataobj), masks[prompt])


def test_a_run_killed_at_any_step_leaves_no_wrong_or_half_file_and_is_completed(run, tmp_path):
    start, stored = run
    out, step = tmp_path / "out", 1
    start(OLD)  # older outputs are there: a mix of old and new must not pass for whole
    while killed_at(step, lambda: start(NEW), out):
        check_what_is_seen(out, stored)
        step += 1
        start(NEW) if step % 2 else start(OLD)  # completed by the same request, or replaced by another
        check_what_is_seen(out, stored)
        assert not [path for path in out.iterdir() if path.name.startswith(".")]
        start(OLD)
    assert step > 20  # two cases, three files each: made, written, moved
    start(NEW)
    check_what_is_seen(out, stored)
    masks = ("a_mask_1_5_at_49_5.nii.gz", "b_mask_1_5_at_49_5.nii.gz")
    assert {"a_seg.json", "a_seg.nii.gz", "b_seg.json", "b_seg.nii.gz", *masks} <= {
        path.name for path in out.iterdir()
    }


def test_a_run_beside_another_one_leaves_its_folder_alone(run, tmp_path):
    """Both do the same case: a folder whose run is alive is locked."""
    from common.inference.cases import InputCase
    from common.outputs.staging import staged

    start, stored = run
    case = InputCase(tmp_path / "in/a.nii", tmp_path / "out/a")
    with staged(case) as folder:
        (folder / "half").write_text("at work")
        start(NEW)
        assert (folder / "half").read_text() == "at work"
    check_what_is_seen(tmp_path / "out", stored)
    assert not folder.exists()

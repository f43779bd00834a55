"""The table of bad input: every sentence names the file, what was found, what was expected, what to do."""

import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from common.errors import InputError
from common.inference import CaseRunner, VolumeInferer
from common.text.prompts import check_prompt

NOBODY = 65534


def nifti(path: Path, voxels: np.ndarray, affine: np.ndarray | None = None) -> Path:
    nib.save(nib.Nifti1Image(voxels.astype(np.int16), np.eye(4) if affine is None else affine), path)
    return path


def truncated(folder, _):
    path = nifti(folder / "case.nii.gz", np.random.default_rng(0).integers(0, 9, (8, 8, 8)))
    path.write_bytes(path.read_bytes()[:-60])
    return path


def flat_affine(folder, _):
    image = nib.Nifti1Image(np.arange(64, dtype=np.int16).reshape(4, 4, 4), None)
    image.header.set_sform(np.diag([1.0, 1.0, 0.0, 1.0]), 1)
    nib.save(image, folder / "case.nii")
    return folder / "case.nii"


def mixed_series(folder, make_dicom):
    slices = 2 * np.arange(2 * 64).reshape(2, 8, 8)
    for number in (1, 2):
        make_dicom(folder / "case", slices, SeriesNumber=number, SeriesDescription=f"phase {number}")
    return folder / "case"


TABLE = [
    (truncated, r"case\.nii\.gz: cannot be read as NIfTI \(.*\), so the file is broken, cut off or of "
                r"another kind; give a whole \.nii or \.nii\.gz file\."),
    (lambda folder, _: nifti(folder / "case.nii", np.arange(192).reshape(4, 4, 4, 3)),
     r"case\.nii: the image has shape 4 x 4 x 4 x 3, expected three axes, or four with one channel; give one "
     r"volume of slices\."),
    (lambda folder, _: nifti(folder / "case.nii", np.full((4, 4, 4), 7)),
     r"case\.nii: every voxel is 7, expected an image with some contrast; export it again\."),
    (flat_affine, r"case\.nii: the affine is singular \(.*\), so the positions of voxels are unknown; "
                  r"convert the series again from DICOM\."),
    (mixed_series, r"case: found 2 series: .*\(number [12], CT, 2 files, such as .*\.dcm\); .*\(number [12], "
                   r"CT, 2 files, such as .*\.dcm\); choose one with --series and its UID or number\."),
]  # fmt: skip


@pytest.mark.parametrize(("make", "sentence"), TABLE)
def test_bad_files(make, sentence, make_dicom, network, tmp_path):
    source = make(tmp_path, make_dicom)
    with pytest.raises(InputError, match=rf"^1 of 1 cases failed: {tmp_path}/{sentence}$"):
        start(source, tmp_path / "out", network)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("x" * 2001, "prompt 1: found 2001 characters, expected at most 2000; shorten the text."),
        (
            "li\x07ver",
            r"prompt 1: found the control character U\+0007 at position 3, expected printable",
        ),
        (7, "prompt 1: found int, expected text; write what to segment in words."),
    ],
)
def test_bad_prompts(text, sentence):
    with pytest.raises(InputError, match=f"^{sentence}"):
        check_prompt(text, field="prompt 1")


def test_no_write_permission(network, tmp_path):
    """As a user that is not root, for whom permissions mean nothing; said before any work."""
    source = nifti(tmp_path / "case.nii", np.arange(64).reshape(4, 4, 4))
    (tmp_path / "out").mkdir(mode=0o555)
    said, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            torch.set_num_threads(1)
            if os.getuid() == 0:
                for folder in (tmp_path, *tmp_path.parents[:2]):  # pytest's own are closed to others
                    folder.chmod(0o755)
                os.setuid(NOBODY)
            start(source, tmp_path / "out" / "masks", network)
        except BaseException as error:
            os.write(writing, f"{type(error).__name__}: {error}".encode())
        finally:
            os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    assert os.read(said, 4096).decode() == (
        f"InputError: {tmp_path}/out: cannot write there (Permission denied), expected a folder with space "
        "and write permission; choose another output folder or free space."
    )


def start(source, out, network):
    inferer = VolumeInferer()
    CaseRunner(source, out, network=network, inferer=inferer, prompts=["5 at 0"], progress=False).run()

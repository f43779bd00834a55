"""The table of gzip levels against files that nibabel writes and reads at these levels."""

import re

import nibabel as nib
import numpy as np
import pytest
from nibabel.openers import Opener

from common.data.volumes import read_volume, write_labels
from common.errors import InputError
from tools.benchmark.writing import LEVELS, ball_labels, main, table


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    """Balls in which an eighth of the voxels are anything, so that hundredths of a MB tell levels apart."""
    labels = ball_labels(slices=32, side=160)
    rng = np.random.default_rng(0)
    labels.ravel()[rng.integers(0, labels.size, 100_000)] = rng.integers(0, 14, 100_000)
    return labels


def test_files_of_higher_levels_are_smaller_and_all_read_back_equal(labels, tmp_path, monkeypatch):
    files = {level: tmp_path / f"{level}.nii.gz" for level in LEVELS}
    for level, file in files.items():
        with monkeypatch.context() as patch:
            patch.setattr(Opener, "default_compresslevel", level)
            nib.save(nib.Nifti1Image(labels.T, np.eye(4)), file)  # the first axis runs fastest: (X, Y, Z)
        np.testing.assert_array_equal(np.asarray(nib.load(file).dataobj).T, labels)
    sizes = [file.stat().st_size for file in files.values()]
    assert sizes == sorted(set(sizes), reverse=True)
    rows = re.findall(r"^\| (\d) \| [\d.]+ \| ([\d.]+) \|$", table(labels, rounds=1), re.MULTILINE)
    assert [int(level) for level, _ in rows] == list(LEVELS)
    assert [float(size) for _, size in rows] == pytest.approx([size / 1e6 for size in sizes], abs=0.006)


def test_label_maps_are_written_at_level_1(labels, tmp_path):
    """As the benchmark's help says, and nibabel's default."""
    nib.save(nib.Nifti1Image(labels.T, np.diag([-1.0, -1.0, 1.0, 1.0])), tmp_path / "source.nii.gz")
    volume = read_volume(tmp_path / "source.nii.gz")
    written = tmp_path / "labels.nii.gz"
    write_labels(written, labels, like=volume)
    (row,) = re.findall(r"^\| 1 \| [\d.]+ \| ([\d.]+) \|$", table(labels, rounds=1), re.MULTILINE)
    assert written.stat().st_size / 1e6 == pytest.approx(float(row), abs=0.006)


def test_values_that_no_byte_holds_are_refused(tmp_path):
    path = tmp_path / "many.nii.gz"
    nib.save(nib.Nifti1Image(np.full((2, 2, 2), 256, np.int16), np.diag([-1.0, -1.0, 1.0, 1.0])), path)
    with pytest.raises(InputError, match=r"many.nii.gz: holds the value 256, expected 0 to 255"):
        main(["--labels", str(path)])

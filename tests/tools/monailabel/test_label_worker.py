"""A bundle's process at work, without MONAI Label: what it writes and answers about prompts that overlap."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.label.threshold import make_threshold_bundle
from tools.monailabel.bundle_process import BundleProcess
from tools.monailabel.bundles import find_bundles


def test_masks_that_overlap_are_written_and_counted_whole(tmp_path: Path) -> None:
    """The label map gives each voxel to one prompt: 0.4 of the window is 0 HU, 0.7 is 120 HU."""
    voxels = np.zeros((16, 16, 4), np.int16) - 100
    voxels[2:10, 2:10, 1:3], voxels[4:8, 4:8, 1:3] = 60, 200
    image = nib.Nifti1Image(voxels, np.diag([2.0, 2.0, 5.0, 1.0]))
    image.set_qform(image.affine, code=1)
    nib.save(image, tmp_path / "image.nii.gz")
    root = make_threshold_bundle(tmp_path / "threshold")
    process = BundleProcess(find_bundles([root], tmp_path)["threshold"], device="cpu", time_limit_s=300)
    texts, masks = ("0.4", "0.4 again", "0.7"), [tmp_path / f"mask{number}.nii.gz" for number in range(3)]
    try:
        found = process.ask(
            {
                "image": str(tmp_path / "image.nii.gz"),
                "prompts": [
                    {"text": text, "name": text, "label": n} for n, text in enumerate(texts, start=1)
                ],
                "options": {},
                "checkpoint": None,
                "uncertainty": True,
                "output": str(tmp_path / "labels.nii.gz"),
                "masks": [str(mask) for mask in masks],
            }
        )["prompts"]
    finally:
        process.close()
    labels, *own = (np.asarray(nib.load(path).dataobj) for path in (tmp_path / "labels.nii.gz", *masks))
    for mask, hu in zip(own, (0, 0, 120), strict=True):
        np.testing.assert_array_equal(mask, voxels > hu)
    for number, row in enumerate(found, start=1):
        assert row["voxels"] == np.count_nonzero(labels == number)
        assert row["mask"]["voxels"] == np.count_nonzero(own[number - 1])
        assert row["mask"]["ml"] == pytest.approx(row["mask"]["voxels"] * 0.02)
        assert row["overlap_voxels"] == row["mask"]["voxels"] - row["voxels"]
    np.testing.assert_array_equal(labels > 0, voxels > 0)
    assert found[0]["uncertainty"] == found[1]["uncertainty"]  # of the own masks, which are the same

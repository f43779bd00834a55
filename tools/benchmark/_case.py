"""What the inference benchmark runs on: a CT-like volume."""

from pathlib import Path

import nibabel as nib
import numpy as np

ORGANS = (
    *("liver", "spleen", "left kidney", "right kidney", "pancreas", "stomach", "gallbladder", "aorta"),
    *("inferior vena cava", "left adrenal gland", "right adrenal gland", "esophagus", "duodenum"),
)


def write_volume(path: Path, *, slices: int, side: int) -> Path:
    """A body of soft tissue with noise in air, int16 HU, 0.8 x 0.8 x 2.5 mm; returns `path`."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    body = np.hypot(x / 0.9, y / 0.7) < 1
    voxels = np.empty((side, side, slices), np.int16)
    for index in range(slices):
        plane = np.where(body, 40.0, -1000.0) + rng.normal(0.0, 15.0, (side, side))
        voxels[..., index] = np.rint(plane).T
    nib.save(nib.Nifti1Image(voxels, np.diag([-0.8, -0.8, 2.5, 1.0])), path)
    return path

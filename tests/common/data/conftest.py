"""Small cases whose slices are told apart by their grey value, and 2D images with lesions of known places."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from nibabel import orientations
from PIL import Image

from common.data.datalist import Case
from tests.common.data.referring_files import LEFT_LESION, RIGHT_LESION, SLICE

FIRST_HU, STEP_HU = -150, 8  # slice n of all cases has the value FIRST_HU + n * STEP_HU


def write_nifti(path: Path, slices: np.ndarray, spacing_mm: tuple[float, float, float]) -> Path:
    """Write (D, H, W) int16 so that reading gives the same order: stored as L, P, S."""
    path.parent.mkdir(parents=True, exist_ok=True)
    depth, height, width = spacing_mm
    affine = np.diag([-width, -height, depth, 1.0])
    nib.save(nib.Nifti1Image(slices.transpose(2, 1, 0).astype(np.int16), affine), path)
    return path


@pytest.fixture
def make_case(tmp_path: Path) -> Callable[..., Case]:
    """Write label slices (D, H, W) and an image whose slices are numbered from `first`."""

    def make(
        name: str,
        labels: np.ndarray,
        targets: Sequence[str],
        *,
        first: int = 0,
        spacing_mm: tuple[float, float, float] = (2.0, 1.0, 1.0),
    ) -> Case:
        numbers = np.arange(first, first + len(labels))[:, None, None]
        image = np.broadcast_to(FIRST_HU + STEP_HU * numbers, labels.shape)
        return Case(
            case=name,
            image=write_nifti(tmp_path / "images" / f"{name}.nii.gz", image, spacing_mm),
            label=write_nifti(tmp_path / "labels" / f"{name}.nii.gz", labels, spacing_mm),
            patient=name,
            targets=tuple(targets),
        )

    return make


@pytest.fixture
def slice_number() -> Callable[[np.ndarray], int]:
    """Which slice of all cases (0 to 47) an image is, from the soft-tissue window of -160 to 240 HU."""
    return lambda image: round((float(np.median(image)) * 400 - 160 - FIRST_HU) / STEP_HU)


@pytest.fixture
def png(tmp_path: Path) -> dict[str, Any]:
    """A 2D image of 20 x 40 pixels with lesions of value 3 (left of the image) and 7 (right)."""
    labels = np.zeros((20, 40), np.uint8)
    labels[4:8, 4:10], labels[10:16, 28:36] = 3, 7
    grey = np.where(labels == 3, 100, np.where(labels == 7, 200, 50)).astype(np.uint8)
    for name, pixels in (("image", grey), ("label", labels)):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    return {"image": "image.png", "label": "label.png", "patient": "p"}


@pytest.fixture
def make_volume(tmp_path: Path) -> Callable[[str], dict[str, Any]]:
    """A volume stored in some axis order, with a bright lesion on the patient's left and a dark one right."""

    def make(axes: str) -> dict[str, Any]:
        labels = np.zeros((16, 12, 3), np.uint8)  # RAS: x runs from left to right
        labels[2:5, 4:8, SLICE], labels[11:14, 4:8, SLICE] = LEFT_LESION, RIGHT_LESION  # small x: left
        hu = np.where(labels == LEFT_LESION, 200, np.where(labels == RIGHT_LESION, -100, 40)).astype(np.int16)
        for name, voxels in (("image", hu), ("label", labels)):
            image = nib.Nifti1Image(voxels, np.diag([2.0, 1.5, 5.0, 1.0]))
            turn = orientations.ornt_transform(
                orientations.io_orientation(image.affine), orientations.axcodes2ornt(tuple(axes))
            )
            nib.save(image.as_reoriented(turn), tmp_path / f"{name}.nii.gz")
        return {"image": "image.nii.gz", "label": "label.nii.gz", "slice": SLICE, "patient": "v"}

    return make

"""Small cases with labels whose slices are told apart by their grey value."""

from collections.abc import Callable, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from common.data.datalist import Case

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

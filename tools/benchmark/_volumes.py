"""What benchmarks run on, the same in every run: masks of organ size and shape, and a CT-like volume."""

from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np

SHAPE, SPACING_MM = (160, 512, 512), (2.5, 0.8, 0.8)  # (D, H, W): 400 mm of an abdomen
SHIFT_MM = (1.5, 2.0, -1.0)  # of the prediction
ORGANS = (
    *("liver", "spleen", "left kidney", "right kidney", "pancreas", "stomach", "gallbladder", "aorta"),
    *("inferior vena cava", "left adrenal gland", "right adrenal gland", "esophagus", "duodenum"),
)


class Scene(NamedTuple):
    """Two label maps of labels 1..`labels`, uint8, and their spacing."""

    name: str
    pred: np.ndarray
    ref: np.ndarray
    labels: int
    spacing_mm: tuple[float, ...]


def scenes() -> list[Scene]:
    """Large organ (1.5 l), small organ (20 ml), 13 organs, and the slice of the large organ's middle."""
    rng = np.random.default_rng(0)
    large = _pair([((0.5, 0.5, 0.4), (55.0, 80.0, 95.0))], seed=1)
    small = _pair([((0.4, 0.6, 0.7), (15.0, 16.0, 19.0))], seed=2)
    organs = [
        (tuple(rng.uniform(0.2, 0.8, 3)), tuple(rng.uniform(12, 45) * rng.uniform(0.7, 1.3, 3)))
        for _ in range(12)
    ]
    many = _pair([((0.5, 0.5, 0.4), (55.0, 80.0, 95.0)), *organs], seed=3)
    middle = SHAPE[0] // 2
    return [
        Scene("large organ, 512 x 512 x 160", *large, 1, SPACING_MM),
        Scene("small organ, 512 x 512 x 160", *small, 1, SPACING_MM),
        Scene("13 organs, 512 x 512 x 160", *many, 13, SPACING_MM),
        Scene("slice, 512 x 512", large[0][middle].copy(), large[1][middle].copy(), 1, SPACING_MM[1:]),
    ]


def _pair(organs: list, seed: int) -> tuple[np.ndarray, np.ndarray]:
    pred, ref = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.uint8)
    for label, (centre, radii_mm) in enumerate(organs, start=1):
        at = np.array(centre) * SHAPE * SPACING_MM
        _paint(ref, label, at, np.array(radii_mm), rough=0.25, seed=seed + label)
        _paint(pred, label, at + SHIFT_MM, 1.02 * np.array(radii_mm), rough=0.27, seed=seed + label)
    return pred, ref


def _paint(
    labels: np.ndarray, label: int, centre: np.ndarray, radii: np.ndarray, *, rough: float, seed: int
) -> None:
    """An ellipsoid (mm) whose surface six waves roughen."""
    rng = np.random.default_rng(seed)
    waves, phases = rng.normal(size=(6, 3)) * 2.2 / radii, rng.uniform(0, 2 * np.pi, 6)
    heights = rng.normal(size=6) * rough / np.sqrt(6)
    start = np.maximum(0, (centre - 1.5 * radii) // SPACING_MM).astype(int)
    stop = np.minimum(SHAPE, (centre + 1.5 * radii) // SPACING_MM + 1).astype(int)
    grids = [(np.arange(a, b) + 0.5) * size for a, b, size in zip(start, stop, SPACING_MM, strict=True)]
    z, y, x = (
        axis - c for axis, c in zip(np.meshgrid(*grids, indexing="ij", sparse=True), centre, strict=True)
    )
    level = (z / radii[0]) ** 2 + (y / radii[1]) ** 2 + (x / radii[2]) ** 2
    for (kz, ky, kx), phase, height in zip(waves, phases, heights, strict=True):
        level = level + height * np.cos(kz * z + ky * y + kx * x + phase)
    region = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    labels[region][level <= 1] = label


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

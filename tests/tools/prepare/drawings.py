"""Small pictures and masks for tests of preparers."""

from pathlib import Path

import numpy as np
from PIL import Image


def scene(seed: int, *, size: tuple[int, int] = (90, 120)) -> np.ndarray:
    """(H, W, 3) uint8: smooth colours, other ones for each seed."""
    coarse = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize(size[::-1], Image.Resampling.BICUBIC))


def disc(row: float, column: float, radius: float, *, size: tuple[int, int] = (90, 120)) -> np.ndarray:
    """(H, W) uint8 of 0 and 255."""
    rows, columns = np.ogrid[: size[0], : size[1]]
    return np.where((rows - row) ** 2 + (columns - column) ** 2 <= radius**2, 255, 0).astype(np.uint8)


def save(path: Path, pixels: np.ndarray) -> Path:
    """Write as the name's ending says; JPEG leaves noise at edges, as the data sets have it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path

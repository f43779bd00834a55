"""Datalists and data sets that are wrong, or say less than they seem to."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from PIL import ExifTags, Image

AFFINE = np.diag([-1.0, -1.0, 2.0, 1.0])


def write_nifti(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, AFFINE), path)
    return path


def organ_slabs(numbers: Mapping[int, int] | list[int]) -> np.ndarray:
    """A label map (8, 8, 6) uint8 whose slices hold these numbers, one after the other."""
    labels = np.zeros((8, 8, 6), np.uint8)
    for index, number in enumerate(numbers):
        labels[1:7, 1:7, index] = number
    return labels


def ct_of(labels: np.ndarray) -> np.ndarray:
    """Hounsfield units: air around, organs of their own grey value."""
    return np.where(labels > 0, 40 * labels.astype(int), -1000).astype(np.int16)


def write_set(folder: Path, names: Mapping[str, Any], labels: np.ndarray, **item: Any) -> Path:
    """A datalist of one case with these names, whose label map may hold other numbers too."""
    write_nifti(folder / "image.nii.gz", ct_of(labels))
    write_nifti(folder / "label.nii.gz", labels)
    entry = {"image": "image.nii.gz", "label": "label.nii.gz", "patient": "p", **item}
    path = folder / "datalist.json"
    path.write_text(json.dumps({"labels": dict(names), "training": [entry]}))
    return path


def write_turned_image(folder: Path, *, orientation: int, of_mask: int) -> Path:
    """A datalist of an image 12 x 12 that EXIF turns, with a mask in the same stored pixels.

    The mask lies as the image does only where both are turned alike.
    """
    mask = np.zeros((12, 12), np.uint8)
    mask[1:5, 1:8] = 1
    for name, pixels, turned in (("image", 100 + 100 * mask, orientation), ("label", mask, of_mask)):
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = turned
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{name}.png", exif=exif)
    item = {"image": "image.png", "label": "label.png", "prompts": ["the bright one"]}
    path = folder / "datalist.json"
    path.write_text(json.dumps({"training": [item], "validation": []}))
    return path

"""Small 2D images and CT slices with two lesions each, for lsms_lesion."""

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from PIL import Image

SHAPE = (72, 96)  # of the 2D images
SENTENCES = {1: "the lesion on the left", 2: "the lesion on the right"}


def labels_of(seed: int) -> np.ndarray:
    """(H, W) uint8: lesion 1 in the left half of the image, 2 in the right one."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(SHAPE, np.uint8)
    for value, first in ((1, 4), (2, 52)):
        row, column = rng.integers(6, 40), first + rng.integers(0, 16)
        labels[row : row + 22, column : column + 20] = value
    return labels


def grey_of(labels: np.ndarray, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 20, SHAPE)
    return (40 + 140 * (labels > 0) + noise).astype(np.uint8)


def write_volume(folder: Path, name: str, seed: int) -> None:
    """A volume of three slices, the middle one with lesions, whose "left" is the patient's."""
    labels = labels_of(seed)
    hu = np.where(labels > 0, 180, 0) + np.random.default_rng(seed).integers(-20, 20, SHAPE)
    for kind, plane in (("images", hu), ("labels", labels)):
        # (rows, columns) of the image are posterior and, left in text being left in the image, the right: RPS
        voxels = np.stack([np.zeros_like(plane), plane, np.zeros_like(plane)], axis=-1).astype(np.int16)
        image = nib.Nifti1Image(voxels.transpose(1, 0, 2), np.diag([1.0, -1.0, 3.0, 1.0]))
        nib.save(image, folder / kind / f"{name}.nii.gz")


def write_lesions(folder: Path) -> None:
    """Ten 2D images and two slices with two lesions each, and their datalist.

    Training is also told of both at once, in words that stay true where an image is turned.
    """
    items: dict[str, list[dict[str, Any]]] = {"training": [], "validation": [], "test": []}
    for kind in ("images", "labels"):
        (folder / kind).mkdir()
    for seed in range(12):
        volume = seed in (0, 11)
        name = f"p{seed:02d}" + (".nii.gz" if volume else ".png")
        if volume:
            write_volume(folder, f"p{seed:02d}", seed)
        else:
            labels = labels_of(seed)
            Image.fromarray(labels).save(folder / "labels" / name)
            Image.fromarray(grey_of(labels, seed)).save(folder / "images" / name)
        section = "training" if seed < 8 else "validation" if seed == 8 else "test"
        for value, sentence in SENTENCES.items():
            files = {"image": f"images/{name}", "label": f"labels/{name}", "patient": str(seed)}
            where = {"slice": 1} if volume else {}
            items[section].append(
                {**files, **where, "lesion": value, "prompts": [sentence], "case": f"p{seed:02d}-{value}"}
            )
        if section == "training":
            both = {"lesion": [1, 2], "prompts": ["all bright lesions"], "orientation_free": True}
            items[section].append({**files, **where, **both, "case": f"p{seed:02d}-both"})
    (folder / "datalist.json").write_text(json.dumps(items))

"""Made volumes with two bright organs, of some patients, with a datalist of three sections."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np

SIDE = 32
COUNTS = {"training": 3, "validation": 2, "test": 2}
ORGANS = ("larynx", "mandible")


def write_patients(folder: Path) -> Path:
    """Larynx (1) and mandible (2) as squares of their own grey values; the last of a section lacks a larynx.

    Returns:
        The datalist.
    """
    rng = np.random.default_rng(0)
    content: dict[str, object] = {"labels": {"1": ORGANS[0], "2": ORGANS[1]}}
    for section, count in COUNTS.items():
        items = []
        for index in range(count):
            name, annotated = f"{section}{index}", ORGANS if index < count - 1 else ORGANS[1:]
            labels = np.zeros((SIDE, SIDE, 3), np.uint8)
            top, left = rng.integers(2, 6, 2)
            labels[top : top + 8, left : left + 8] = 1 if "larynx" in annotated else 0
            labels[top + 12 : top + 22, left + 6 : left + 20] = 2
            grey = np.choose(labels, (-20, 90, 230)) + rng.integers(-5, 5, labels.shape)
            for kind, voxels in (("label", labels), ("image", grey.astype(np.int16))):
                image = nib.Nifti1Image(voxels, np.diag([2.0, 2.0, 3.0, 1.0]))
                image.set_qform(image.affine, code=1)
                nib.save(image, folder / f"{name}_{kind}.nii.gz")
            item: dict[str, object] = {"image": f"{name}_image.nii.gz", "label": f"{name}_label.nii.gz"}
            items.append(item | {"patient": name, "case": name, "targets": list(annotated)})
        content[section] = items
    (folder / "datalist.json").write_text(json.dumps(content))
    return folder / "datalist.json"

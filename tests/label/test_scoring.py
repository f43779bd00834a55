"""Scores of a bundle on labels that were submitted, with a datastore that holds one study."""

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from tools.monailabel.bundle_process import BundleProcess
from tools.monailabel.bundles import find_bundles
from tools.monailabel.infer_task import TextInferTask
from tools.monailabel.scoring import DiceScoring
from tools.monailabel.settings import Settings

from .threshold import make_threshold_bundle

NAMES = {1: "0.4", 2: "0.4 again", 5: "0.7"}  # begin with what the bundle is asked for, of -160 to 240 HU


class OneStudy:
    """As much of a datastore as scoring asks for."""

    def __init__(self, folder: Path) -> None:
        self.image, self.label, self.info = folder / "study.nii.gz", folder / "label.nii.gz", dict[str, Any]()

    def datalist(self) -> list[dict[str, str]]:
        return [{"image": str(self.image), "label": str(self.label)}]

    def get_labeled_images(self) -> list[str]:
        return ["study"]

    def get_image_info(self, study: str) -> dict[str, Any]:
        return self.info

    def get_label_info(self, study: str, tag: object) -> dict[str, Any]:
        return {"label_info": [{"name": name, "idx": number} for number, name in NAMES.items()]}

    def update_image_info(self, study: str, info: dict[str, Any]) -> None:
        self.info.update(info)


def save(path: Path, voxels: np.ndarray) -> None:
    image = nib.Nifti1Image(voxels, np.diag([2.0, 2.0, 5.0, 1.0]))
    image.set_qform(image.affine, code=1)
    nib.save(image, path)


def test_each_name_is_scored_by_its_own_mask(tmp_path: Path) -> None:
    """Above 0 HU lie 128 voxels: the first two names have 48 of them each, the third all 32 above 120 HU.

    In one label map the names would take voxels from one another.
    """
    voxels, labels = np.full((16, 16, 4), -100, np.int16), np.zeros((16, 16, 4), np.uint8)
    voxels[2:10, 2:10, 1:3], voxels[4:8, 4:8, 1:3] = 60, 200
    labels[2:10, 2:10, 1], labels[2:10, 2:10, 2] = 1, 2
    labels[4:8, 4:8, 1:3] = 5
    store = OneStudy(tmp_path)
    save(store.image, voxels)
    save(store.label, labels)
    bundle = find_bundles([make_threshold_bundle(tmp_path / "threshold")], tmp_path)["threshold"]
    settings = Settings((), str(tmp_path), str(tmp_path), "cpu", 300.0)
    process = BundleProcess(bundle, device="cpu", time_limit_s=300.0)
    try:
        scores = DiceScoring(TextInferTask(process, settings))({}, store)
    finally:
        process.close()
    of_half = pytest.approx(2 * 48 / (128 + 48), abs=1e-4)
    assert scores == {"study": {"0.4": of_half, "0.4 again": of_half, "0.7": 1.0}}
    assert store.info == {"dice": {"threshold": scores["study"]}}
    assert not list(tmp_path.glob("tmp*"))  # the masks are gone

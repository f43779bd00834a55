"""What every bundle's inference.json makes of sentences about sides, of slices and of lists.

The network is one that understands sides, with the framing that the bundle's own weights were trained with.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from monai.bundle import ConfigWorkflow
from PIL import Image

from tests.bundles.subjects import kinds

SIDE = 64
# Stored axes and signs of x (right), y (front) and z (up), as nibabel has them
AFFINES = {
    "RAS": np.diag([1.0, 1.0, 3.0, 1.0]),
    "LPS": np.diag([-1.0, -1.0, 3.0, 1.0]),
    "ASL": np.array([[0, 0, -1.0, 0], [1.0, 0, 0, 0], [0, 3.0, 0, 0], [0, 0, 0, 1.0]]),
}


def framing_of(bundle: Path) -> dict[str, Any]:
    """What the network of the shipped weights sees."""
    return json.loads((bundle / "models" / "model.json").read_text("utf-8"))["network_def"]["framing"]


def infer(bundle: Path, inputs: Path, output: Path, **overrides: Any) -> None:
    """Run inference.json as it stands, but for the network, which needs no weights."""
    (output.parent / "model.pt").write_bytes(b"none")
    stands_in = {"_target_": "tests.bundles.outermost.Outermost", "image_size": SIDE}
    given = {
        "bundle_root": str(bundle),
        "device": "cpu",
        "network_def": {**stands_in, "framing": framing_of(bundle)},
        "checkpoint": str(output.parent / "model.pt"),
        "initialize": ["$sys.path.insert(0, os.path.abspath(@bundle_root))"],
        "input": str(inputs),
        "output_dir": str(output),
        "outputs": ["masks", "labels"],
        **overrides,
    }
    config = str(bundle / "configs" / "inference.json")
    workflow = ConfigWorkflow(config, workflow_type="infer", logging_file=False, **given)
    workflow.initialize()
    workflow.run()


@pytest.fixture
def of_sentences(bundle: Path) -> Path:
    """Each bundle that takes sentences."""
    if "sentence" not in kinds(bundle):
        pytest.skip("asked for organs alone")
    return bundle


@pytest.fixture
def volume(tmp_path: Path) -> Callable[[str], tuple[Path, np.ndarray]]:
    """Five slices of water with two spots of 3 x 3 pixels, and how far right of the middle they lie in mm."""

    def make(orientation: str) -> tuple[Path, np.ndarray]:
        affine = AFFINES[orientation]
        order = np.abs(affine[:3, :3]).argmax(axis=0)  # world axis of each stored one
        shape = tuple(np.array([SIDE, SIDE, 5])[order])
        right, front, _ = (np.indices(shape).reshape(3, -1).T @ affine[:3, :3].T).T.reshape(3, *shape)
        right, front = right - right.mean(), front - front.mean()
        spots = (np.abs(np.abs(right) - 20) < 1.6) & (np.abs(front) < 1.6)
        path = tmp_path / f"{orientation}.nii.gz"
        nib.save(nib.Nifti1Image(np.where(spots, 200, 0).astype(np.int16), affine), path)
        return path, np.where(spots, right, 0)

    return make


@pytest.mark.parametrize("orientation", AFFINES)
def test_leftmost_in_a_volume_is_the_patients_left(
    of_sentences: Path, orientation: str, volume: Callable[[str], tuple[Path, np.ndarray]], tmp_path: Path
) -> None:
    """And each sentence has a mask of its own, in which a lesion of 0.2 % of the field is present."""
    path, right = volume(orientation)
    (tmp_path / "prompts.txt").write_text("the leftmost lesion\nthe rightmost lesion")
    infer(of_sentences, path, tmp_path / "out", prompts_file=str(tmp_path / "prompts.txt"))
    left, other = (
        np.asarray(nib.load(tmp_path / f"out/{orientation}_mask_{number}_the_{side}_lesion.nii.gz").dataobj)
        for number, side in ((1, "leftmost"), (2, "rightmost"))
    )
    np.testing.assert_array_equal(left, right < 0)
    np.testing.assert_array_equal(other, right > 0)
    report = json.loads((tmp_path / f"out/{orientation}_seg.json").read_text())
    assert list(report["outputs"]) == ["masks", "labels"]
    assert [row["presence_score"] > 0.99 for row in report["prompts"]] == [True, True]


def test_leftmost_in_a_2d_image_is_the_images_left(of_sentences: Path, tmp_path: Path) -> None:
    grey = np.zeros((SIDE, SIDE), np.uint8)
    grey[30:34, 8:12] = grey[30:34, 50:54] = 220
    (tmp_path / "in").mkdir()
    for name in ("a", "b"):
        Image.fromarray(grey).save(tmp_path / f"in/{name}.png")
    items = [
        {"image": "in/a.png", "label": "a.png", "lesion": 1, "prompts": ["the leftmost lesion", "another"]},
        {"image": "in/b.png", "label": "b.png", "lesion": 1, "prompts": ["the rightmost lesion"]},
    ]
    (tmp_path / "datalist.json").write_text(json.dumps({"training": items[:1], "test": items}))
    infer(of_sentences, tmp_path / "datalist.json", tmp_path / "out", section="test")
    for name, side, half in (("a", "left", np.s_[:, :32]), ("b", "right", np.s_[:, 32:])):
        mask = np.asarray(Image.open(tmp_path / f"out/in/{name}-1_mask_1_the_{side}most_lesion.png"))
        assert mask.sum() == mask[half].sum() == 16


def test_one_slice_is_asked_by_a_key(
    bundle: Path, volume: Callable[[str], tuple[Path, np.ndarray]], tmp_path: Path
) -> None:
    path, right = volume("ASL")
    (tmp_path / "prompts.txt").write_text("the leftmost lesion")
    infer(bundle, path, tmp_path / "out", prompts_file=str(tmp_path / "prompts.txt"), slice=3)
    mask = np.asarray(nib.load(tmp_path / "out/ASL_seg.nii.gz").dataobj)
    # where fields are not mirrored they have the patient's right on the left, as radiologists see them
    expected = right < 0 if framing_of(bundle)["mirrored"] else right > 0
    np.testing.assert_array_equal(mask[:, 3], expected[:, 3])
    assert mask.any()
    assert not np.delete(mask, 3, axis=1).any()
    assert json.loads((tmp_path / "out/ASL_seg.json").read_text())["slice"] == 3

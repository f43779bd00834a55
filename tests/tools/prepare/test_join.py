"""Joined datalists: one number a name, and every voxel keeps its name."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from common.data.datalist import load_datalist, load_label_names
from common.data.volumes import read_labels, read_volume
from common.errors import InputError
from tools.prepare.join import join
from tools.prepare.pancreas_slices import prepare

AFFINE = np.array([[0, -2.0, 0, 5], [3.0, 0, 0, 6], [0, 0, 4.0, 7], [0, 0, 0, 1]])


def data_set(folder: Path, names: dict[str, str], labels: np.ndarray, **item: object) -> Path:
    folder.mkdir()
    for name, voxels in (("image", np.zeros(labels.shape, np.int16)), ("label", labels.astype(np.uint8))):
        nib.save(nib.Nifti1Image(voxels, AFFINE), folder / f"{name}.nii.gz")
    entry = {"image": "image.nii.gz", "label": "label.nii.gz", "patient": "p", **item}
    path = folder / "datalist.json"
    path.write_text(json.dumps({"labels": names, "training": [entry]}))
    return path


def test_every_voxel_keeps_its_name_and_place(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    first = rng.integers(0, 3, (4, 5, 6))
    second = rng.integers(0, 3, (4, 5, 6))
    one = data_set(tmp_path / "one", {"1": "liver", "2": "spleen"}, first, absent=["prostate"])
    two = data_set(tmp_path / "two", {"1": "pancreas", "2": "liver"}, second, targets=["liver"])
    out = join([one, two], tmp_path / "both")
    names = load_label_names(out)
    assert sorted(names.values()) == ["liver", "pancreas", "spleen"]
    cases = load_datalist(out, "training")
    assert [case.patient for case in cases] == ["one-p", "two-p"]
    assert (cases[0].absent, cases[1].absent) == (("prostate",), ())
    assert cases[1].targets == ("liver",)
    for case, voxels, own in ((cases[0], first, "_ liver spleen"), (cases[1], second, "_ pancreas liver")):
        stored = nib.load(case.label)
        np.testing.assert_allclose(stored.affine, AFFINE)
        for number, name in enumerate(own.split()[1:], start=1):
            (joined,) = (key for key, value in names.items() if value == name)
            np.testing.assert_array_equal(np.asarray(stored.dataobj) == joined, voxels == number)


def test_two_folders_of_one_name_are_refused(tmp_path: Path) -> None:
    for parent in ("a", "b"):
        (tmp_path / parent).mkdir()
    paths = [data_set(tmp_path / parent / "x", {"1": "liver"}, np.ones((2, 2, 2))) for parent in ("a", "b")]
    with pytest.raises(InputError, match="found x, x, expected a different folder name for each"):
        join(paths, tmp_path / "out")


def test_a_picture_with_the_spine_on_top_lies_as_a_patient_does(tmp_path: Path) -> None:
    """Grey 0 is air, 255 is 290 HU; the mask's corner of the picture is the patient's right back."""
    grey, mask = np.zeros((8, 8), np.uint8), np.zeros((8, 8), np.uint8)
    grey[0, 0] = mask[0, 0] = 255
    for kind, pixels in (("images", grey), ("masks", mask)):
        (tmp_path / kind).mkdir()
        Image.fromarray(pixels).save(tmp_path / kind / "PANCREAS_0007-1120.png")
    prepare(tmp_path, tmp_path / "out")
    image = read_volume(tmp_path / "out/images/PANCREAS_0007-1120.nii.gz").slices
    labels = read_labels(tmp_path / "out/labels/PANCREAS_0007-1120.nii.gz").slices
    assert (image.max(), image.min()) == (290, -1000)
    # Slices run (D, H, W): H to the back, W to the patient's left.
    assert np.argwhere(labels == 1).tolist() == np.argwhere(image == 290).tolist() == [[0, 7, 0]]
    (tmp_path / "masks/PANCREAS_0007-1120.png").unlink()
    with pytest.raises(InputError, match=r"1 of 1 files are missing \(masks/PANCREAS_0007-1120\.png\)"):
        prepare(tmp_path, tmp_path / "out")

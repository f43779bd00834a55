"""Joined datalists: one number a name, and every voxel keeps its name."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from common.data.datalist import load_datalist, load_label_values, load_referring
from common.data.label_maps import read_label_map
from common.data.labelled import LabelledReader
from common.data.volumes import read_volume
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
    values = load_label_values(out)
    assert sorted(values) == ["liver", "pancreas", "spleen"]
    cases = load_datalist(out, "training")
    assert [case.patient for case in cases] == ["one-p", "two-p"]
    assert (cases[0].absent, cases[1].absent) == (("prostate",), ())
    assert cases[1].targets == ("liver",)
    for case, voxels, own in ((cases[0], first, "_ liver spleen"), (cases[1], second, "_ pancreas liver")):
        stored = nib.load(case.label)
        np.testing.assert_allclose(stored.affine, AFFINE)
        for number, name in enumerate(own.split()[1:], start=1):
            np.testing.assert_array_equal(np.isin(stored.dataobj, values[name]), voxels == number)


def voxels(path: Path | None) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)


def test_every_field_of_an_item_is_carried(tmp_path: Path) -> None:
    """Also those that nothing here knows; and a lesion keeps its voxels where its number changes."""
    lesions = np.zeros((4, 5, 6))
    lesions[0, 0, 2], lesions[1, 1, 2], lesions[3, 3, 2] = 1, 2, 3
    one = data_set(tmp_path / "one", {"1": "liver", "2": "spleen"}, np.ones((4, 5, 6)), case="a")
    two = data_set(tmp_path / "two", {"1": "lesion"}, lesions)
    (tmp_path / "two" / "extra").mkdir()
    (tmp_path / "two" / "extra" / "e.nii.gz").write_bytes((tmp_path / "two" / "image.nii.gz").read_bytes())
    files = {"image": "image.nii.gz", "label": "label.nii.gz", "patient": "p", "slice": 2}
    known = {
        "prompts": ["all cysts", "the cysts"],
        "lesion": [2, 1],
        "orientation_free": True,
        "absent": ["heart"],
    }
    items = [
        {**files, **known, "case": "b", "attributes": {"shape": "round"}, "weight": 0.5},
        {**files, "prompts": ["the third"], "lesion": 3},
        {**files, "prompts": ["everything"], "case": "all"},
        {**files, "prompts": ["a square one"], "lesion": []},
    ]
    head = {"licence": "CC BY 4.0", "labels": {"1": "lesion"}}
    two.write_text(json.dumps({**head, "training": items, "test": ["extra/e.nii.gz"]}))
    out = join([one, two], tmp_path / "both")
    content = json.loads(out.read_text())
    assert content["joined"] == [{}, {"licence": "CC BY 4.0"}]
    _, written, *_ = content["training"]
    for field in ("attributes", "weight", "slice", "prompts", "orientation_free", "absent"):
        assert written[field] == items[0][field]
    whole, cysts, third, everything, square = load_datalist(out, "training")
    assert [case.case for case in (whole, cysts, third, everything, square)] == [
        *("one-a", "two-b", "two-image-2-3", "two-all", "two-image-2-none"),
    ]
    assert [case.case for case in load_datalist(out, "test")] == ["two-e"]
    assert load_label_values(out) == {"liver": (1,), "spleen": (2,), "lesion": (3,)}
    for case, meant in ((cysts, (1, 2)), (third, (3,)), (everything, (1, 2, 3)), (square, ())):
        mask = LabelledReader()(case).meant(case).mask()
        shown = read_label_map(tmp_path / "two" / "label.nii.gz").slices[2]
        np.testing.assert_array_equal(mask[2], np.isin(shown, meant))
    assert not set(np.unique(voxels(cysts.label))) & {1, 2}  # nothing of it is liver or spleen


def test_a_number_without_a_name_does_not_become_an_organ_of_the_other_set(tmp_path: Path) -> None:
    """Where the label map is written anew, and where no number of a name changes."""
    labels = np.zeros((4, 5, 6))
    labels[0], labels[1], labels[2] = 1, 2, 5
    one = data_set(tmp_path / "one", {"1": "liver", "2": "kidney", "5": "spleen"}, labels)
    moved = data_set(tmp_path / "moved", {"1": "spleen"}, labels)
    same = data_set(tmp_path / "same", {"1": "liver"}, labels)
    fine = data_set(tmp_path / "fine", {"1": "liver"}, np.where(labels == 1, 1, 9 * (labels == 2)))
    out = join([one, moved, same, fine], tmp_path / "all")
    first, second, third, fourth = load_datalist(out, "training")
    assert load_label_values(out) == {"liver": (1,), "kidney": (2,), "spleen": (5,)}
    np.testing.assert_array_equal(voxels(second.label), np.where(labels == 1, 5, 0))
    np.testing.assert_array_equal(voxels(third.label), np.where(labels == 1, 1, 0))
    assert [case.targets for case in (second, third)] == [("spleen",), ("liver",)]
    # Used as they are.
    assert first.label == (tmp_path / "one" / "label.nii.gz").absolute()
    assert fourth.label == (tmp_path / "fine" / "label.nii.gz").absolute()


def test_merged_labels_stay_merged(tmp_path: Path) -> None:
    labels = np.random.default_rng(1).integers(0, 4, (4, 5, 6))
    first = {"1": "spleen", "2": "liver"}
    second = {"1": "liver", "2": ["liver", "liver tumour"], "3": "liver"}
    one, two = data_set(tmp_path / "one", first, labels % 3), data_set(tmp_path / "two", second, labels)
    out = join([one, two], tmp_path / "both")
    values = load_label_values(out)
    written = voxels(load_datalist(out, "training")[1].label)
    np.testing.assert_array_equal(np.isin(written, values["liver"]), labels > 0)
    np.testing.assert_array_equal(np.isin(written, values["liver tumour"]), labels == 2)
    assert len(np.unique(written)) == 4  # 1 and 3 mean the same, and stay two
    assert not np.isin(written, values["spleen"]).any()


def test_2d_images_are_renumbered_as_2d_images_and_equal_ids_keep_their_files(tmp_path: Path) -> None:
    one = data_set(tmp_path / "one", {"1": "liver"}, np.ones((2, 2, 2)))
    folder = tmp_path / "two"
    sections: dict[str, list[dict[str, object]]] = {}
    for number, section in enumerate(("training", "test"), start=1):
        (folder / section).mkdir(parents=True)
        pixels = np.diag([1, 0, 2]).astype(np.uint8) * number
        for name in ("image", "label"):
            Image.fromarray(pixels).save(folder / section / f"{name}.png")
        files = {name: f"{section}/{name}.png" for name in ("image", "label")}
        said = {"prompts": [f"lesion {number}"], "lesion": number, "case": "same", "patient": section}
        sections[section] = [{**files, **said}]
    (folder / "datalist.json").write_text(json.dumps({"labels": {"1": "lesion"}, **sections}))
    out = join([one, folder / "datalist.json"], tmp_path / "both")
    for number, section in enumerate(("training", "test"), start=1):
        case = load_datalist(out, section)[-1]
        assert case.case == "two-same"
        assert case.prompts == (f"lesion {number}",)
        mask = LabelledReader()(case).meant(case).mask()
        np.testing.assert_array_equal(mask[0], np.diag([1, 0, 2]) * number == number)


def test_datalists_of_sentences_need_no_labels(tmp_path: Path) -> None:
    labels = np.zeros((2, 2, 2))
    labels[0, 0, 1] = 4
    said = {"prompts": ["the lesion"], "lesion": 4, "slice": 1}
    paths = [data_set(tmp_path / name, {}, labels, **said) for name in ("one", "two")]
    for path in paths:
        path.write_text(json.dumps({"training": json.loads(path.read_text())["training"]}))
    out = join(paths, tmp_path / "both")
    assert "labels" not in json.loads(out.read_text())
    assert [case.lesions for case in load_referring(out, "training")] == [(4,), (4,)]
    third = data_set(tmp_path / "three", {"4": "liver"}, labels)
    cases = load_datalist(join([*paths, third], tmp_path / "all"), "training")
    assert [case.targets for case in cases] == [(), (), ("liver",)]
    assert cases[0].label == (tmp_path / "one" / "label.nii.gz").absolute()


def test_a_datalist_is_not_written_over(tmp_path: Path) -> None:
    one = data_set(tmp_path / "one", {"1": "liver"}, np.ones((2, 2, 2)))
    with pytest.raises(InputError, match=r"--out .*one: would overwrite .*datalist\.json, expected another"):
        join([one], tmp_path / "one")


def test_two_folders_of_one_name_are_refused(tmp_path: Path) -> None:
    for parent in ("a", "b"):
        (tmp_path / parent).mkdir()
    paths = [data_set(tmp_path / parent / "x", {"1": "liver"}, np.ones((2, 2, 2))) for parent in ("a", "b")]
    with pytest.raises(InputError, match="found x, x, expected a different folder name for each"):
        join(paths, tmp_path / "out")


def test_an_image_with_the_spine_on_top_lies_as_a_patient_does(tmp_path: Path) -> None:
    """Grey 0 is air, 255 is 290 HU; the mask's corner of the image is the patient's right back."""
    grey, mask = np.zeros((8, 8), np.uint8), np.zeros((8, 8), np.uint8)
    grey[0, 0] = mask[0, 0] = 255
    for kind, pixels in (("images", grey), ("masks", mask)):
        (tmp_path / kind).mkdir()
        Image.fromarray(pixels).save(tmp_path / kind / "PANCREAS_0007-1120.png")
    prepare(tmp_path, tmp_path / "out")
    image = read_volume(tmp_path / "out/images/PANCREAS_0007-1120.nii.gz").slices
    labels = read_label_map(tmp_path / "out/labels/PANCREAS_0007-1120.nii.gz").slices
    assert (image.max(), image.min()) == (290, -1000)
    # Slices run (D, H, W): H to the back, W to the patient's left.
    assert np.argwhere(labels == 1).tolist() == np.argwhere(image == 290).tolist() == [[0, 7, 0]]
    (tmp_path / "masks/PANCREAS_0007-1120.png").unlink()
    with pytest.raises(InputError, match=r"1 of 1 files are missing \(masks/PANCREAS_0007-1120\.png\)"):
        prepare(tmp_path, tmp_path / "out")

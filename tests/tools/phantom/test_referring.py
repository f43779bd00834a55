"""Referring phantoms: files, and sentences that hold for the voxels."""

import json
import re
from pathlib import Path

import nibabel
import numpy as np
import pytest
from scipy import ndimage

from common.data.datalist import SECTIONS
from common.data.referring import load_referring
from common.data.volumes import read_labels, read_volume
from common.text.referring import Lesion, facts_of, rules_out
from tools.phantom.__main__ import main
from tools.phantom.anatomy import draw_scene
from tools.phantom.referring import FIELD_MM, liver_hu, longest_mm


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lesions")
    arguments = ["--lesions", "--out", str(folder), "--cases", "4", "--validation", "1", "--test", "1"]
    assert main([*arguments, "--seed", "3"]) == 0
    return folder


@pytest.fixture(scope="module")
def items(folder: Path) -> list[dict]:
    datalist = json.loads((folder / "datalist.json").read_text())
    return [item for section in SECTIONS for item in datalist[section]]


def pictures(items: list[dict]) -> list[list[dict]]:
    groups: dict[str, list[dict]] = {}
    for item in items:
        groups.setdefault(item["image"], []).append(item)
    return list(groups.values())


def shown(folder: Path, item: dict) -> tuple[np.ndarray, np.ndarray, tuple[float, ...]]:
    """HU and label numbers of the item's slice as the picture is shown: the patient's left on its left."""
    image, labels = read_volume(folder / item["image"]), read_labels(folder / item["label"])
    index = item["slice"]
    return image.slices[index][:, ::-1], labels.slices[index][:, ::-1], image.spacing_mm


def test_the_training_data_reader_takes_every_section(folder: Path) -> None:
    for section, patients in (("training", 2), ("validation", 1), ("test", 1)):
        found = load_referring(folder / "datalist.json", section)
        assert len({item.patient for item in found}) == patients
        assert len({item.image for item in found}) == 4 * patients
        for item in found:
            assert item.slice_index == 1
            assert len(item.prompts) > (8 if section == "training" else 2)


def test_every_picture_has_two_to_four_lesions_in_the_liver_field(folder: Path, items: list[dict]) -> None:
    for group in pictures(items):
        image, labels, spacing = shown(folder, group[0])
        assert [item["lesion"] for item in group] == list(range(1, len(group) + 1))
        assert set(np.unique(labels)) == set(range(len(group) + 1))
        assert 2 <= len(group) <= 4
        assert image.shape[0] * spacing[1] == pytest.approx(FIELD_MM)
        assert len({tuple(item["prompts"]) for item in group}) == len(group)


def test_place_and_diameter_are_those_of_the_voxels(folder: Path, items: list[dict]) -> None:
    for item in items:
        _, labels, spacing = shown(folder, item)
        mask = labels == item["lesion"]
        row, column = ndimage.center_of_mass(mask)
        stated = item["attributes"]
        assert stated["x_mm"] == pytest.approx((column + 0.5) * spacing[2], abs=0.06)
        assert stated["y_mm"] == pytest.approx((row + 0.5) * spacing[1], abs=0.06)
        # Of shapes without dents: the radius of a disc of their area is at most half the longest diameter.
        assert 2 * np.sqrt(mask.sum() / np.pi) * spacing[1] <= stated["diameter_mm"] + spacing[1]
        assert ndimage.label(mask)[1] == 1


def test_density_is_that_of_the_voxels_beside_the_liver(folder: Path, items: list[dict]) -> None:
    for item in items:
        image, labels, _ = shown(folder, item)
        mask, stated = labels == item["lesion"], item["attributes"]
        depth = ndimage.distance_transform_edt(mask)
        if depth.max() < 3 or (stated.get("enhancement") == "rim" and depth.max() < 5):
            continue  # too small for a mean without its border
        case = int(item["patient"].removeprefix("phantom_"))
        liver = liver_hu(draw_scene(np.random.default_rng((3, case))))
        inside = image[depth > (4.0 if stated.get("enhancement") == "rim" else 2.0)].mean()
        assert (inside > liver) == (stated["density"] == "hyperdense"), item["case"]
        assert abs(inside - liver) > 10
        if stated.get("enhancement") == "rim":
            assert image[(depth > 0.5) & (depth < 1.6)].mean() > liver + 10 > inside


def test_the_patients_left_is_on_the_left_of_the_picture(folder: Path, items: list[dict]) -> None:
    for item in items:
        labels = nibabel.load(folder / item["label"])
        voxels = np.argwhere(np.asarray(labels.dataobj) == item["lesion"])
        world = labels.affine @ [*voxels.mean(axis=0), 1]
        others = [other for other in items if other["image"] == item["image"] and other is not item]
        for other in others:
            there = np.argwhere(np.asarray(labels.dataobj) == other["lesion"])
            x_there = (labels.affine @ [*there.mean(axis=0), 1])[0]
            if abs(item["attributes"]["x_mm"] - other["attributes"]["x_mm"]) > 8:
                # In RAS the patient's left has the smaller x.
                assert (world[0] < x_there) == (item["attributes"]["x_mm"] < other["attributes"]["x_mm"])


def test_every_lesion_can_be_singled_out(items: list[dict]) -> None:
    for group in pictures(items):
        lesions = [Lesion.read(item["attributes"], where=item["case"]) for item in group]
        for index, lesion in enumerate(lesions):
            others = lesions[:index] + lesions[index + 1 :]
            facts = facts_of(lesion, others)
            assert all(any(rules_out(fact, other) for fact in facts) for other in others)


def test_the_same_seed_gives_the_same_bytes_whatever_the_number_of_patients(
    folder: Path, items: list[dict], tmp_path: Path
) -> None:
    assert main(["--lesions", "--out", str(tmp_path), "--cases", "1", "--seed", "3"]) == 0
    again = json.loads((tmp_path / "datalist.json").read_text())["training"]
    assert again == [item for item in items if item["patient"] == "phantom_000"]
    for file in {item[kind] for item in again for kind in ("image", "label")}:
        assert (tmp_path / file).read_bytes() == (folder / file).read_bytes()


def test_training_sentences_rest_on_the_chosen_attributes_alone(tmp_path: Path, items: list[dict]) -> None:
    arguments = ["--lesions", "--out", str(tmp_path), "--cases", "4", "--validation", "1", "--test", "1"]
    assert main([*arguments, "--seed", "3", "--attributes", "shape", "size"]) == 0
    found = json.loads((tmp_path / "datalist.json").read_text())
    for group in pictures(found["training"]):
        assert len(group) > 1
        for item in group:
            labels = np.unique(shown(tmp_path, item)[1])
            assert item["lesion"] in labels
            assert not re.search(
                r"segment [IV]|lobe\b|liver|dense|cyst|metasta|blurred|sharp|\brim\b|left|right|upper|\d",
                " ".join(item["prompts"]),
            )
    for section in ("validation", "test"):  # as always
        assert found[section] == [
            item for item in items if item["patient"] in {other["patient"] for other in found[section]}
        ]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--lesions", "--attributes", "shape", "colour"],
            "--attributes: found colour, expected some of seg",
        ),
        (["--attributes", "shape"], "--attributes: found without --lesions, expected with it"),
    ],
)
def test_attributes_that_mean_nothing_here(
    flags: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--out", str(tmp_path / "set"), *flags]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "set").exists()


def test_attributes_that_single_nothing_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All borders of the first patient of this seed are alike."""
    flags = ["--lesions", "--cases", "1", "--seed", "1", "--attributes", "border"]
    assert main(["--out", str(tmp_path), "--validation", "0", "--test", "0", *flags]) == 2
    assert "--attributes: found such as single out no lesion of any picture for training (1 patients)" in (
        capsys.readouterr().err
    )
    assert not (tmp_path / "datalist.json").exists()


def test_longest_diameter_of_known_shapes() -> None:
    y, x = np.mgrid[:61, :61] - 30.3
    for diameter, turn in ((16.0, 0.3), (24.0, 1.1), (40.0, 2.0)):
        along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
        ellipse = (along / (diameter / 2)) ** 2 + (across / (diameter / 4)) ** 2 < 1
        assert longest_mm(ellipse, 2.0) == pytest.approx(2 * diameter, abs=1.6)

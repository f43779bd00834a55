"""Referring phantoms: files, and sentences that hold for the voxels."""

import json
import re
from pathlib import Path

import nibabel
import numpy as np
import pytest
from scipy import ndimage

from common.data.datalist import SECTIONS, load_referring
from common.data.label_maps import read_label_map
from common.data.labelled import LabelledReader
from common.data.volumes import read_volume
from common.text.expressions import Lesion, facts_of, rules_out
from tests.common.text.reader import fitting
from tools.phantom.__main__ import main
from tools.phantom.anatomy import draw_scene
from tools.phantom.lesion_slices import FIELD_MM, liver_hu, longest_mm


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("lesions"), cases=4, held_out=1, seed=3)


@pytest.fixture(scope="module")
def grouped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two training patients in whose images all kinds of items come up."""
    return written(tmp_path_factory.mktemp("grouped"), cases=2, held_out=0, seed=9)


def written(folder: Path, *, cases: int, held_out: int, seed: int) -> Path:
    """Patients with lesions, of which `held_out` are for validation and as many for test."""
    numbers = {"--cases": cases, "--validation": held_out, "--test": held_out, "--seed": seed}
    flags = [text for name, number in numbers.items() for text in (name, str(number))]
    assert main(["--lesions", "--out", str(folder), *flags]) == 0
    return folder


@pytest.fixture(scope="module")
def items(folder: Path) -> list[dict]:
    datalist = json.loads((folder / "datalist.json").read_text())
    return [item for section in SECTIONS for item in datalist[section]]


@pytest.fixture(scope="module")
def training(folder: Path) -> list[dict]:
    found: list[dict] = json.loads((folder / "datalist.json").read_text())["training"]
    return found


@pytest.fixture(scope="module")
def single(items: list[dict]) -> list[dict]:
    """Of each lesion of each image the first item that means it alone."""
    return [item for group in images_of(items) for item in each_alone(group)]


def each_alone(group: list[dict]) -> list[dict]:
    """Of an image's items the first of each lesion that means it alone."""
    found: dict[int, dict] = {}
    for item in group:
        if isinstance(item["lesion"], int):
            found.setdefault(item["lesion"], item)
    return [found[value] for value in sorted(found)]


def images_of(items: list[dict]) -> list[list[dict]]:
    groups: dict[str, list[dict]] = {}
    for item in items:
        groups.setdefault(item["image"], []).append(item)
    return list(groups.values())


def shown(folder: Path, item: dict) -> tuple[np.ndarray, np.ndarray, tuple[float, ...]]:
    """HU and label numbers of the item's slice as the image is shown: the patient's left on its left."""
    image, labels = read_volume(folder / item["image"]), read_label_map(folder / item["label"])
    index = item["slice"]
    return image.slices[index][:, ::-1], labels.slices[index][:, ::-1], image.spacing_mm


def test_the_training_data_reader_takes_every_section(folder: Path) -> None:
    for section, patients in (("training", 2), ("validation", 1), ("test", 1)):
        found = load_referring(folder / "datalist.json", section)
        assert len({item.patient for item in found}) == patients
        assert len({item.image for item in found}) == 4 * patients
        for item in found:
            assert item.slice_index == 1
            # Of a small choice of phrases the same is drawn twice, and said once.
            assert len(item.prompts) > (3 if section == "training" else 2)


def test_every_image_has_two_to_four_lesions_in_the_liver_field(folder: Path, single: list[dict]) -> None:
    for group in images_of(single):
        image, labels, spacing = shown(folder, group[0])
        assert [item["lesion"] for item in group] == list(range(1, len(group) + 1))
        assert set(np.unique(labels)) == set(range(len(group) + 1))
        assert 2 <= len(group) <= 4
        assert image.shape[0] * spacing[1] == pytest.approx(FIELD_MM)
        assert len({tuple(item["prompts"]) for item in group}) == len(group)


def test_place_and_diameter_are_those_of_the_voxels(folder: Path, single: list[dict]) -> None:
    for item in single:
        _, labels, spacing = shown(folder, item)
        mask = labels == item["lesion"]
        row, column = ndimage.center_of_mass(mask)
        stated = item["attributes"]
        assert stated["x_mm"] == pytest.approx((column + 0.5) * spacing[2], abs=0.06)
        assert stated["y_mm"] == pytest.approx((row + 0.5) * spacing[1], abs=0.06)
        # Of shapes without dents: the radius of a disc of their area is at most half the longest diameter.
        assert 2 * np.sqrt(mask.sum() / np.pi) * spacing[1] <= stated["diameter_mm"] + spacing[1]
        assert ndimage.label(mask)[1] == 1


def test_density_is_that_of_the_voxels_beside_the_liver(folder: Path, single: list[dict]) -> None:
    for item in single:
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


def test_the_patients_left_is_on_the_left_of_the_image(folder: Path, single: list[dict]) -> None:
    for item in single:
        labels = nibabel.load(folder / item["label"])
        voxels = np.argwhere(np.asarray(labels.dataobj) == item["lesion"])
        world = labels.affine @ [*voxels.mean(axis=0), 1]
        others = [other for other in single if other["image"] == item["image"] and other is not item]
        for other in others:
            there = np.argwhere(np.asarray(labels.dataobj) == other["lesion"])
            x_there = (labels.affine @ [*there.mean(axis=0), 1])[0]
            if abs(item["attributes"]["x_mm"] - other["attributes"]["x_mm"]) > 8:
                # In RAS the patient's left has the smaller x.
                assert (world[0] < x_there) == (item["attributes"]["x_mm"] < other["attributes"]["x_mm"])


def test_every_lesion_can_be_singled_out(single: list[dict]) -> None:
    for group in images_of(single):
        lesions = [Lesion.read(item["attributes"], where=item["case"]) for item in group]
        for index, lesion in enumerate(lesions):
            others = lesions[:index] + lesions[index + 1 :]
            facts = facts_of(lesion, others)
            assert all(any(rules_out(fact, other) for fact in facts) for other in others)


def test_the_same_seed_gives_the_same_bytes_whatever_the_number_of_patients_and_workers(
    folder: Path, items: list[dict], tmp_path: Path
) -> None:
    flags = ["--cases", "1", "--seed", "3", "--workers", "2"]
    assert main(["--lesions", "--out", str(tmp_path), *flags]) == 0
    again = json.loads((tmp_path / "datalist.json").read_text())["training"]
    assert again == [item for item in items if item["patient"] == "phantom_000"]
    for file in {item[kind] for item in again for kind in ("image", "label")}:
        assert (tmp_path / file).read_bytes() == (folder / file).read_bytes()


def test_what_may_be_turned_says_no_word_of_a_place_a_segment_or_a_lobe(training: list[dict]) -> None:
    placed = re.compile(
        r"\b[IV]+\b|segment [1-8]|\blobe\b|left|\bright|upper|lowe|top|bottom|anterior"
        r"|highest|higher|above|below|under|behind|front|back|edge of|furthest|closest|nearest"
    )
    texts = {
        turn: [
            text
            for item in training
            if item.get("orientation_free", False) is turn
            for text in item["prompts"]
        ]
        for turn in (True, False)
    }
    assert min(map(len, texts.values())) > 100
    assert not [text for text in texts[True] if placed.search(text)]
    assert len([text for text in texts[False] if placed.search(text)]) > 100  # the search finds them


def test_some_training_items_mean_several_lesions_and_some_may_be_turned(grouped: Path) -> None:
    training = json.loads((grouped / "datalist.json").read_text())["training"]
    meant = [(isinstance(item["lesion"], list), item.get("orientation_free", False)) for item in training]
    assert set(meant) == {(False, False), (False, True), (True, False), (True, True)}
    for item in training:
        assert ("attributes" in item) != isinstance(item["lesion"], list)


def test_every_sentence_means_the_lesions_of_its_item(training: list[dict]) -> None:
    """A slip of the finger may hide a word from the reader; most sentences have none."""
    exact = []
    for group in images_of(training):
        lesions = [Lesion.read(item["attributes"], where=item["case"]) for item in each_alone(group)]
        for item in group:
            meant = item["lesion"] if isinstance(item["lesion"], list) else [item["lesion"]]
            fits = [fitting(text, lesions) == [value - 1 for value in meant] for text in item["prompts"]]
            assert any(fits), item
            exact += fits
    assert np.mean(exact) > 0.75


def test_the_mask_of_a_group_is_the_union_of_its_lesions_masks(grouped: Path) -> None:
    items, read = load_referring(grouped / "datalist.json", "training"), LabelledReader()
    several = [item for item in items if len(item.lesions) > 1]
    for item in several:
        singles = [
            other
            for other in items
            if other.image == item.image
            and len(other.lesions) == 1
            and set(other.lesions) <= set(item.lesions)
        ]
        assert {other.lesions[0] for other in singles} == set(item.lesions)
        union = np.any([read(other).meant(other).mask() for other in singles], axis=0)
        np.testing.assert_array_equal(read(item).meant(item).mask(), union)
    assert len(several) > 3


def test_validation_and_test_items_mean_one_lesion_each(folder: Path) -> None:
    datalist = json.loads((folder / "datalist.json").read_text())
    for item in [*datalist["validation"], *datalist["test"]]:
        assert isinstance(item["lesion"], int)
        assert "orientation_free" not in item
        assert item["case"].endswith(f"-{item['lesion']}")
        assert len(item["prompts"]) == 3


@pytest.mark.parametrize("flags", [[], ["--lesions"]])
def test_no_worker_is_refused(flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--out", str(tmp_path / "set"), "--workers", "0", *flags]) == 2
    assert "--workers: found 0, expected 1 or more; give another number." in capsys.readouterr().err
    assert not (tmp_path / "set").exists()


def test_longest_diameter_of_known_shapes() -> None:
    y, x = np.mgrid[:61, :61] - 30.3
    for diameter, turn in ((16.0, 0.3), (24.0, 1.1), (40.0, 2.0)):
        along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
        ellipse = (along / (diameter / 2)) ** 2 + (across / (diameter / 4)) ** 2 < 1
        assert longest_mm(ellipse, 2.0) == pytest.approx(2 * diameter, abs=1.6)

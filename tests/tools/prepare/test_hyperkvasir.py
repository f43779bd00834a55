"""HyperKvasir's polyps: masks without JPEG's noise, words, the published split, near-duplicates together."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.data.datalist import SECTIONS, load_referring
from common.data.labelled import LabelledReader
from common.errors import InputError
from tests.tools.prepare.drawings import disc, save, scene
from tools.prepare.__main__ import main
from tools.prepare._duplicates import image_hash, same_scene
from tools.prepare.hyperkvasir import prepare

SHARED = Path(__file__).parents[4] / "shared" / "data"
REAL = [SHARED / "endo_kvasir_seg", SHARED / "endo_kvasir_small"]
SPLIT = json.loads((Path(__file__).parents[3] / "tools/prepare/kvasir_split.json").read_text())
TRAIN, VAL = SPLIT["training"][:3], SPLIT["validation"][:2]
SCENES = {TRAIN[0]: 1, TRAIN[1]: 2, TRAIN[2]: 3, VAL[0]: 4, VAL[1]: 5, "unlisted": 6}


def kvasir(folder: Path, scenes: dict[str, int]) -> Path:
    for name, seed in scenes.items():
        save(folder / "images" / f"{name}.jpg", scene(seed))
        save(folder / "masks" / f"{name}.jpg", disc(45, 60, 20))
    (folder / "bounding-boxes.json").write_text("{}")
    return folder


def read(out: Path) -> dict[str, list[dict]]:
    content = json.loads((out / "datalist.json").read_text())
    for section in SECTIONS:
        load_referring(out / "datalist.json", section)
    return {section: content[section] for section in SECTIONS}


def test_every_image_is_in_its_published_part_with_words_of_its_mask(tmp_path):
    source = kvasir(tmp_path / "source", SCENES)
    assert main(["hyperkvasir", "--source", str(source), "--out", str(tmp_path / "out")]) == 0
    sections = read(tmp_path / "out")
    assert {name: {item["case"] for item in items} for name, items in sections.items()} == {
        "training": set(TRAIN),
        "validation": set(VAL),
        "test": {"unlisted"},
    }
    item = sections["test"][0]
    assert item["dataset"] == "kvasir"
    # pi 20^2 of 90 x 120 pixels is a share of 0.116, and the disc is in the middle
    assert {
        "class": "polyp",
        "number": "one",
        "size": ["medium"],
        "location": ["center"],
        "shape": "round",
    }.items() <= (item["attributes"].items())
    colour = item["attributes"]["colour"]
    assert item["levels"]["p0"] == [""]
    assert item["levels"]["p6"] == [f"one medium {colour} round polyp, located in center of the image"]
    assert item["prompts"] == [item["levels"][f"p{n}"][0] for n in range(1, 7)]
    assert len(item["levels"]["p9"]) == 5
    case = load_referring(tmp_path / "out" / "datalist.json", "test")[0]
    mask = LabelledReader()(case).meant(case).mask()[0]
    assert np.array_equal(np.unique(np.asarray(Image.open(case.label))), [0, 1])
    assert (
        np.count_nonzero(mask != (disc(45, 60, 20) > 0)) < 0.02 * mask.sum()
    )  # JPEG moves the edge a little


def test_near_duplicates_are_one_patient_and_leave_the_training_where_they_are_in_another_part(
    tmp_path, capsys
):
    source = kvasir(tmp_path / "source", {**SCENES, TRAIN[1]: 1, TRAIN[2]: 4})
    brighter = (scene(1) * 0.9 + 20).astype(np.uint8)
    save(source / "images" / f"{TRAIN[1]}.jpg", np.asarray(Image.fromarray(brighter).resize((180, 135))))
    save(source / "masks" / f"{TRAIN[1]}.jpg", disc(67, 90, 30, size=(135, 180)))
    prepare([source], tmp_path / "out")
    sections = read(tmp_path / "out")
    assert [item["case"] for item in sections["training"]] == sorted(TRAIN[:2])
    assert len({item["patient"] for item in sections["training"]}) == 1
    assert {item["case"] for item in sections["validation"]} == set(VAL)
    said = capsys.readouterr().out
    assert "2 images show the scene of another one" in said
    assert (
        f"left out: {TRAIN[2]} of the training part shows the scene of an image of the validation part"
        in said
    )


def test_several_folders_are_taken_together_and_a_image_in_two_is_refused(tmp_path):
    first = kvasir(tmp_path / "a", {TRAIN[0]: 1})
    second = kvasir(tmp_path / "b", {VAL[0]: 2})
    prepare([first, second], tmp_path / "out")
    assert [len(items) for items in read(tmp_path / "out").values()] == [1, 1, 0]
    kvasir(second, {TRAIN[0]: 1})
    with pytest.raises(InputError, match=f"{TRAIN[0]} is in .*a too, expected each image once; leave one"):
        prepare([first, second], tmp_path / "again")


def test_other_names_and_missing_masks_are_refused(tmp_path):
    with pytest.raises(
        InputError, match="found no image of the published training part, expected names such"
    ):
        prepare([kvasir(tmp_path / "a", {"colonoscopy_0001": 1})], tmp_path / "out")
    source = kvasir(tmp_path / "b", SCENES)
    (source / "masks" / f"{TRAIN[0]}.jpg").unlink()
    with pytest.raises(InputError, match=rf"1 of 12 files are missing \(masks/{TRAIN[0]}.jpg\)"):
        prepare([source], tmp_path / "out")


def test_an_empty_mask_is_an_item_that_means_nothing(tmp_path):
    source = kvasir(tmp_path / "a", SCENES)
    save(source / "masks" / "unlisted.jpg", np.zeros((90, 120), np.uint8))
    prepare([source], tmp_path / "out")
    item = read(tmp_path / "out")["test"][0]
    assert (item["lesion"], item["prompts"], item["levels"]["p9"]) == ([], ["no polyp"], ["no polyp"])


@pytest.mark.skipif(
    not all(folder.is_dir() for folder in REAL),
    reason="NO ../shared/data: real near-duplicates not looked for",
)
def test_near_duplicates_of_real_images_are_those_that_were_seen_to_be():
    """Looked at: two alike, one scene with another frame around it, and three alike in their frame alone."""
    alike = ["cju886ryxnsl50801r93jai7q", "cju8amfdtqi4x09871tygrgqe"]
    framed = ["cju13hp5rnbjx0835bf0jowgx", "cjyzu9th0qt4r0a46pyl4zik0"]
    others = ["cju1b3zgj3d8e0801kpolea6c", "cju5uget8krjy0818kvywd0zu", "cju8ayeq7r1fb0818z1junacy"]
    files = [
        next(path for folder in REAL if (path := folder / "images" / f"{name}.jpg").is_file())
        for name in alike + framed + others
    ]
    numbers = same_scene([image_hash(path) for path in files])
    assert numbers[0] == numbers[1]
    assert numbers[2] == numbers[3]
    assert len(set(numbers)) == 5


def test_the_split_has_800_and_100_names_and_none_twice():
    assert (len(SPLIT["training"]), len(SPLIT["validation"])) == (800, 100)
    assert len({*SPLIT["training"], *SPLIT["validation"]}) == 900

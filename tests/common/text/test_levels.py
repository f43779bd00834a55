"""Prompts of ten levels against published ones."""

import json
import tarfile
from pathlib import Path

import pytest

from common.errors import InputError
from common.text.levels import LEVELS, families, level_texts, levels_of, words_of
from common.text.mask_attributes import MaskAttributes

PUBLISHED = Path(__file__).parents[4] / "shared/data/text_medvlsm_prompts/data.tar.xz"
POLYP = {
    "class": "polyp",
    "number": "two",
    "size": ["small", "medium"],
    "colour": "white",
    "shape": "oval",
    "location": ["center", "top left"],
}
HEART = {
    "class": "Myocardium",
    "view": "two-chamber",
    "cycle": "diastole",
    "gender": "female",
    "age": "fifty-six",
    "quality": "good",
    "shape": "triangle",
}
XRAY = {
    "class": "Airspace Opacity",
    "shape": "square",
    "location": "right",
    "view": "frontal",
    "pathology": ["Lung Opacity", "Atelectasis"],
}
BREAST = {
    "class": "tumor",
    "tumor_type": "benign",
    "number": "two",
    "size": "small",
    "location": ["top left", "center"],
    "shape": "circle",
}


def published(name: str, section: str) -> list[dict]:
    """Prompts of a set as its authors published them."""
    if not PUBLISHED.is_file():
        pytest.skip("NO ../shared/data: published prompts not compared")
    with tarfile.open(PUBLISHED) as archive:
        file = archive.extractfile(f"data/{name}/anns/{section}.json")
        assert file is not None
        return [record["prompts"] for record in json.load(file)]


def listed(text: str | list[str]) -> list[str]:
    return [text] if isinstance(text, str) else text


def test_levels_of_a_photograph_add_one_thing_each():
    texts = level_texts("photograph", {**POLYP, "description": ["a bump"]})
    assert texts == {
        "p0": [""],
        "p1": ["polyp"],
        "p2": ["oval polyp"],
        "p3": ["white oval polyp"],
        "p4": ["small, medium white oval polyp"],
        "p5": ["two small, medium white oval polyp"],
        "p6": ["two small, medium white oval polyp, located in center, top left of the image"],
        "p7": ["polyp which is a bump"],
        "p8": ["two small, medium white oval polyp which is a bump"],
        "p9": ["two small, medium white oval polyp which is a bump located in center, top left of the image"],
    }


def test_a_class_with_descriptions_has_five_texts_and_one_without_lacks_those_levels():
    assert len(level_texts("photograph", POLYP)["p9"]) == 5
    assert set(level_texts("photograph", {**POLYP, "class": "haustra"})) == set(LEVELS) - {"p7", "p8", "p9"}


def test_levels_that_need_what_is_not_known_are_left_out():
    without_age = {name: word for name, word in HEART.items() if name != "age"}
    assert list(level_texts("heart_ultrasound", without_age)) == ["p0", "p1", "p2", "p3", "p4"]
    assert list(level_texts("photograph", {"class": "polyp", "shape": ""})) == ["p0", "p1", "p7"]


def test_nothing_there_is_said_at_every_level_with_words():
    texts = level_texts("breast_ultrasound", {"class": "tumor", "number": "no"})
    assert texts["p0"] == [""]
    assert all(texts[f"p{n}"] == ["No tumor in the breast ultrasound image."] for n in range(1, 7))
    assert level_texts("photograph", {"class": "polyp", "number": "no"})["p9"] == ["no polyp"]


def test_a_word_in_braces_is_a_word():
    assert level_texts("photograph", {"class": "{number} polyp"})["p1"] == ["{number} polyp"]


def test_another_family_is_refused():
    with pytest.raises(InputError, match="family: found 'ct', expected one of photograph, chest_xray"):
        level_texts("ct", POLYP)
    with pytest.raises(InputError, match="family: found 'ct', expected one of photograph, chest_xray"):
        levels_of("ct")
    assert len(families()) == 4


def test_families_have_the_levels_of_the_paper():
    highest = {family: levels_of(family)[-1] for family in families()}
    assert highest == {
        "photograph": "p9",
        "chest_xray": "p6",
        "heart_ultrasound": "p7",
        "breast_ultrasound": "p6",
    }


def test_words_of_a_mask_leave_out_what_is_unknown():
    attributes = MaskAttributes("one", ("small",), ("top",), "round", None)
    assert words_of(attributes) == {"number": "one", "size": ["small"], "location": ["top"], "shape": "round"}
    assert words_of(MaskAttributes("no", (), (), None, None)) == {"number": "no"}


@pytest.mark.parametrize(
    ("name", "section", "family", "attributes"),
    [
        ("camus", "val", "heart_ultrasound", HEART),
        ("chexlocalize", "val", "chest_xray", XRAY),
        ("busi", "train", "breast_ultrasound", BREAST),
    ],
)
def test_texts_are_the_published_ones_word_for_word(name, section, family, attributes):
    """Of the first published record that says what `attributes` do at the highest level."""
    texts = level_texts(family, attributes)
    highest = max(texts)
    theirs = [
        {level: [text.strip() for text in listed(value)] for level, value in prompts.items()}
        for prompts in published(name, section)
    ]
    same = [prompts for prompts in theirs if prompts["p5"] == texts["p5"]]
    assert same, texts["p5"]
    assert same[0] == texts, highest

"""Sentences about all lesions of a kind: each that is meant fits, no other one does, and it is English."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

from common.text import expression_words
from common.text.expression_words import plural_of
from common.text.expressions import CHOICES, Fact, Lesion, describe_all, groups
from tests.common.text.reader import EACH_OF_ALL, IMAGES, MANY, SEEDS, asks_for_all, fitting

WORDINGS = ("training", "held_out")
FACTS = [(name, value) for name, values in CHOICES.items() for value in values]
FACTS += [("lobe", "left"), ("lobe", "right")]
ROUND = (
    Lesion(40, 60, 30, "II", "cyst", "hypodense", "none", "sharp", "round"),
    Lesion(90, 64, 12, "VIII", "cyst", "hyperdense", "rim", "blurred", "oval"),
    Lesion(130, 120, 20, None, "metastasis", "hypodense", None, "sharp", "round"),
)


def phrases(fact: Fact, wording: str, *, several: bool, bare: bool = True) -> set[str]:
    """All that is said of a fact, as good as."""
    rng = np.random.default_rng(0)
    return {describe_all(fact, rng=rng, bare=bare, several=several, wording=wording) for _ in range(400)}


def two_and_another_one(attribute: str, value: str) -> list[Lesion]:
    """Lesions of which the fact holds for the first and the last."""

    def one(name: str, choice: str) -> Lesion:
        return Lesion(100, 100, 20, **{name: choice})

    if attribute == "lobe":
        segments = ("II", "VI", "IV") if value == "left" else ("V", "I", "VIII")
        return [one("segment", segment) for segment in segments]
    other = next(choice for choice in CHOICES[attribute] if choice != value)
    return [one(attribute, choice) for choice in (value, other, value)]


def test_groups_are_all_lesions_of_a_value_where_every_lesions_value_is_known() -> None:
    """The third one may lie in any segment and enhance in any way: no group rests on these."""
    assert groups(ROUND) == {
        Fact("kind", "cyst"): (0, 1),
        Fact("kind", "metastasis"): (2,),
        Fact("density", "hypodense"): (0, 2),
        Fact("density", "hyperdense"): (1,),
        Fact("border", "sharp"): (0, 2),
        Fact("border", "blurred"): (1,),
        Fact("shape", "round"): (0, 2),
        Fact("shape", "oval"): (1,),
    }
    assert groups(ROUND[:2])[Fact("lobe", "left")] == (0,)
    assert groups([]) == {}


@settings(deadline=None)
@given(lesions=IMAGES)
def test_groups_of_an_attribute_share_out_the_image_or_there_are_none(lesions: list[Lesion]) -> None:
    found = groups(lesions)
    for name in (*CHOICES, "lobe"):
        members = [index for fact, group in found.items() if fact.attribute == name for index in group]
        known = all(getattr(lesion, "segment" if name == "lobe" else name) for lesion in lesions)
        assert sorted(members) == (list(range(len(lesions))) if known else [])


@pytest.mark.parametrize("wording", WORDINGS)
@pytest.mark.parametrize("bare", [True, False])
@settings(deadline=None)
@given(lesions=IMAGES, seed=SEEDS)
def test_a_sentence_about_a_group_fits_all_of_it_and_no_other_lesion(
    bare: bool, wording: str, lesions: list[Lesion], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    for fact, members in groups(lesions).items():
        text = describe_all(fact, rng=rng, bare=bare, several=len(members) > 1, wording=wording)
        assert fitting(text, lesions) == list(members), text
        assert asks_for_all(text), text


@pytest.mark.parametrize("wording", WORDINGS)
@pytest.mark.parametrize(("attribute", "value"), FACTS)
def test_every_phrase_about_all_is_true_and_english(attribute: str, value: str, wording: str) -> None:
    lesions = two_and_another_one(attribute, value)
    for bare in (True, False):
        for text in phrases(Fact(attribute, value), wording, several=True, bare=bare):
            assert fitting(text, lesions) == [0, 2], text
            assert asks_for_all(text), text
            # "Every lesion" and "all lesions", not the other way round; "ones" stands for nothing here.
            assert bool(re.search(EACH_OF_ALL, text)) != bool(re.search(MANY, text.lower())), text
            assert not re.search(r"\bones?\b|[{}]|  ", text), text


@pytest.mark.parametrize("wording", WORDINGS)
def test_the_round_lesions_are_several(wording: str) -> None:
    """Of one lesion "all round lesions" is true, and "the round lesions" is not."""
    fact = Fact("shape", "round")
    for several in (True, False):
        said = phrases(fact, wording, several=several)
        assert any(re.search(r"\bthe\b", text) for text in said) == several
        assert any(re.search(EACH_OF_ALL, text) for text in said)


def test_held_out_phrases_about_all_never_occur_in_training() -> None:
    for attribute, value in FACTS:
        for bare in (True, False):
            said = [phrases(Fact(attribute, value), wording, several=True, bare=bare) for wording in WORDINGS]
            assert not said[0] & said[1]


@settings(deadline=None)
@given(lesions=IMAGES, seed=SEEDS)
def test_the_same_seed_gives_the_same_sentence_about_all(lesions: list[Lesion], seed: int) -> None:
    for fact in groups(lesions):
        one, other = (
            describe_all(fact, rng=np.random.default_rng(seed), bare=False, several=True) for _ in range(2)
        )
        assert one == other


@pytest.mark.parametrize(
    ("noun", "plural"),
    [
        ("lesion", "lesions"),
        ("mass", "masses"),
        ("focus", "foci"),
        ("abnormality", "abnormalities"),
        ("abscess of the liver", "abscesses of the liver"),
        ("purulent abscess", "purulent abscesses"),
        ("metastasis", "metastases"),
        ("liver metastasis", "liver metastases"),
        ("hemangioma of the liver", "hemangiomas of the liver"),
        ("HCC", "HCCs"),
        ("FNH", "FNHs"),
        ("nodular hyperplasia of the liver", "nodular hyperplasias of the liver"),
        ("hepatocellular carcinoma", "hepatocellular carcinomas"),
        ("secondary tumor", "secondary tumors"),
    ],
)
def test_plurals(noun: str, plural: str) -> None:
    assert plural_of(noun) == plural


def test_every_noun_has_a_plural_that_a_reader_knows() -> None:
    words = json.loads(Path(expression_words.__file__).with_suffix(".json").read_text())
    nouns = [noun for wording in WORDINGS for noun in words["nouns"][wording]]
    nouns += [
        noun for kinds in words["facts"]["kind"].values() for w in WORDINGS for noun in kinds[w]["noun"]
    ]
    assert len(nouns) > 30
    for noun in nouns:
        assert not re.search(MANY, noun.lower()), noun
        assert re.search(rf"{MANY}( of the liver)?$", plural_of(noun).lower()), plural_of(noun)

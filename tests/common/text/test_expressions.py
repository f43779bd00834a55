"""Sentences about lesions: what they say is true, of the one that is meant, and of no other one."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given

from common.errors import InputError
from common.text import expression_words
from common.text.expressions import (
    LEVELS,
    Fact,
    Lesion,
    describe,
    facts_of,
    report_facts,
    rules_out,
    single_out,
)
from common.text.noise import add_typos
from tests.common.text.reader import IMAGES, SEEDS, asks_for_all, fitting, told_apart

WORDINGS = ("training", "held_out")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the leftmost lesion", [0]),
        ("the lesion on the left of the picture", []),  # both lie in its right half
        ("the lesion on the right of the image", [0, 1]),
        ("the lesion on the left", []),
        ("the far right lesion", [0, 1]),
        ("the left lesion", [0]),
        ("the largest spot in the right half of the picture", [0]),
        ("the lesion furthest up", [1]),
        ("the lesion at the top", []),  # both lie in the lower half
        ("the lesion furthest down", [0]),
        ("the lesion at the bottom", [0, 1]),
    ],
)
def test_the_reader_knows_phrases_of_the_image_from_comparisons(text: str, expected: list[int]) -> None:
    assert fitting(text, [Lesion(130, 220, 30), Lesion(200, 150, 20)]) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the bright rim-enhancing lesion", [1]),
        ("the lesion with a bright rim", [0, 1]),
        ("all round lesions", [0, 2]),
        ("every ovoid mass", [1]),
        ("the lesion with rounded bulges", []),
        ("the inhomogeneously enhancing lesion", [3]),
        ("the homogeneously enhancing lesion", []),
        ("the lesion with uneven enhancement", [3]),
        ("the vascular tumor with a clear boundary", []),
        ("the irregular FNH with a clear boundary", [3]),
    ],
)
def test_the_reader_knows_looks(text: str, expected: list[int]) -> None:
    lesions = [
        Lesion(50, 50, 20, density="hypodense", enhancement="rim", shape="round"),
        Lesion(50, 50, 20, density="hyperdense", enhancement="rim", shape="oval"),
        Lesion(50, 50, 20, density="hyperdense", enhancement="none", shape="round"),
        Lesion(
            *(50, 50, 20),
            kind="focal nodular hyperplasia",
            enhancement="inhomogeneous",
            border="sharp",
            shape="irregular",
        ),
    ]
    assert fitting(text, lesions) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Show all round lesions.", True),
        ("every HCC", True),
        ("the foci in segment II", True),
        ("each abscess of the liver", True),
        ("the lesion that is bigger than all the rest", False),
        ("the lesion larger than any other", False),
        ("the lesion with several lobes", False),
        ("the mass with ill-defined margins", False),
    ],
)
def test_the_reader_knows_all_from_one(text: str, expected: bool) -> None:
    assert asks_for_all(text) == expected


@pytest.mark.parametrize(
    ("attribute", "value", "wording", "words"),
    [  # of RefHL-Seg's sentences, as LSMS's paper has them
        ("kind", "focal nodular hyperplasia", "training", "FNH"),
        ("kind", "haemangioma", "held_out", "vascular tumor"),
        ("shape", "irregular", "training", "irregular"),
        ("enhancement", "inhomogeneous", "training", "inhomogeneous enhancement"),
        ("border", "sharp", "held_out", "a clear boundary"),
    ],
)
def test_the_words_of_the_papers_own_sentences_are_said(
    attribute: str, value: str, wording: str, words: str
) -> None:
    lesion = Lesion(100, 100, 20, **{attribute: value})
    rng = np.random.default_rng(0)
    said = [
        describe(lesion, [], level="report", rng=rng, wording=wording)  # type: ignore[arg-type]
        for _ in range(300)
    ]
    assert any(re.search(rf"\b{words}\b", text) for text in said)
    assert not any(re.search(r"\ba (FNH|i)", text) for text in said)


def test_shapes_and_kinds_that_are_beside_each_other_rule_each_other_out() -> None:
    lobulated, irregular = (Lesion(1, 2, 20, shape=shape) for shape in ("lobulated", "irregular"))
    assert rules_out(Fact("shape", "irregular"), lobulated)
    assert rules_out(Fact("shape", "lobulated"), irregular)
    assert not rules_out(Fact("kind", "focal nodular hyperplasia"), irregular)


@pytest.mark.parametrize("wording", WORDINGS)
@pytest.mark.parametrize("level", ["short", "sentence"])
@given(lesions=IMAGES, seed=SEEDS)
def test_a_sentence_that_singles_out_fits_the_lesion_and_no_other_one(
    level: str, wording: str, lesions: list[Lesion], seed: int
) -> None:
    assume(told_apart(lesions, 0))
    text = describe(lesions[0], lesions[1:], level=level, rng=np.random.default_rng(seed), wording=wording)
    # A lesion of which something is not known is not ruled out by its absence, but it does not fit either.
    assert fitting(text, lesions) == [0], text
    assert not asks_for_all(text), text


@pytest.mark.parametrize("wording", WORDINGS)
@pytest.mark.parametrize("corner", [(20, 20), (150, 20), (20, 150), (150, 150)])
def test_each_wording_of_a_place_holds_in_every_corner_of_the_image(
    corner: tuple[int, int], wording: str
) -> None:
    """Such as two lesions in the right half, of which the leftmost is not on the left of the image."""
    x, y = corner
    images = {
        "leftmost": [Lesion(x, y, 20), Lesion(x + 50, y, 20)],
        "uppermost": [Lesion(x, y, 20), Lesion(x, y + 50, 20)],
    }
    images |= {"rightmost": images["leftmost"][::-1], "lowest": images["uppermost"][::-1]}
    words = json.loads(Path(expression_words.__file__).with_suffix(".json").read_text())["facts"]["place"]
    for place, phrases in words.items():
        texts = [f"the {said} lesion" for said in phrases[wording]["before"]]
        texts += [f"the lesion {said}" for said in phrases[wording]["behind"]]
        for text in texts:
            assert fitting(text, images[place]) == [0], text


@pytest.mark.parametrize("wording", WORDINGS)
@pytest.mark.parametrize("level", ["report", "half", "quarter"])
@given(lesions=IMAGES, seed=SEEDS)
def test_a_report_is_true_of_its_lesion(level: str, wording: str, lesions: list[Lesion], seed: int) -> None:
    text = describe(lesions[0], lesions[1:], level=level, rng=np.random.default_rng(seed), wording=wording)
    assert 0 in fitting(text, lesions), text


@pytest.mark.parametrize("wording", WORDINGS)
@pytest.mark.parametrize("level", ["report", "half", "quarter"])
@given(lesions=IMAGES, seed=SEEDS)
def test_a_report_names_what_it_speaks_of(level: str, wording: str, lesions: list[Lesion], seed: int) -> None:
    """ "One" stands for what was named before; the other levels ask for "the largest one"."""
    text = describe(lesions[0], lesions[1:], level=level, rng=np.random.default_rng(seed), wording=wording)
    assert not re.search(r"\bone\b", text.split(". ")[0]), text


@given(lesions=IMAGES, seed=SEEDS)
def test_singled_out_without_a_fact_too_many(lesions: list[Lesion], seed: int) -> None:
    assume(told_apart(lesions, 0))
    facts = single_out(lesions[0], lesions[1:], np.random.default_rng(seed))

    def enough(said: list[Fact]) -> bool:
        return all(any(rules_out(fact, other) for fact in said) for other in lesions[1:])

    assert enough(list(facts))
    assert len(facts) == 1 or not any(enough([f for f in facts if f != left_out]) for left_out in facts)


def test_an_attribute_of_weight_four_is_said_four_times_out_of_five() -> None:
    """A race of exponential waits is won in proportion to the rates; the kind would do as well."""
    lesion = Lesion(100, 100, 30, kind="cyst", shape="oval")
    other = Lesion(100, 100, 30, kind="abscess", shape="round")
    rng = np.random.default_rng(0)
    said = [single_out(lesion, [other], rng, weights={"shape": 4.0})[0].attribute for _ in range(2000)]
    assert set(said) == {"shape", "kind"}
    assert said.count("shape") / 2000 == pytest.approx(0.8, abs=0.03)  # 3 standard errors


def test_an_attribute_of_weight_nothing_is_never_said() -> None:
    lesion = Lesion(100, 100, 30, kind="cyst", shape="oval")
    rng = np.random.default_rng(0)
    other = Lesion(100, 100, 30, kind="abscess", shape="round")
    said = [single_out(lesion, [other], rng, weights={"kind": 0})[0] for _ in range(20)]
    assert set(said) == {Fact("shape", "oval")}
    with pytest.raises(InputError, match="cannot be told from"):
        single_out(lesion, [replace(other, shape="oval")], rng, weights={"kind": 0})


@pytest.mark.parametrize(("name", "weight"), [("shapes", 4.0), ("shape", -1.0)])
def test_weights_that_cannot_be_are_refused(name: str, weight: float) -> None:
    message = f"weights: found '{name}': {weight}, expected 0 or more for one of segment, "
    with pytest.raises(InputError, match=message):
        single_out(Lesion(1, 2, 3), [], np.random.default_rng(0), weights={name: weight})


def test_a_lesion_below_half_a_millimetre_is_not_called_one_of_0_mm() -> None:
    assert facts_of(Lesion(1, 2, 0.4), []) == ()
    assert facts_of(Lesion(1, 2, 0.6), []) == (Fact("diameter", "1"),)


@given(lesions=IMAGES, seed=SEEDS)
def test_what_cannot_be_told_apart_is_refused(lesions: list[Lesion], seed: int) -> None:
    twin = replace(lesions[0], x_mm=lesions[0].x_mm + 5)
    with pytest.raises(InputError, match=r"cannot be told from .* expected a clear difference"):
        describe(lesions[0], [twin], level="short", rng=np.random.default_rng(seed))


def test_no_superlative_where_the_difference_is_small() -> None:
    lesion = Lesion(100, 100, 24, shape="round")
    assert facts_of(lesion, [Lesion(110, 92, 20)]) == (Fact("diameter", "24"), Fact("shape", "round"))
    larger = facts_of(lesion, [Lesion(113, 86, 19)])
    assert {fact.value for fact in larger} == {"24", "round", "largest", "leftmost", "lowest"}


def test_partial_reports_keep_a_half_and_a_quarter_of_the_facts_and_lose_size_and_shape_first() -> None:
    lesion = Lesion(30, 40, 32, "II", "metastasis", "hypodense", "rim", "blurred", "oval")
    other = Lesion(90, 45, 14, "VIII", "cyst", "hypodense", "none", "sharp", "round")
    attributes = [fact.attribute for fact in report_facts(lesion, [other])]
    assert attributes == [
        "segment", "kind", "density", "enhancement", "border", "place", "size", "diameter", "shape",
    ]  # fmt: skip
    assert [fact.attribute for fact in report_facts(lesion, [other], share=0.5)] == attributes[:5]
    assert [fact.attribute for fact in report_facts(lesion, [other], share=0.25)] == attributes[:3]
    whole = describe(lesion, [other], level="report", rng=np.random.default_rng(0))
    assert "32 mm" in whole or "3.2 cm" in whole
    for level in ("half", "quarter"):
        text = describe(lesion, [other], level=level, rng=np.random.default_rng(0))
        assert not re.search(r"mm|cm|oval|ovoid|elongated", text)


@pytest.mark.parametrize("level", LEVELS)
@given(lesions=IMAGES, seed=SEEDS)
def test_the_same_seed_gives_the_same_sentence(level: str, lesions: list[Lesion], seed: int) -> None:
    assume(told_apart(lesions, 0))
    one, other = (
        describe(lesions[0], lesions[1:], level=level, rng=np.random.default_rng(seed)) for _ in range(2)
    )
    assert one == other


def test_held_out_phrases_of_a_fact_never_occur_in_training() -> None:
    """Whole phrases: a single word such as attenuation may well be in both."""
    lesion = Lesion(30, 40, 32, "II", "metastasis", "hypodense", "rim", "blurred", "oval")
    other = Lesion(90, 80, 14, "VIII", "cyst", "hyperdense", "none", "sharp", "round")
    rng = np.random.default_rng(0)
    said = {
        wording: {
            describe(lesion, [other], level=level, rng=rng, wording=wording)
            for level in ("short", "sentence")
            for _ in range(400)
        }
        for wording in WORDINGS
    }
    assert len(said["training"]) > 150
    assert not said["training"] & said["held_out"]
    patterns = {wording: {text.split()[0] for text in texts} for wording, texts in said.items()}
    assert patterns["training"] & patterns["held_out"] == {"the"}


@given(lesions=IMAGES, seed=SEEDS)
def test_a_slip_of_the_finger_leaves_left_and_right(lesions: list[Lesion], seed: int) -> None:
    text = describe(lesions[0], lesions[1:], level="report", rng=np.random.default_rng(seed))
    slipped = add_typos(text, np.random.default_rng(seed), rate=1.0)
    for side in ("left", "right"):
        assert len(re.findall(rf"\b{side}", slipped)) == len(re.findall(rf"\b{side}", text))


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        (
            {"x_mm": 1, "y_mm": 2, "diameter_mm": 3, "shape": "square"},
            "shape: found 'square', expected one of round",
        ),
        ({"x_mm": 1, "y_mm": 2, "diameter_mm": 0}, "diameter_mm: found 0, expected a length above 0"),
        ({"x_mm": 1, "y_mm": 2}, "missing 1 required positional argument: 'diameter_mm'"),
        ({"x_mm": 1, "y_mm": 2, "diameter_mm": 3, "colour": "red"}, "unexpected keyword argument 'colour'"),
    ],
)
def test_wrong_attributes_are_named(attributes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=f"datalist.json, a-1: .*{message}.*expected the attributes x_mm"):
        Lesion.read(attributes, where="datalist.json, a-1")


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(
        InputError, match="level: found 'long', expected one of short, sentence, report, half"
    ):
        describe(Lesion(1, 2, 3), [], level="long", rng=np.random.default_rng(0))  # type: ignore[arg-type]

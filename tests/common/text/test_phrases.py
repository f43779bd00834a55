"""Texts that training draws: of the stated level, with the stated noise, never of another side or organ."""

import re
from collections import Counter

import numpy as np
import pytest

from common.errors import InputError
from common.text.phrases import (
    CARRIERS,
    HELD_OUT_CARRIERS,
    HELD_OUT_RELATIONS,
    POOLS,
    RELATIONS,
    Phrasing,
)
from common.text.vocabulary import Organ, Vocabulary, sides
from tests.common.text.pieces import pieces_of

VOCABULARY = Vocabulary.load()
# One word of more than three letters, of which no other spelling is a slip away.
PANCREAS = Organ(
    "pancreas", None, synonyms=(), neighbours=("liver",), groups=(), parts=("pancreas",), source=""
)


def draws(phrasing: Phrasing, organ: Organ, count: int) -> list[str]:
    return [phrasing.draw(organ, VOCABULARY, np.random.default_rng((7, i))) for i in range(count)]


def spread(share: float, count: int) -> float:
    """Five standard deviations of a share that is counted in `count` draws."""
    return 5 * float(np.sqrt(share * (1 - share) / count))


def sentences(
    organ: Organ, carriers: tuple[str, ...], relations: tuple[str, ...]
) -> tuple[set[str], set[str]]:
    """All sentences about `organ`, without and with a neighbour."""
    plain = {carrier.format(name) for carrier in carriers for name in organ.spellings}
    related = {
        relation.format(organ=name, neighbour=neighbour)
        for relation in relations
        for name in organ.spellings
        for neighbour in organ.neighbours
    }
    return plain, related


def test_levels_are_nothing_names_and_descriptions() -> None:
    for organ in VOCABULARY.organs:
        assert set(draws(Phrasing("none", 1.0), organ, 5)) == {""}
        assert set(draws(Phrasing("simple"), organ, 200)) == {organ.name, *organ.synonyms}
        assert set(draws(Phrasing("complex"), organ, 50)) == set(organ.descriptions)


def test_descriptions_are_drawn_whole() -> None:
    """Whatever the order, position, neighbours and appearance stand in each."""
    for organ in VOCABULARY.organs:
        for text in draws(Phrasing("complex"), organ, 20):
            assert all(part in text for part in organ.parts)
            assert len(text) == sum(map(len, organ.parts)) + 2


@pytest.mark.parametrize("organ", VOCABULARY.organs, ids=lambda organ: organ.name)
def test_sentences_are_about_the_organ_and_two_of_three_name_a_true_neighbour(organ: Organ) -> None:
    plain, related = sentences(organ, CARRIERS, RELATIONS)
    drawn = draws(Phrasing("sentence"), organ, 400)
    assert set(drawn) <= plain | related
    share = np.mean([text in related for text in drawn])
    expected = 2 / 3 if organ.neighbours else 0.0
    assert share == pytest.approx(expected, abs=spread(expected, 400))


@pytest.mark.parametrize("template", RELATIONS + HELD_OUT_RELATIONS)
def test_relations_ask_for_the_organ_and_name_the_neighbour_once(template: str) -> None:
    text = template.format(organ="ORGAN", neighbour="NEIGHBOUR")
    assert text.count("NEIGHBOUR") == 1
    relation = "(not|without|leave out|next to|beside|touches|close to|near|adjacent to|bordering on|by)"
    asked = re.sub(f"{relation} the NEIGHBOUR", "", text)
    assert "NEIGHBOUR" not in asked
    assert "ORGAN" in asked
    assert not re.search("(not|without|leave out|next to|beside|close to|adjacent to) the ORGAN", text)


def test_neighbours_that_are_asked_for_beside_it_go_first() -> None:
    liver, rng = VOCABULARY.organ("liver"), np.random.default_rng(0)
    others = [name for name in liver.neighbours if name not in ("stomach", "heart")]
    for beside, refused in ((("stomach", "heart", "spleen"), others), (("spleen", "liver"), ["spleen"])):
        texts = [Phrasing("sentence").draw(liver, VOCABULARY, rng, beside=beside) for _ in range(300)]
        found = {name for name in liver.neighbours if any(name in text for text in texts)}
        assert found == (set(liver.neighbours) - set(refused))
        assert not any("spleen" in text for text in texts)


def test_held_out_sentences_are_none_of_training() -> None:
    assert not set(CARRIERS) & set(HELD_OUT_CARRIERS)
    assert not set(RELATIONS) & set(HELD_OUT_RELATIONS)
    for organ in VOCABULARY.organs:
        trained = set().union(*sentences(organ, CARRIERS, RELATIONS), organ.texts("simple"))
        held_out = set().union(*sentences(organ, HELD_OUT_CARRIERS, HELD_OUT_RELATIONS))
        assert not {text.casefold() for text in trained} & {text.casefold() for text in held_out}


@pytest.mark.parametrize("noise", [0.0, 0.2, 1.0])
def test_slips_come_at_the_stated_rate(noise: float) -> None:
    """Two of five words are misspelt.

    A slip changes a letter (into itself once in 26 times), drops or adds one: it shows in 77 of 78.
    """
    drawn = draws(Phrasing("simple", noise), PANCREAS, 4000)
    misspelt = noise * 0.4 * 77 / 78
    share = np.mean([text != "pancreas" for text in drawn])
    assert share == pytest.approx(misspelt, abs=spread(misspelt, POOLS["simple"]))


@pytest.mark.parametrize("level", ["simple", "sentence", "complex"])
def test_noise_is_slips_alone(level: str) -> None:
    """A slip changes, drops or adds a small letter: no text has another capital than one without noise."""
    phrasing = Phrasing(level, 1.0)
    changed = 0
    for organ in VOCABULARY.organs:
        for noisy, plain in zip(draws(phrasing, organ, 40), draws(Phrasing(level), organ, 40), strict=True):
            assert Counter(filter(str.isupper, noisy)) <= Counter(filter(str.isupper, plain))
            changed += noisy != plain
    assert changed > 10 * len(VOCABULARY.organs)


def test_misspelt_descriptions_stay_whole_in_96_word_pieces() -> None:
    """Nearly all: what does not fit is not read, and each such prompt is warned of."""
    counts, changed = [], []
    for organ in VOCABULARY.organs:
        noisy, plain = (Phrasing("complex", noise).texts(organ, VOCABULARY) for noise in (1.0, 0.0))
        changed.append(np.mean([text not in plain for text in noisy]))
        counts += pieces_of(sorted(noisy))
    assert np.mean(changed) > 0.7  # a slip in one of twenty words, of which there are about thirty
    assert np.mean([count > 96 for count in counts]) < 1 / 200


@pytest.mark.parametrize("level", ["simple", "sentence", "complex"])
@pytest.mark.parametrize("organ", VOCABULARY.organs, ids=lambda organ: organ.name)
def test_noise_never_changes_a_side(organ: Organ, level: str) -> None:
    """The same draw with and without noise names the same sides, and of a pair always its own."""
    noisy, plain = (draws(Phrasing(level, noise), organ, 60) for noise in (1.0, 0.0))
    assert [sides(text) for text in noisy] == [sides(text) for text in plain]
    if organ.laterality:
        assert {sides(text) for text in noisy} == {frozenset({organ.laterality})}


def test_a_draw_is_a_function_of_the_generator() -> None:
    organ, phrasing = VOCABULARY.organ("liver"), Phrasing("sentence", 0.5)
    assert draws(phrasing, organ, 50) == draws(phrasing, organ, 50)


def test_settings_that_cannot_be_are_refused() -> None:
    with pytest.raises(
        InputError, match="text level: found 'long', expected one of none, simple, sentence, complex; choose"
    ):
        Phrasing("long")
    for noise in (-0.1, 1.1):
        with pytest.raises(InputError, match=f"noise: found {noise}, expected a share from 0 to 1"):
            Phrasing("simple", noise)


@pytest.mark.parametrize("level", ["none", "simple", "sentence", "complex"])
def test_draws_come_from_the_table_of_texts(level: str) -> None:
    """With any neighbours beside it; and all of a short table is drawn."""
    phrasing, organ = Phrasing(level, 0.3), VOCABULARY.organ("left kidney")
    table, rng = phrasing.texts(organ, VOCABULARY), np.random.default_rng(0)
    drawn = {
        phrasing.draw(organ, VOCABULARY, rng, beside=beside)
        for beside in ([], ["spleen"])
        for _ in range(2000)
    }
    assert drawn <= table
    assert len(drawn) > 0.9 * len(table)
    pairs = 1 + len(organ.neighbours)
    assert len(table) <= {"none": 1, "simple": 128, "sentence": 16 * pairs, "complex": 16}[level]

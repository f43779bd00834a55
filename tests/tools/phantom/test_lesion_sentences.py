"""What training sentences say: true of the lesions that are meant, also when the image is turned."""

import re
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from common.text.expressions import CHOICES, LEFT_LOBE, RIGHT_LOBE, Lesion
from tests.common.text.reader import FIELD_MM, SEEDS, SIGNS, asks_for_all, fitting, told_apart
from tools.phantom import lesion_sentences
from tools.phantom.lesion_sentences import Said

LESION = st.builds(  # as phantoms have them: only what cannot be seen may be unknown
    Lesion,
    x_mm=st.floats(0, FIELD_MM).map(lambda x: round(x, 1)),
    y_mm=st.floats(0, FIELD_MM).map(lambda y: round(y, 1)),
    diameter_mm=st.floats(6, 60).map(lambda d: round(d, 1)),
    **{
        name: st.sampled_from([*([None] if name in ("kind", "enhancement") else []), *values])
        for name, values in CHOICES.items()
    },
)
IMAGES = st.lists(LESION, min_size=2, max_size=4)
SHARE = lesion_sentences.TYPO_SHARE


@pytest.fixture(scope="module", autouse=True)
def spelt_well() -> Iterator[None]:
    """The reader knows no misspelt words."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lesion_sentences, "TYPO_SHARE", 0.0)
        yield


def said(lesions: list[Lesion], seed: int) -> list[Said]:
    assume(all(told_apart(lesions, index) for index in range(len(lesions))))
    return lesion_sentences.training_sentences(lesions, np.random.default_rng(seed))


def turned(lesions: list[Lesion]) -> Iterator[list[Lesion]]:
    """The image in the seven other ways of a square; who knows in which segments its lesions lie then."""
    segments = LEFT_LOBE + RIGHT_LOBE
    for way in range(1, 8):
        quarters, mirrored = way % 4, way >= 4
        found = []
        for lesion in lesions:
            x, y = lesion.x_mm, lesion.y_mm
            for _ in range(quarters):
                x, y = y, FIELD_MM - x
            segment = segments[(segments.index(str(lesion.segment)) + way) % 8]
            found.append(replace(lesion, x_mm=FIELD_MM - x if mirrored else x, y_mm=y, segment=segment))
        yield found


@settings(deadline=None)
@given(lesions=IMAGES, seed=SEEDS)
def test_sentences_fit_the_lesions_that_they_mean_and_no_other_one(lesions: list[Lesion], seed: int) -> None:
    for index, item in enumerate(said(lesions, seed)):
        assert item.texts
        assert len(set(item.texts)) == len(item.texts)
        fits = [fitting(text, lesions) for text in item.texts]
        if index < len(lesions):  # of each lesion first, with reports that are true of it
            assert item.lesions == (index,)
            assert not item.orientation_free
            assert all(index in found for found in fits)
            assert fits.count([index]) >= 2
        else:
            assert all(found == list(item.lesions) for found in fits), item


@settings(deadline=None)
@given(lesions=IMAGES, seed=SEEDS)
def test_what_may_be_turned_fits_the_same_lesions_in_every_way(lesions: list[Lesion], seed: int) -> None:
    for item in said(lesions, seed):
        if item.orientation_free:
            for image in turned(lesions):
                for text in item.texts:
                    assert fitting(text, image) == list(item.lesions), text


@settings(deadline=None)
@given(lesions=IMAGES, seed=SEEDS)
def test_groups_are_never_the_whole_image(lesions: list[Lesion], seed: int) -> None:
    asked = [item for item in said(lesions, seed) if all(map(asks_for_all, item.texts))]
    assert all(0 < len(item.lesions) < len(lesions) for item in asked)


def test_every_shape_is_asked_for_in_half_of_the_images() -> None:
    lesions = [Lesion(50, 100, 20, "VI", shape="oval"), Lesion(150, 100, 21, "II", shape="round")]
    share = 0.28 + 6 * 0.12 * 0.28 / 0.88  # drawn first, or second after one of six others
    found = []
    for seed in range(1000):
        texts = [
            text for item in said(lesions, seed) if all(map(asks_for_all, item.texts)) for text in item.texts
        ]
        shapes = [
            any(re.search(SIGNS["shape"][name], text.lower()) for text in texts) for name in ("oval", "round")
        ]
        assert shapes[0] == shapes[1]  # each answers, or none
        found.append(shapes[0])
    assert np.mean(found) == pytest.approx(share, abs=4 * np.sqrt(0.25 / 1000))


def test_lesions_that_look_alike_are_told_apart_by_their_place_alone() -> None:
    look = {"kind": "cyst", "density": "hypodense", "border": "sharp", "shape": "round"}
    lesions = [Lesion(50, 100, 20, "VI", **look), Lesion(150, 100, 21, "II", **look)]
    found = said(lesions, 0)
    assert [item.lesions for item in found if not item.orientation_free][:2] == [(0,), (1,)]
    assert not [item for item in found if item.orientation_free]  # what they share would mean both
    other = said([lesions[0], replace(lesions[1], diameter_mm=40)], 0)
    assert {(0,), (1,)} <= {item.lesions for item in other if item.orientation_free}  # the larger one


def test_the_same_seed_gives_the_same_sentences() -> None:
    lesions = [Lesion(50, 100, 20, "VI", "cyst", shape="oval"), Lesion(150, 100, 21, "II", shape="round")]
    assert said(lesions, 1) == said(lesions, 1) != said(lesions, 2)


def test_a_fifth_of_training_sentences_is_misspelt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slips are in 15 % of the longer words, so some of the fifth stay as they are."""
    monkeypatch.setattr(lesion_sentences, "TYPO_SHARE", SHARE)
    texts = [f"lesion number {number} with several long words beside others" for number in range(4000)]
    rng = np.random.default_rng(0)
    slipped = [text not in texts for text in lesion_sentences._misspelt(texts, rng)]
    untouched = 0.85**7  # of seven words of four letters or more
    assert np.mean(slipped) == pytest.approx(0.2 * (1 - untouched), abs=0.02)

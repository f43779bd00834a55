import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import InputError
from common.text.noise import add_typos
from common.text.vocabulary import Vocabulary, mentions_side, sides

VOCABULARY = Vocabulary.load()
DESCRIPTIONS = [text for organ in VOCABULARY.organs for text in organ.descriptions]
SPELLINGS = [spelling for organ in VOCABULARY.organs for spelling in organ.spellings]
WORDS = st.sampled_from(
    ["light", "cleft", "lift", "eft", "sight", "fright", "L", "rt", "left", "Right", "dextra", "L1"]
)
TEXTS = st.one_of(
    st.sampled_from(DESCRIPTIONS),
    st.lists(st.one_of(WORDS, st.sampled_from(SPELLINGS)), max_size=6).map(" ".join),
    st.text(max_size=40),
)
SEEDS = st.integers(0, 2**32 - 1)
SIDED_WORD = re.compile(r"\b(?:left|right|sinist|dext)\w*|\b(?:l|r|lt|rt)\b", re.IGNORECASE)


def distance(one: str, other: str) -> int:
    """Levenshtein distance, by its definition."""
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, start=1):
        previous, row[0] = row[0], i
        for j, b in enumerate(other, start=1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (a != b))
    return row[-1]


@given(text=TEXTS, seed=SEEDS)
def test_same_seed_gives_the_same_text_on_the_same_sides(text: str, seed: int) -> None:
    noisy = add_typos(text, np.random.default_rng(seed), rate=1.0)
    assert noisy == add_typos(text, np.random.default_rng(seed), rate=1.0)
    assert sides(noisy) == sides(text)


@given(text=st.one_of(st.sampled_from(DESCRIPTIONS), st.lists(WORDS, max_size=6).map(" ".join)), seed=SEEDS)
def test_words_that_name_a_side_are_never_edited(text: str, seed: int) -> None:
    noisy = add_typos(text, np.random.default_rng(seed), rate=1.0)
    assert SIDED_WORD.findall(noisy) == SIDED_WORD.findall(text)


@given(text=st.sampled_from(DESCRIPTIONS), seed=SEEDS)
def test_a_typo_changes_at_most_one_character_of_a_word(text: str, seed: int) -> None:
    noisy = add_typos(text, np.random.default_rng(seed), rate=1.0)
    for before, after in zip(re.split(r"\b", text), re.split(r"\b", noisy), strict=True):
        assert distance(before, after) <= (1 if before.isalpha() and len(before) >= 4 else 0)


def test_rate_of_typos_is_the_share_of_words() -> None:
    text = " ".join(["abdomen"] * 20_000)
    words = add_typos(text, np.random.default_rng(0), rate=0.1).split()
    # One edit in 78 changes nothing (a third of them replace, 1 of 26 by the same letter); the binomial
    # standard deviation of 2,000 of 20,000 is 42.
    assert sum(word != "abdomen" for word in words) == pytest.approx(2000 * (1 - 1 / 78), abs=4 * 42)
    assert add_typos(text, np.random.default_rng(0), rate=0.0) == text


@pytest.mark.parametrize("rate", [-0.1, 1.5, float("nan")])
def test_rate_outside_0_to_1_is_refused(rate: float) -> None:
    with pytest.raises(InputError, match=r"^rate of typos: found .*, expected a share from 0 to 1"):
        add_typos("liver", np.random.default_rng(0), rate=rate)


@given(seed=SEEDS)
def test_no_slip_makes_a_segment_of_the_liver(seed: int) -> None:
    text = " ".join(["segment", "Segment"] * 300)  # "segmenti" would be read as segment I
    assert not mentions_side(add_typos(text, np.random.default_rng(seed), rate=1.0))

"""Part of a sentence: its first words."""

import itertools
from fractions import Fraction

import pytest

from common.errors import InputError
from common.text.partial import part_of

CAPTION = "bilateral pulmonary infection, two infected areas, upper left lung and lower right lung."


@pytest.mark.parametrize(
    ("text", "share", "part"),
    [
        (CAPTION, Fraction(1, 4), "bilateral pulmonary infection, two"),  # 13 words: 3.25
        (CAPTION, 0.5, "bilateral pulmonary infection, two infected areas, upper"),
        (CAPTION, Fraction(3, 13), "bilateral pulmonary infection"),  # no comma at the end
        (CAPTION, 1, CAPTION),
        ("the  lesion", 1.0, "the  lesion"),
        ("lesion", 0.1, "lesion"),
        (" ".join(map(str, range(30))), 0.1, "0 1 2"),
        (", a", 0.5, ","),
    ],
)
def test_the_first_words(text: str, share: float, part: str) -> None:
    assert part_of(text, share) == part


def test_more_share_is_more_text() -> None:
    parts = [part_of(CAPTION, Fraction(number, 20)) for number in range(1, 21)]
    assert all(longer.startswith(shorter) for shorter, longer in itertools.pairwise(parts))
    assert len(set(parts)) == 13


@pytest.mark.parametrize("share", [0, -0.5, 1.5, float("nan")])
def test_other_shares_are_refused(share: float) -> None:
    with pytest.raises(InputError, match=r"share: found .*, expected more than 0 and at most 1"):
        part_of(CAPTION, share)

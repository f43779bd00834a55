"""The words of `referring`: facts become phrases, phrases become sentences.

The words stand in `expression_words.json`. Every fact has several phrasings, and sentences have several
patterns; some of both are held out from training, so that a benchmark can ask in phrases that a network has
not met. A phrasing stands before the noun, instead of it ("noun"), behind it after "with", or behind it.

Places compare a lesion with the others of its image, so their words must too: the leftmost of two may well
lie in the right half, where "on the left" is false of it. "The left lesion" compares, as in "the left one of
the two".
"""

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np

T = TypeVar("T")

Wording = Literal["training", "held_out"]
Said = tuple[str, str]  # attribute and value of a fact

SUPERLATIVES = ("size", "place")
BEFORE = ("size", "place", "diameter", "shape", "border", "density", "enhancement")  # the order of adjectives
BEHIND = ("density", "enhancement", "diameter", "segment", "lobe", "size", "place")
SPOKEN_WITH_VOWEL = ("a", "e", "i", "o", "une", "HCC", "FNH", "8", "11 ", "18 ")
MOST_BEFORE = 3  # adjectives before a noun; more are hard to read
NUMERALS = {"I": 1, "II": 2, "III": 3, "IV": 4, "V": 5, "VI": 6, "VII": 7, "VIII": 8}


class _Phrase(NamedTuple):
    attribute: str
    place: str  # before, noun, with or behind
    words: str


@cache
def _words() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(
        (Path(__file__).parent / "expression_words.json").read_text(encoding="utf-8")
    )
    return content


def sentence(facts: Sequence[Said], rng: np.random.Generator, wording: Wording, *, bare: bool) -> str:
    """A request for the lesion of which `facts` hold, or the `bare` phrase, such as "the largest cyst"."""
    phrase = "the " + _noun_phrase(facts, rng, wording)
    patterns = [*_words()["sentences"][wording], *_words()["sentences_about_one"][wording]]
    return phrase if bare else _pick(patterns, rng).format(phrase=phrase)


def sentence_about_all(
    fact: Said, rng: np.random.Generator, wording: Wording, *, bare: bool, several: bool
) -> str:
    """A request for all lesions of which `fact` holds, or the `bare` phrase, such as "all round lesions".

    Args:
        several: they are known to be two or more, so that "the round lesions" is true of them.
    """
    patterns = [*_words()["all"][wording], *(_words()["several"][wording] if several else [])]
    pattern = _pick(patterns, rng)
    plural = "{plural}" in pattern
    noun_phrase = _noun_phrase([fact], rng, wording, new=True, plural=plural)  # "all ones" is no English
    phrase = pattern.format(**{"plural" if plural else "singular": noun_phrase})
    return phrase if bare else _pick(_words()["sentences"][wording], rng).format(phrase=phrase)


def report(facts: Sequence[Said], rng: np.random.Generator, wording: Wording) -> str:
    """A finding as in a report: what a lesion is like, then how it compares with the others."""
    alone = [fact for fact in facts if fact[0] not in SUPERLATIVES]
    compared = [fact for fact in facts if fact[0] in SUPERLATIVES]
    phrase = _noun_phrase(alone, rng, wording, new=True)
    article = "an" if phrase.startswith(SPOKEN_WITH_VOWEL) else "a"
    text = _pick(_words()["reports"][wording], rng).format(phrase=f"{article} {phrase}")
    if compared:
        phrase = "the " + _noun_phrase(compared, rng, wording)
        text += " " + _pick(_words()["comparisons"][wording], rng).format(phrase=phrase)
    return text[0].upper() + text[1:]


def _noun_phrase(
    facts: Sequence[Said],
    rng: np.random.Generator,
    wording: Wording,
    *,
    new: bool = False,
    plural: bool = False,
) -> str:
    """Without an article: "largest hypodense lesion with blurred margins in segment IV".

    Args:
        new: the lesion is spoken of for the first time, where no "one" can stand for it.
        plural: of the noun.
    """
    general = [*_words()["nouns"][wording], *([] if new else _words()["pronouns"][wording])]
    chosen: list[_Phrase] = []
    for attribute, value in facts:
        phrases = _phrasings(attribute, value, wording)
        fitting = [phrase for phrase in phrases if _has_room(phrase, chosen)]
        chosen.append(_pick(fitting or phrases, rng))
    nouns = [phrase.words for phrase in chosen if phrase.place == "noun"]
    noun = nouns[0] if nouns else _pick(general, rng)
    features = " and ".join(phrase.words for phrase in chosen if phrase.place == "with")
    parts = [
        *_in_order(chosen, "before", BEFORE),
        plural_of(noun) if plural else noun,
        *([f"with {features}"] if features else []),
        *_in_order(chosen, "behind", BEHIND),
    ]
    return " ".join(parts)


def plural_of(noun: str) -> str:
    """Of a noun of `expression_words.json`: "abscess of the liver" -> "abscesses of the liver"."""
    head, *rest = noun.split(" of ", 1)
    for ending, many in (("sis", "ses"), ("ss", "sses"), ("us", "i"), ("ty", "ties"), ("", "s")):
        if head.endswith(ending):
            head = head.removesuffix(ending) + many
            break
    return " of ".join([head, *rest])


def _phrasings(attribute: str, value: str, wording: Wording) -> list[_Phrase]:
    values = _words()["facts"][attribute]
    places = values.get(value, values.get("*"))[wording]
    fields = {"value": value, "number": NUMERALS.get(value)}
    if attribute == "diameter":
        fields = {"mm": value, "cm": f"{int(value) / 10:g}"}
    return [
        _Phrase(attribute, place, words.format(**fields))
        for place, texts in places.items()
        for words in texts
    ]


def _has_room(phrase: _Phrase, chosen: Sequence[_Phrase]) -> bool:
    """Whether another adjective may stand before the noun; of superlatives one."""
    if phrase.place != "before":
        return True
    before = [other.attribute for other in chosen if other.place == "before"]
    superlative = phrase.attribute in SUPERLATIVES and any(name in SUPERLATIVES for name in before)
    return len(before) < MOST_BEFORE and not superlative


def _in_order(chosen: Sequence[_Phrase], place: str, attributes: Sequence[str]) -> list[str]:
    standing = [phrase for phrase in chosen if phrase.place == place]
    return [
        phrase.words for phrase in sorted(standing, key=lambda phrase: attributes.index(phrase.attribute))
    ]


def _pick(choices: Sequence[T], rng: np.random.Generator) -> T:
    return choices[int(rng.integers(len(choices)))]

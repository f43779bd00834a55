"""Referring expressions: from what is known of the lesions of an image to sentences that mean some of them.

A lesion has attributes; a `Fact` is one statement about a lesion beside the others, such as (size, largest).
`single_out` chooses few facts that together are true of one lesion alone (the incremental algorithm of
Dale and Reiter, Cognitive Science 19, 1995); `describe` puts facts into words (`expression_words`).
`groups` are the lesions that share a value, such as all round ones, and `describe_all` asks for them.

Left and right. Lobes and segments are the patient's, as anatomy names them. Places (leftmost, uppermost)
are those of the image as it is shown, where `x_mm` grows to the right and `y_mm` downwards.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

import numpy as np

from ..errors import InputError
from .expression_words import Wording, report, sentence, sentence_about_all

Level = Literal["short", "sentence", "report", "half", "quarter"]
LEVELS: tuple[Level, ...] = get_args(Level)

RIGHT_LOBE, LEFT_LOBE = ("V", "VI", "VII", "VIII"), ("I", "II", "III", "IV")
CHOICES: dict[str, tuple[str, ...]] = {
    "segment": LEFT_LOBE + RIGHT_LOBE,
    "kind": (
        *("cyst", "abscess", "metastasis", "haemangioma", "hepatocellular carcinoma"),
        "focal nodular hyperplasia",
    ),
    "density": ("hypodense", "hyperdense"),
    "enhancement": ("none", "homogeneous", "inhomogeneous", "rim"),
    "border": ("sharp", "blurred"),
    # A lobulated outline is made of smooth arcs, an irregular one is not; BI-RADS (4th edition) has both.
    "shape": ("round", "oval", "lobulated", "irregular"),
}

# How clear a difference must be before words rest on it.
CLEARLY_LARGER = 1.25  # ratio of diameters for "the largest"
OTHER_DIAMETER = 1.4  # ratio of diameters from which "32 mm" cannot mean the other one
CLEARLY_BESIDE_MM = 12.0  # between centres for "the leftmost"

# The paper's tests with 1/4 and 1/2 text take parts such as size and shape away: what stays longest first.
REPORT_ORDER = (
    "segment",
    "lobe",
    "kind",
    "density",
    "enhancement",
    "border",
    "place",
    "size",
    "diameter",
    "shape",
)
KEPT = {"report": 1.0, "half": 0.5, "quarter": 0.25}  # share of the facts


@dataclass(frozen=True)
class Lesion:
    """What is known of one lesion; None is not known.

    Attributes:
        x_mm, y_mm: centre, from the left edge and from the top of the image as it is shown.
        diameter_mm: longest diameter in the image.
        segment: Couinaud's, Roman numeral.
        kind, density, enhancement, border, shape: see `CHOICES`. `density` is in comparison with the liver.

    Raises:
        InputError: a value that `CHOICES` does not have, or a diameter that is not above 0.
    """

    x_mm: float
    y_mm: float
    diameter_mm: float
    segment: str | None = None
    kind: str | None = None
    density: str | None = None
    enhancement: str | None = None
    border: str | None = None
    shape: str | None = None

    def __post_init__(self) -> None:
        for name, allowed in CHOICES.items():
            value = getattr(self, name)
            if value is not None and value not in allowed:
                raise InputError(f"{name}: found {value!r}, expected one of {', '.join(allowed)}.")
        if not self.diameter_mm > 0:
            raise InputError(f"diameter_mm: found {self.diameter_mm}, expected a length above 0.")

    @property
    def lobe(self) -> str | None:
        """The patient's "left" or "right"."""
        if self.segment is None:
            return None
        return "right" if self.segment in RIGHT_LOBE else "left"

    @classmethod
    def read(cls, attributes: dict[str, Any], *, where: str) -> "Lesion":
        """From the object of a datalist.

        Raises:
            InputError: names `where`; a key is missing or unknown, or see `Lesion`.
        """
        try:
            return cls(**attributes)
        except (TypeError, InputError) as error:
            names = ", ".join(field.name for field in fields(cls))
            raise InputError(f"{where}: {error}; expected the attributes {names}.") from error


@dataclass(frozen=True)
class Fact:
    """One statement about a lesion.

    Attributes:
        attribute: a key of `CHOICES`, or lobe, diameter (value in whole mm), size (largest, smallest), place
            (leftmost, rightmost, uppermost, lowest).
        value: of that attribute.
    """

    attribute: str
    value: str


def facts_of(lesion: Lesion, others: Sequence[Lesion]) -> tuple[Fact, ...]:
    """Everything that is clearly true of `lesion` in an image with `others`, in the order of reports."""
    found = {
        name: str(getattr(lesion, name)) for name in (*CHOICES, "lobe") if getattr(lesion, name) is not None
    }
    if round(lesion.diameter_mm):  # "the 0 mm lesion" says nothing
        found["diameter"] = str(round(lesion.diameter_mm))
    facts = [Fact(name, value) for name, value in found.items()]
    facts += [Fact(name, value) for name, value in _superlatives(lesion, others)]
    return tuple(sorted(facts, key=lambda fact: REPORT_ORDER.index(fact.attribute)))


def rules_out(fact: Fact, other: Lesion) -> bool:
    """Whether `fact`, true of one lesion of an image, is clearly false of another one of it."""
    if fact.attribute in ("size", "place"):
        return True  # there is one largest
    if fact.attribute == "diameter":
        stated, found = float(fact.value), other.diameter_mm
        return max(stated, found) >= OTHER_DIAMETER * min(stated, found)
    found_here = getattr(other, fact.attribute)
    return found_here is not None and found_here != fact.value


def single_out(
    lesion: Lesion,
    others: Sequence[Lesion],
    rng: np.random.Generator,
    *,
    weights: Mapping[str, float] | None = None,
) -> tuple[Fact, ...]:
    """A few facts that hold for `lesion` and together for none of the others.

    Dale and Reiter's incremental algorithm: attributes are taken in an order of preference, and a fact is
    said if it rules out one of those that are left. The order is random here, so that each of several good
    descriptions occurs, but for the diameter, a number that people fall back on; a fact that later ones made
    superfluous goes again.

    Args:
        lesion, others, rng: see `describe`.
        weights: of attributes; one of weight 4 comes before one of weight 1 four times out of five, one of
            weight 0 is never said. Those that are not named weigh 1; None weighs all alike.

    Raises:
        InputError: no facts tell this lesion from all the others, or a weight that cannot be.
    """
    for name, weight in (weights or {}).items():
        if name not in REPORT_ORDER or weight < 0:
            raise InputError(
                f"weights: found {name!r}: {weight}, expected 0 or more for one of {', '.join(REPORT_ORDER)}."
            )
    chosen: list[Fact] = []
    left = list(others)
    for fact in _preferred(facts_of(lesion, others), rng, weights):
        remaining = [other for other in left if not rules_out(fact, other)]
        if len(remaining) < len(left):
            chosen.append(fact)
            left = remaining
    if left:
        raise InputError(
            f"lesions: {lesion} cannot be told from {left[0]} by their attributes, expected a clear "
            "difference; describe more of them."
        )
    for fact in list(chosen):
        rest = [said for said in chosen if said != fact]
        if rest and all(any(rules_out(said, other) for said in rest) for other in others):
            chosen = rest
    return tuple(chosen)


def groups(lesions: Sequence[Lesion]) -> dict[Fact, tuple[int, ...]]:
    """Indices in `lesions` of all those that share a value of one attribute, which is known of all lesions.

    Attributes are those of `CHOICES` and the lobe. A group may have one member, or all.
    """
    found: dict[Fact, tuple[int, ...]] = {}
    for name in (*CHOICES, "lobe"):
        values = [getattr(lesion, name) for lesion in lesions]
        if None in values:  # one of these may have the value, too
            continue
        for value in dict.fromkeys(values):
            found[Fact(name, value)] = tuple(i for i, other in enumerate(values) if other == value)
    return found


def report_facts(lesion: Lesion, others: Sequence[Lesion], *, share: float = 1.0) -> tuple[Fact, ...]:
    """The facts of a report, or the first `share` of them (rounded up), at least one.

    The paper takes parts such as size and shape away from the text of a trained network: 1/2 and 1/4 text.
    """
    facts = facts_of(lesion, others)
    if lesion.segment is not None:
        facts = tuple(fact for fact in facts if fact.attribute != "lobe")  # the segment says it
    return facts[: max(1, math.ceil(share * len(facts)))]


def describe(
    lesion: Lesion,
    others: Sequence[Lesion],
    *,
    level: Level,
    rng: np.random.Generator,
    wording: Wording = "training",
    weights: Mapping[str, float] | None = None,
) -> str:
    """One sentence about `lesion`; the same arguments and state of `rng` give the same one.

    Args:
        lesion: the one that is meant.
        others: the other lesions of the image.
        level: "short" (a noun phrase) and "sentence" say what singles the lesion out, and no more; "report"
            says all that is known, as radiologists do; "half" and "quarter" are reports cut to 1/2 and 1/4
            of their facts, which need not single it out.
        rng: of all choices.
        wording: "training", or "held_out" for phrases and patterns that "training" never uses
            (a single word of one may well stand in another).
        weights: of attributes, see `single_out`.

    Raises:
        InputError: an unknown level, or a lesion that cannot be singled out (short and sentence).
    """
    if level not in LEVELS:
        raise InputError(f"level: found {level!r}, expected one of {', '.join(LEVELS)}; choose one.")
    if level in KEPT:
        facts = report_facts(lesion, others, share=KEPT[level])
        return report([(fact.attribute, fact.value) for fact in facts], rng, wording)
    chosen = single_out(lesion, others, rng, weights=weights)
    return sentence([(fact.attribute, fact.value) for fact in chosen], rng, wording, bare=level == "short")


def describe_all(
    fact: Fact, *, rng: np.random.Generator, bare: bool, several: bool, wording: Wording = "training"
) -> str:
    """One request for all lesions of an image of which `fact` holds, such as "Show all round lesions."

    Args:
        fact: one of `groups`.
        rng, wording: see `describe`.
        bare: the noun phrase alone.
        several: there are two or more of them, so that "the round lesions" is true as well.
    """
    return sentence_about_all((fact.attribute, fact.value), rng, wording, bare=bare, several=several)


def _superlatives(lesion: Lesion, others: Sequence[Lesion]) -> Iterator[tuple[str, str]]:
    if not others:
        return
    diameter = lesion.diameter_mm
    if all(diameter >= CLEARLY_LARGER * other.diameter_mm for other in others):
        yield "size", "largest"
    if all(other.diameter_mm >= CLEARLY_LARGER * diameter for other in others):
        yield "size", "smallest"
    gaps = {
        "leftmost": min(other.x_mm - lesion.x_mm for other in others),
        "rightmost": min(lesion.x_mm - other.x_mm for other in others),
        "uppermost": min(other.y_mm - lesion.y_mm for other in others),
        "lowest": min(lesion.y_mm - other.y_mm for other in others),
    }
    for place, gap in gaps.items():
        if gap >= CLEARLY_BESIDE_MM:
            yield "place", place


def _preferred(
    facts: Sequence[Fact], rng: np.random.Generator, weights: Mapping[str, float] | None
) -> list[Fact]:
    """In random order, the diameter last."""
    if weights is None:
        shuffled = [facts[int(index)] for index in rng.permutation(len(facts))]
    else:  # a race: who waits for an exponential time, at the rate of his weight
        facts = [fact for fact in facts if weights.get(fact.attribute, 1.0) > 0]
        waits = [rng.exponential() / weights.get(fact.attribute, 1.0) for fact in facts]
        shuffled = [facts[int(index)] for index in np.argsort(waits)]
    return sorted(shuffled, key=lambda fact: fact.attribute == "diameter")

"""Words for an organ as training asks for them: names in sentences, descriptions, slips of the finger."""

import zlib
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from .noise import add_typos
from .vocabulary import Organ, Vocabulary

# What people write around a name. No sentence is in both lists: the second one tests what was learnt.
CARRIERS = (
    *("{}", "the {}", "segment the {}", "show the {}", "{} on CT", "outline the {}", "find the {}"),
    *("the whole {}", "mark the {} in this scan", "a mask of the {}"),
)
HELD_OUT_CARRIERS = (
    *("please contour the {}", "where is the {}?", "the {} in this image", "draw the border of the {}"),
    *("I would like to see the {}", "delineate all of the {}"),
)
# An organ, and a neighbour that only says where the organ lies or what is not meant.
RELATIONS = (
    *("the {organ}, next to the {neighbour}", "the {organ} beside the {neighbour}"),
    *("the {organ}, which touches the {neighbour}", "the {organ}, not the {neighbour}"),
    *("the {organ} close to the {neighbour}", "{organ} adjacent to the {neighbour}"),
    *("the {organ} bordering on the {neighbour}", "show the {organ} that lies by the {neighbour}"),
    *("only the {organ}, without the {neighbour}", "the {organ} and leave out the {neighbour}"),
    *("not the {neighbour}, the {organ}", "next to the {neighbour}, the {organ}"),
    "beside the {neighbour} lies the {organ}: segment the {organ}",
)
RELATION_RATE = 2 / 3  # of the sentences; the others name the organ alone
HELD_OUT_RELATIONS = ("the {organ} near the {neighbour}", "the {organ} but not the {neighbour}")
LEVELS = ("none", "simple", "sentence", "complex")
# Of the words of a prompt that is misspelt. Slips make more word pieces: at 0.4 two of three descriptions do
# not fit in the 96 that text encoders read, at 0.05 nearly all do.
TYPO_RATE, DESCRIPTION_TYPO_RATE = 0.4, 0.05
# Texts of each level for an organ; of sentences for each neighbour of it, or without one. A language model
# takes 8 ms for a name and 50 ms for a description (one CPU thread), as long as a slice takes in a step of
# `compact`. So training draws from a table of some thousand texts, each of which is encoded once.
POOLS = {"none": 1, "simple": 128, "sentence": 16, "complex": 16}


@dataclass(frozen=True)
class Phrasing:
    """How the texts of an organ are drawn, from a table of `POOLS` texts.

    Attributes:
        level: "none" (an empty text), "simple" (name or synonym), "sentence" (one of these in a sentence,
            two of three with a neighbour) or "complex" (the full description, its parts in any order that
            `Organ.descriptions` has).
        noise: share of the texts with misspelt words (two of five; of a description one of twenty).
            Capitals stay: uncased language models drop them, and a cased one, such as BioBERT, reads
            "LIVER" as word pieces that it has hardly met.
    """

    level: str
    noise: float = 0.0

    def __post_init__(self) -> None:
        if self.level not in LEVELS:
            raise InputError(
                f"text level: found {self.level!r}, expected one of none, simple, sentence, complex; "
                "choose one."
            )
        if not 0.0 <= self.noise <= 1.0:
            raise InputError(f"noise: found {self.noise}, expected a share from 0 to 1.")

    def draw(
        self,
        organ: Organ,
        vocabulary: Vocabulary,
        rng: np.random.Generator,
        *,
        beside: Collection[str] = (),
    ) -> str:
        """A text for `organ`; a neighbour in it is one of those named in `beside` if any is.

        Names of organs that the same image is asked for make the hardest sentences: two of them hold the
        same two names and mean different masks.
        """
        neighbour = _neighbour(organ, vocabulary, rng, beside) if self.level == "sentence" else ""
        return self._text(organ, neighbour, int(rng.integers(POOLS[self.level])))

    def texts(self, organ: Organ, vocabulary: Vocabulary) -> set[str]:
        """All texts that `draw` may give for an organ."""
        names = [vocabulary.organ(name).name for name in organ.neighbours] if self.level == "sentence" else []
        numbers = range(POOLS[self.level])
        return {self._text(organ, neighbour, number) for neighbour in ("", *names) for number in numbers}

    def _text(self, organ: Organ, neighbour: str, number: int) -> str:
        """Text `number` of the table of an organ, and of a sentence also of its neighbour."""
        name = f"{self.level}|{organ.name}|{neighbour}"
        rng = np.random.default_rng((number, zlib.crc32(name.encode())))
        if self.level == "none":
            return ""
        if self.level == "sentence":
            text = _one(RELATIONS if neighbour else CARRIERS, rng)
            text = text.format(
                _one(organ.spellings, rng), organ=_one(organ.spellings, rng), neighbour=neighbour
            )
        else:
            text = _one(organ.texts(self.level), rng)
        if rng.random() < self.noise:
            rate = DESCRIPTION_TYPO_RATE if self.level == "complex" else TYPO_RATE
            text = add_typos(text, rng, rate=rate)
        return text


def _neighbour(
    organ: Organ, vocabulary: Vocabulary, rng: np.random.Generator, beside: Collection[str]
) -> str:
    """The name of a neighbour that a sentence is to hold; "" for none."""
    if not organ.neighbours or rng.random() >= RELATION_RATE:
        return ""
    near = [neighbour for neighbour in organ.neighbours if neighbour in beside]
    return vocabulary.organ(_one(near or organ.neighbours, rng)).name


def _one(texts: "tuple[str, ...] | list[str]", rng: np.random.Generator) -> str:
    return texts[rng.integers(len(texts))]

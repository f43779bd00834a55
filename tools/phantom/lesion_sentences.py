"""What the items of referring phantoms say of their lesions."""

from collections.abc import Callable, Collection, Mapping

import numpy as np
from numpy.random import Generator

from common.errors import InputError
from common.text.noise import add_typos
from common.text.referring import REPORT_ORDER, Lesion, Level, describe, single_out

Say = Callable[[Lesion, list[Lesion], Generator], list[str]]  # of a lesion among others

ATTRIBUTES = REPORT_ORDER
TRAINING: dict[Level, int] = {"short": 6, "sentence": 6, "report": 3}  # sentences of each training item
# What networks learn last is said more often in training (the bundle's README has what they learnt).
HARD_TO_SEE = {"shape": 4.0, "border": 4.0, "enhancement": 2.0, "size": 2.0}
TYPO_RATE, TYPO_SHARE = 0.15, 0.2  # of the words of a misspelt sentence, and of training sentences


def test_sentences(lesion: Lesion, others: list[Lesion], rng: Generator) -> list[str]:
    """One sentence of each level, with every attribute alike."""
    return [describe(lesion, others, level=level, rng=rng) for level in TRAINING]


def training_sentences(attributes: Collection[str]) -> Say:
    """Several sentences of each level, some misspelt, as `HARD_TO_SEE` weighs their attributes.

    Where `attributes` are not all of `ATTRIBUTES`, sentences rest on these alone: there are no reports, and
    nothing is said of a lesion that they do not single out.
    """
    weights = {name: HARD_TO_SEE.get(name, 1.0) if name in attributes else 0.0 for name in ATTRIBUTES}
    levels = [level for level in TRAINING if level != "report" or all(weights.values())]

    def say(lesion: Lesion, others: list[Lesion], rng: Generator) -> list[str]:
        if not _told_apart(lesion, others, weights):
            return []
        texts = [
            describe(lesion, others, level=level, rng=rng, weights=weights)
            for level in levels
            for _ in range(TRAINING[level])
        ]
        texts = [
            add_typos(text, rng, rate=TYPO_RATE) if rng.random() < TYPO_SHARE else text for text in texts
        ]
        return list(dict.fromkeys(texts))

    return say


def _told_apart(lesion: Lesion, others: list[Lesion], weights: Mapping[str, float]) -> bool:
    try:
        single_out(lesion, others, np.random.default_rng(0), weights=weights)
    except InputError:
        return False
    return True

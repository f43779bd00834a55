"""What the items of referring phantoms say of the lesions of their images."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from common.errors import InputError
from common.text.expressions import Lesion, Level, describe, describe_all, groups, single_out
from common.text.noise import add_typos


class Said(NamedTuple):
    """Sentences that mean the same lesions of an image.

    Attributes:
        lesions: indices among those of the image.
        texts: at least one.
        orientation_free: whether they stay true where the image is turned.
    """

    lesions: tuple[int, ...]
    texts: list[str]
    orientation_free: bool = False


Say = Callable[[Sequence[Lesion], Generator], list[Said]]  # of the lesions of an image

PLACED = ("place", "segment", "lobe")  # not true any more where the image is turned
# Sentences of each training item; `FEWER`: of those beside the items that mean each lesion, without reports.
TRAINING: dict[Level, int] = {"short": 6, "sentence": 6, "report": 3}
FEWER: dict[Level, int] = {"short": 4, "sentence": 4}
# What networks learn last is said more often in training (the bundle's README has what they learnt).
HARD_TO_SEE = {"shape": 4.0, "border": 4.0, "enhancement": 2.0, "size": 2.0}
# How often groups rest on what they share.
SHARED = {
    "shape": 0.28,
    **dict.fromkeys(("kind", "density", "enhancement", "border", "segment", "lobe"), 0.12),
}
TYPO_RATE, TYPO_SHARE = 0.15, 0.2  # of the words of a misspelt sentence, and of training sentences


def test_sentences(lesions: Sequence[Lesion], rng: Generator) -> list[Said]:
    """Of each lesion one sentence of each level, with every attribute alike."""
    return [
        Said((index,), [describe(lesion, others, level=level, rng=rng) for level in TRAINING])
        for index, lesion, others in _each(lesions)
    ]


def training_sentences(lesions: Sequence[Lesion], rng: Generator) -> list[Said]:
    """Several sentences of each level, some misspelt, as `HARD_TO_SEE` weighs their attributes.

    Of each lesion; of each whose looks alone single it out, without `PLACED`; and of groups that share one of
    two things, the shape in half of the images.
    """
    alone = [
        Said((index,), _several(lesion, others, rng, HARD_TO_SEE, TRAINING))
        for index, lesion, others in _each(lesions)
    ]
    looks = {**HARD_TO_SEE, **dict.fromkeys(PLACED, 0.0)}
    by_looks = [
        Said((index,), _several(lesion, others, rng, looks, FEWER), orientation_free=True)
        for index, lesion, others in _each(lesions)
        if _told_apart(lesion, others, looks)
    ]
    shared = rng.choice(list(SHARED), size=2, replace=False, p=list(SHARED.values()))
    return [*alone, *by_looks, *_of_groups(lesions, rng, shared.tolist())]


def _each(lesions: Sequence[Lesion]) -> Iterator[tuple[int, Lesion, list[Lesion]]]:
    """Index, lesion and the others."""
    for index, lesion in enumerate(lesions):
        yield index, lesion, [other for other in lesions if other is not lesion]


def _of_groups(lesions: Sequence[Lesion], rng: Generator, attributes: Collection[str]) -> Iterator[Said]:
    """Of those that are not all lesions of the image: of these every word would be true."""
    for fact, members in groups(lesions).items():
        if fact.attribute in attributes and len(members) < len(lesions):
            texts = [
                describe_all(fact, rng=rng, bare=level == "short", several=len(members) > 1)
                for level, count in FEWER.items()
                for _ in range(count)
            ]
            yield Said(members, _misspelt(texts, rng), orientation_free=fact.attribute not in PLACED)


def _several(
    lesion: Lesion,
    others: Sequence[Lesion],
    rng: Generator,
    weights: Mapping[str, float],
    levels: Mapping[Level, int],
) -> list[str]:
    """As many sentences of each level as `levels` says, some misspelt, each once."""
    texts = [
        describe(lesion, others, level=level, rng=rng, weights=weights)
        for level, count in levels.items()
        for _ in range(count)
    ]
    return _misspelt(texts, rng)


def _misspelt(texts: Sequence[str], rng: Generator) -> list[str]:
    """The texts with slips in some of them, each once."""
    slipped = (add_typos(text, rng, rate=TYPO_RATE) if rng.random() < TYPO_SHARE else text for text in texts)
    return list(dict.fromkeys(slipped))


def _told_apart(lesion: Lesion, others: Sequence[Lesion], weights: Mapping[str, float]) -> bool:
    try:
        single_out(lesion, others, np.random.default_rng(0), weights=weights)
    except InputError:
        return False
    return True

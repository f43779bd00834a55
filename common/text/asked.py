"""Which organs a prompt asks for, where its words leave no doubt."""

import re
from functools import lru_cache

from .phrases import CARRIERS, HELD_OUT_CARRIERS, HELD_OUT_RELATIONS, RELATIONS
from .vocabulary import Organ, Vocabulary

# What may follow the name of the organ that is meant: words that say where it lies or what it is.
_FOLLOWING = (
    *("left of", "right of", "to the left", "to the right", "on the", "in the", "in front of", "at the"),
    *("above", "below", "beneath", "under", "over", "behind", "between", "beside", "next to", "near"),
    *("close to", "adjacent to", "lateral to", "medial to", "anterior to", "posterior to", "superior to"),
    *("inferior to", "which", "that", "lying", "the", "a", "an"),
)


@lru_cache(maxsize=1)
def _vocabulary() -> Vocabulary:
    return Vocabulary.load()


@lru_cache(maxsize=1)
def _templates() -> tuple[re.Pattern[str], ...]:
    """Sentences of training and of its tests, and a name that words of place follow."""
    carried = []
    for template in (*CARRIERS, *HELD_OUT_CARRIERS):
        before, after = template.rstrip("?").split("{}")
        carried.append(rf"{re.escape(before)}(?P<organ>.+?){re.escape(after)}")
    for template in (*RELATIONS, *HELD_OUT_RELATIONS):
        pattern = re.escape(template).replace(r"\{organ\}", "(?P<organ>.+?)", 1)
        carried.append(
            pattern.replace(r"\{organ\}", "(?P=organ)").replace(r"\{neighbour\}", "(?P<other>.+?)")
        )
    following = "|".join(_FOLLOWING)
    carried.append(rf"(?:the )?(?P<organ>.+?),? (?:{following})\b.*")
    return tuple(re.compile(pattern, re.IGNORECASE) for pattern in carried)


def asked_organs(text: str) -> tuple[Organ, ...]:
    """The organs of the vocabulary that a text asks for; () where that is not clear.

    It knows a name or synonym, a pair ("both kidneys"), a description of the vocabulary, the sentences of
    training, and a name followed by where it lies ("the spleen, left of the stomach"). Everything else, such
    as "lesion in the liver" or "liver and spleen", is not clear.
    """
    vocabulary = _vocabulary()
    words = " ".join(text.split()).rstrip(".?!")
    if (organ := vocabulary.find(words)) is not None:
        return (organ,)
    if (pair := vocabulary.pair(words)) is not None:
        return pair
    for organ in vocabulary.organs:
        if words in (description.rstrip(".") for description in organ.descriptions):
            return (organ,)
    for template in _templates():
        found = template.fullmatch(words)
        if found and (organ := vocabulary.find(found["organ"])) is not None:
            other = found.groupdict().get("other")
            if other is None or vocabulary.find(other) is not None:
                return (organ,)
    return ()


def pieces_of(text: str) -> int | None:
    """How many connected parts what a text asks for has at most; None where that is not known."""
    organs = asked_organs(text)
    counts = [organ.pieces for organ in organs if organ.pieces is not None]
    return sum(counts) if organs and len(counts) == len(organs) else None

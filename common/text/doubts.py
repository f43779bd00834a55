"""What a prompt says that no network here can be trusted to understand: negation, and other languages.

A network draws something for any words. Nothing here changes them; who asks is warned.
"""

import json
import re
import unicodedata
from functools import lru_cache
from pathlib import Path

from .phrases import HELD_OUT_RELATIONS, RELATIONS
from .vocabulary import Vocabulary

_NEGATION = re.compile(
    r"\b(no|not|none|nothing|never|neither|nor|without|except|excepting|excluding|exclude|excludes|minus"
    r"|absent|absence|lacks?|lacking|free (?:of|from)|negative for|apart from|other than|outside|rather than"
    r"|(?:all|everything|anything) but)\b|n['\u2019]t\b",
    re.IGNORECASE,
)
# What sentences of training say of one lesion
_LEARNT = re.compile(
    r"\b(?:no|without|absent|not taking up) (?:enhancement|contrast uptake|uptake of contrast|contrast)\b"
    r"|\bnot another one\b",
    re.IGNORECASE,
)
# Organs, sides and small words of languages in our letters, none of which is English or Latin
_FOREIGN_WORDS = Path(__file__).parent / "foreign_words.json"


def doubts(text: str) -> list[str]:
    """Sentences on what a prompt says in words that are not understood; empty for most prompts."""
    found = [_negation(text), _language(text)]
    return [one for one in found if one is not None]


@lru_cache(maxsize=1)
def _vocabulary() -> Vocabulary:
    return Vocabulary.load()


@lru_cache(maxsize=1)
def _foreign() -> dict[str, str]:
    """{word: language}."""
    content = json.loads(_FOREIGN_WORDS.read_text("utf-8"))
    return {word: language for language, words in content.items() for word in words}


def _negation(text: str) -> str | None:
    found = _NEGATION.search(_LEARNT.sub(" ", text))
    if found is None or _is_learnt_relation(text):
        return None
    return (
        f"{found[0]!r} denies something, and negation is not understood: everything that {text!r} names is "
        "drawn anyway; name only what you want drawn."
    )


def _is_learnt_relation(text: str) -> bool:
    """Whether it is a sentence of training, such as "the liver, not the spleen"."""
    known = _vocabulary().find
    for template in (*RELATIONS, *HELD_OUT_RELATIONS):
        pattern = re.escape(template).replace(r"\{organ\}", "(.+)").replace(r"\{neighbour\}", "(.+)")
        names = re.fullmatch(pattern, text.strip().rstrip("."), re.IGNORECASE)
        if names is not None and all(known(name) is not None for name in names.groups()):
            return True
    return False


def _language(text: str) -> str | None:
    script = next((name for name in map(_script, text) if name not in (None, "LATIN")), None)
    if script is not None:
        found = f"letters of another script ({script.capitalize()})"
    else:
        words = re.findall(r"\w+", unicodedata.normalize("NFC", text).casefold())
        foreign = next((word for word in words if word in _foreign()), None)
        if foreign is None or _vocabulary().find(text) is not None:
            return None
        found = f"the word {foreign!r} ({_foreign()[foreign]})"
    return (
        f"{text!r} has {found}; the language models here read English, so the mask may be wrong; ask in "
        "English."
    )


def _script(letter: str) -> str | None:
    """The script of a letter, such as CYRILLIC; None of other characters."""
    return unicodedata.name(letter, "UNKNOWN").split()[0] if letter.isalpha() else None

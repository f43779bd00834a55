"""The organs that the project has words for: names, synonyms, sides, neighbours and descriptions.

The data stand in `vocabulary.json` beside this file (checked by `vocabulary.schema.json`). Left and right
are always the patient's. This module imports nothing heavy: `python -m tools.prompts` answers at once.
"""

import difflib
import json
import logging
import os
import re
import textwrap
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..errors import InputError
from ..user_text import read_user_text

Side = Literal["left", "right"]

_log = logging.getLogger(__name__)

_FOLDER = Path(__file__).parent
REGIONS = ("head and neck", "thorax", "abdomen", "pelvis")  # groups: of the body, from the top
_LEVELS = ("none", "simple", "complex")
_SLIP = 3  # letters; a name that ends in what was typed and is longer by as many is another word
_CUTOFF = 0.7  # difflib ratio: one wrong letter in a word of four or more still finds it

# A word is sided when it starts like one of these (leftward, dextra, sinistrum) or is one of the short
# forms. "L1" is one word, so that levels of the spine have no side; "bright" and "cleft" have none either.
_SIDED_STARTS: dict[Side, tuple[str, ...]] = {
    "left": ("left", "sinist"),
    "right": ("right", "dext"),
}
_SIDED_WORDS: dict[str, Side] = {
    "l": "left",
    "lt": "left",
    "sin": "left",
    "sx": "left",
    "r": "right",
    "rt": "right",
    "dx": "right",
}
# "segment IVa", "segments 5 and 6", "S8", but not "segment a lesion".
_NUMBERED_SEGMENT = re.compile(
    r"(?<![a-z])seg(ment(um|s)?)?[\W_]*"
    r"((viii|vii|vi|iv|v|iii|ii|i|[1-8])[ab]?|one|two|three|four|five|six|seven|eight)(?![a-z0-9])"
    r"|(?<![a-z0-9])s[1-8][ab]?(?![a-z0-9])",
    re.IGNORECASE,
)

_BOTH = re.compile(
    r"(?:the )?(?P<both>both(?: of)?|two|bilateral|left and right|right and left)? ?(?:the )?(?P<noun>.+)"
)


def sides(text: str) -> frozenset[Side]:
    """The sides of the body that `text` names, also in Latin or short (L kidney, ParotidR, kidney_left)."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])|_", " ", text)
    found: set[Side] = set()
    for word in re.findall(r"\w+", apart.casefold()):
        found.update(side for side, starts in _SIDED_STARTS.items() if word.startswith(starts))
        if word in _SIDED_WORDS:
            found.add(_SIDED_WORDS[word])
    return frozenset(found)


def _without_side(name: str) -> str:
    return name.removeprefix("left ").removeprefix("right ")


def mentions_side(text: str) -> bool:
    """Whether `text` means a place of one side, so that its image must not be flipped from left to right.

    That is left, right, or a segment of the liver (Couinaud's I to VIII, which are numbered clockwise).
    """
    return bool(sides(text)) or _NUMBERED_SEGMENT.search(text) is not None


@dataclass(frozen=True)
class Organ:
    """One structure and the words for it.

    Attributes:
        name: canonical name, lower case.
        laterality: the patient's side of one organ of a pair; None for an unpaired organ.
        pieces: how many connected parts it has at most where a scan shows all of it; None = not known.
        synonyms: other spellings and names, Latin, short and lay.
        neighbours: canonical names of adjacent organs of the same vocabulary.
        groups: the groups that it belongs to, such as "abdomen" or "flare22".
        parts: of its description: position, neighbours, appearance, each a sentence that names the organ.
        source: anatomy texts that position and neighbours can be checked against.
    """

    name: str
    laterality: Side | None
    synonyms: tuple[str, ...]
    neighbours: tuple[str, ...]
    groups: tuple[str, ...]
    parts: tuple[str, ...]
    source: str
    pieces: int | None = None

    @property
    def spellings(self) -> tuple[str, ...]:
        """The canonical name, then the synonyms."""
        return (self.name, *self.synonyms)

    @property
    def descriptions(self) -> tuple[str, ...]:
        """The full description, then the same one begun at each of its other parts."""
        return tuple(" ".join(self.parts[start:] + self.parts[:start]) for start in range(len(self.parts)))

    def texts(self, level: str) -> list[str]:
        """The prompts of a level of detail (Med-VLM, Table 2).

        "none" gives one empty text, "simple" the name and its synonyms, "complex" the descriptions, each of
        them the whole one.

        Raises:
            InputError: another level.
        """
        if level not in _LEVELS:
            raise InputError(
                f"text level: found {level!r}, expected one of {', '.join(_LEVELS)}; choose one of them."
            )
        return {"none": [""], "simple": list(self.spellings), "complex": list(self.descriptions)}[level]


class Vocabulary:
    """Organs that can be found by any of their names; case, spaces, hyphens and underscores do not matter."""

    def __init__(self, organs: Iterable[Organ], groups: Mapping[str, tuple[str, ...]]) -> None:
        """Index `organs`; `groups` maps a group to canonical names in order (a dataset's in label order).

        Raises:
            InputError: a name or synonym that two organs share, or a neighbour or member that is not there.
        """
        self.organs = tuple(organs)
        self.groups = dict(groups)
        self._by_key: dict[str, Organ] = {}
        for organ in self.organs:
            for spelling in organ.spellings:
                if self._by_key.setdefault(_key(spelling), organ) is not organ:
                    other = self._by_key[_key(spelling)].name
                    raise InputError(
                        f"vocabulary: {spelling!r} stands for {other!r} and {organ.name!r}, "
                        "expected one organ for each spelling; remove it from one of them."
                    )
        self._check_references()

    @classmethod
    def load(cls, path: str | os.PathLike[str] | None = None) -> "Vocabulary":
        """Read the vocabulary at `path` (JSON), or the project's own.

        Raises:
            InputError: the file is missing, is not JSON, breaks the schema or contradicts itself.
        """
        path = Path(path) if path is not None else _FOLDER / "vocabulary.json"
        try:
            content = json.loads(read_user_text(path, what="vocabulary"))
        except InputError:  # which is a ValueError too
            raise
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}: found no valid JSON ({error}), expected a vocabulary.") from error
        _check_schema(path, content)
        groups = {name: tuple(members) for name, members in content["groups"].items()}
        organs = [
            Organ(
                name=entry["name"],
                laterality=entry["laterality"],
                synonyms=tuple(entry["synonyms"]),
                neighbours=tuple(entry["neighbours"]),
                groups=tuple(group for group, members in groups.items() if entry["name"] in members),
                parts=tuple(entry["parts"]),
                source=entry["source"],
                pieces=entry["pieces"],
            )
            for entry in content["organs"]
        ]
        return cls(organs, groups)

    def find(self, text: str) -> Organ | None:
        """The organ that `text` as a whole names, or None."""
        return self._by_key.get(_key(text))

    def pair(self, text: str) -> tuple[Organ, Organ] | None:
        """The left and the right organ of a text that asks for both and is no name itself.

        Such as "both kidneys", "kidneys" or "the left and right kidney"; not "kidney", which is one of them.
        """
        words = re.sub(r"[\s_\-]+", " ", text.casefold()).strip()
        found = _BOTH.fullmatch(words)
        if found is None or self.find(text) is not None or not (found["both"] or words.endswith("s")):
            return None
        for noun in (found["noun"], found["noun"].removesuffix("s")):
            left, right = self.find(f"left {noun}"), self.find(f"right {noun}")
            if left is not None and right is not None and left is not right:
                return left, right
        return None

    def same(self, one: str, other: str) -> bool:
        """Whether two names mean one organ: they are spelt alike, or the vocabulary has both for it."""
        organ = self.find(one)
        return _key(one) == _key(other) or (organ is not None and organ is self.find(other))

    def organ(self, name: str) -> Organ:
        """The organ of a name or synonym.

        Raises:
            InputError: no organ has that name; the sentence offers the nearest ones.
        """
        found = self.find(name)
        if found is not None:
            return found
        near = [repr(candidate) for candidate in self._nearest(name)]
        hint = f"did you mean {' or '.join(near)}?" if near else "python -m tools.prompts lists all of them."
        raise InputError(f"organ: found {name!r}, expected a name or synonym of the vocabulary; {hint}")

    def organ_or_own(self, name: str) -> Organ:
        """The organ of a name or synonym, or one of the user's own, whose name is all the text there is.

        The log says when a name is not in the vocabulary, and which known one is spelt alike.
        """
        found = self.find(name)
        if found is not None:
            return found
        near = self.suggest(name)
        hint = f" (did you mean {near!r}?)" if near else ""
        _log.warning("%r is not in the vocabulary%s: its name is its only prompt", name, hint)
        side = sides(name)
        laterality = next(iter(side)) if len(side) == 1 else None
        return Organ(name, laterality, synonyms=(), neighbours=(), groups=(), parts=(name,), source="")

    def suggest(self, text: str) -> str | None:
        """The canonical name nearest to `text` in spelling, never of the other side, or None."""
        return next(iter(self._nearest(text)), None)

    def suggestions(self, text: str) -> list[str]:
        """`suggest`, and the same organ of the other side where it is as near ("kidney" names none)."""
        near = self._nearest(text)
        return [name for name in near if _without_side(name) == _without_side(near[0])]

    def group(self, name: str) -> list[Organ]:
        """The organs of a group, in its order.

        Raises:
            InputError: no such group.
        """
        for group, members in self.groups.items():
            if _key(group) == _key(name):
                return [self.organ(member) for member in members]
        raise InputError(
            f"group: found {name!r}, expected one of {', '.join(self.groups)}; choose one of them."
        )

    def absent_from(self, regions: Iterable[str]) -> list[Organ]:
        """Organs that a scan of these `REGIONS` surely does not show.

        A scan may reach into the regions next to those it is meant to show, as one of head and neck shows the
        tops of the lungs, so only organs of none of these are surely absent.

        Raises:
            InputError: no region, or another one.
        """
        named = set(regions)
        if not named or not named <= set(REGIONS):
            raise InputError(
                f"region: found {', '.join(sorted(named)) or 'none'}, expected some of "
                f"{', '.join(REGIONS)}; choose from these."
            )
        shown = [
            region
            for place, region in enumerate(REGIONS)
            if named & set(REGIONS[max(0, place - 1) : place + 2])
        ]
        return [organ for organ in self.organs if not set(shown) & set(organ.groups)]

    def _nearest(self, text: str, count: int = 3) -> list[str]:
        """Canonical names of up to `count` organs, nearest first, none on a side that `text` excludes."""
        wanted = sides(text)
        keys = [
            key for key, organ in self._by_key.items() if not wanted or organ.laterality in (None, *wanted)
        ]
        # "bladder" is a word of its own and no slip of "gallbladder"
        keys = [key for key in keys if len(key) < len(_key(text)) + _SLIP or not key.endswith(_key(text))]
        near = difflib.get_close_matches(_key(text), keys, n=len(keys) or 1, cutoff=_CUTOFF)
        return list(dict.fromkeys(self._by_key[key].name for key in near))[:count]

    def _check_references(self) -> None:
        names = {organ.name for organ in self.organs}
        lists = {f"neighbours of {organ.name!r}": organ.neighbours for organ in self.organs}
        lists |= {f"group {group!r}": members for group, members in self.groups.items()}
        for where, members in lists.items():
            for member in members:
                if member not in names:
                    raise InputError(f"vocabulary: {where} has {member!r}, expected canonical names.")


def _key(text: str) -> str:
    """What two spellings of one name share: `Gall-Bladder`, `gall bladder` and `gallbladder` are the same."""
    return re.sub(r"[\s_\-\u2010-\u2015]+", "", unicodedata.normalize("NFKC", text).casefold())


def _check_schema(path: Path, content: Any) -> None:
    import jsonschema  # 0.1 s that a mere import of this module need not take

    schema = json.loads((_FOLDER / "vocabulary.schema.json").read_text(encoding="utf-8"))
    error = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(schema).iter_errors(content))
    if error is not None:
        found = textwrap.shorten(error.message, 200)  # some messages quote the whole file
        raise InputError(
            f"{path}: found at {error.json_path} that {found}, expected the shape that "
            "vocabulary.schema.json describes."
        )

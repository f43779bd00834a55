"""The file of a bank of texts: an `.npz` with their rows, and how they were encoded."""

import json
import os
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..errors import InputError
from ..files import atomic_path
from ..weights.pretrained import FrozenBase
from .encoders import Cut

ARRAYS = ("texts", "lengths", "tokens", "embedded", "cuts", "made")
PROJECTION = "projection"  # one more array where the first token is not the sentence vector
NOTHING_CUT = (0, 0, 0)  # in place of a `Cut`


@dataclass(frozen=True)
class Row:
    """One encoded text: last hidden states and embeddings of its T tokens, (T, D) float32 each.

    `cut` says where it was cut, if it was too long.
    """

    tokens: np.ndarray
    embedded: np.ndarray
    cut: Cut | None

    @property
    def size(self) -> int:
        """Bytes."""
        return self.tokens.nbytes + self.embedded.nbytes


@dataclass(frozen=True)
class Made:
    """How the texts of a bank were encoded: which language model, its `dtype`, what of a text it reads."""

    base: FrozenBase
    max_tokens: int
    dtype: str


def read_bank(path: str | os.PathLike[str]) -> tuple[Made, dict[str, Row]]:
    """How the texts of a bank were encoded, and the texts.

    Raises:
        InputError: the file is no bank.
    """
    with _opened(path) as file:
        texts, lengths, tokens, embedded, cuts, made = (file[name] for name in ARRAYS)
        ends = np.cumsum(lengths)
        rows = {
            str(text): Row(tokens[end - length : end], embedded[end - length : end], _cut(cut))
            for text, length, end, cut in zip(texts, lengths, ends, cuts, strict=True)
        }
        if not rows or tokens.ndim != 2 or tokens.shape != embedded.shape or len(tokens) != ends[-1]:
            raise ValueError("its arrays do not fit together")
        record = json.loads(str(made))
        return Made(**{**record, "base": FrozenBase(**record["base"])}), rows


def read_projection(path: str | os.PathLike[str]) -> np.ndarray | None:
    """What makes sentence vectors of a bank's texts, see `SentenceVectors.sentence_projection`.

    Raises:
        InputError: the file is no bank.
    """
    with _opened(path) as file:
        if PROJECTION not in file:
            return None
        projection, width = file[PROJECTION], file["tokens"].shape[1]
        if projection.dtype != np.float32 or projection.ndim != 2 or projection.shape[1] != width:
            raise ValueError("its projection does not fit its texts")
        return projection


@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[Any]:
    """The arrays of a bank by name; whatever is wrong with them is an InputError."""
    try:
        with np.load(path, allow_pickle=False) as file:
            yield file
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path}: cannot be read as a bank of texts ({error}), expected an .npz of an earlier run; "
            "delete it or name another file."
        ) from error


def write_bank(
    path: str | os.PathLike[str],
    rows: Mapping[str, Row],
    made: Made,
    projection: np.ndarray | None = None,
) -> None:
    """Write encoded texts, atomically. Rows of different lengths stand one after the other.

    Args:
        path: of the `.npz`.
        rows: {text: what it was encoded as}.
        made: how.
        projection: (S, D) float32, see `read_projection`.

    Raises:
        InputError: the folder cannot be written to, or the disk is full.
    """
    with atomic_path(path) as temporary:
        more: dict[str, Any] = {} if projection is None else {PROJECTION: projection}
        try:
            np.savez(  # not compressed: numbers of a language model hardly get smaller, and it takes long
                temporary,
                texts=np.array(list(rows)),
                lengths=np.array([len(row.tokens) for row in rows.values()]),
                tokens=np.concatenate([row.tokens for row in rows.values()]),
                embedded=np.concatenate([row.embedded for row in rows.values()]),
                cuts=np.array([row.cut or NOTHING_CUT for row in rows.values()]),
                made=np.array(json.dumps(asdict(made))),
                **more,
            )
        except OSError as error:
            raise InputError(
                f"{path}: the bank of texts cannot be written ({error.strerror}); make room on the disk or "
                "name another file."
            ) from error


def _cut(numbers: np.ndarray) -> Cut | None:
    return Cut(*numbers.tolist()) if numbers.any() else None

"""A file of encoded texts, so that known prompts need no language model."""

import os
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from ..errors import InputError
from ..files import atomic_path

if TYPE_CHECKING:
    from ..networks.base import TextFeatures

ARRAYS = ("texts", "lengths", "tokens", "mask", "weights_sha256")


@dataclass(frozen=True)
class Row:
    """One encoded text: tokens (T, C) float32 and mask (T,) bool, up to the last real token."""

    tokens: np.ndarray
    mask: np.ndarray


def encode_with_bank(
    path: str | os.PathLike[str],
    texts: Sequence[str],
    encode: Callable[[list[str]], "TextFeatures"],
    *,
    weights: str,
) -> "TextFeatures":
    """Features of texts: those in the bank from there, others from `encode`, which are then added to it.

    Args:
        path: the bank, an `.npz`; made where it is absent.
        encode: what the network has for texts; not called when the bank has all of them.
        weights: sha256 of the network's weights. Features of other weights mean nothing to it.

    Raises:
        InputError: the bank is broken, belongs to other weights, or cannot be written.
    """
    rows = read_bank(path, weights=weights) if Path(path).exists() else {}
    unknown = [text for text in dict.fromkeys(texts) if text not in rows]
    if unknown:
        rows = {**rows, **_rows(unknown, encode(unknown))}
        write_bank(path, rows, weights=weights)
    return _padded([rows[text] for text in texts])


def read_bank(path: str | os.PathLike[str], *, weights: str) -> dict[str, Row]:
    """Encoded texts by text.

    Raises:
        InputError: the file is no bank, or its texts were encoded by other weights.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            texts, lengths, tokens, mask, owner = (file[name] for name in ARRAYS)
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path}: cannot be read as a bank of texts ({error}), expected an .npz of an earlier run; "
            "delete it or name another file."
        ) from error
    if str(owner) != weights:
        raise InputError(
            f"{path}: its texts were encoded by other weights (sha256 {str(owner)[:12]}...), expected "
            f"{weights[:12]}...; delete it or name another file."
        )
    ends = np.cumsum(lengths)
    return {
        str(text): Row(tokens[end - length : end], mask[end - length : end])
        for text, length, end in zip(texts, lengths, ends, strict=True)
    }


def write_bank(path: str | os.PathLike[str], rows: Mapping[str, Row], *, weights: str) -> None:
    """Write encoded texts, atomically. Rows of different lengths stand one after the other."""
    if not str(path).endswith(".npz"):
        raise InputError(f"{path}: found the ending '{Path(path).suffix}', expected .npz; rename the bank.")
    with atomic_path(path) as temporary:
        np.savez_compressed(
            temporary,
            texts=np.array(list(rows)),
            lengths=np.array([len(row.mask) for row in rows.values()]),
            tokens=np.concatenate([row.tokens for row in rows.values()]),
            mask=np.concatenate([row.mask for row in rows.values()]),
            weights_sha256=np.array(weights),
        )


def _rows(texts: Sequence[str], features: "TextFeatures") -> dict[str, Row]:
    found = {}
    for text, tokens, mask in zip(texts, features.tokens, features.mask, strict=True):
        length = int(mask.nonzero().max()) + 1 if mask.any() else 1
        found[text] = Row(tokens[:length].float().cpu().numpy(), mask[:length].cpu().numpy())
    return found


def _padded(rows: Sequence[Row]) -> "TextFeatures":
    """Rows of different lengths as one tensor, with zeros and False on the right."""
    from ..networks.base import TextFeatures  # here, since it brings the language models' library

    tokens = [torch.from_numpy(row.tokens) for row in rows]
    masks = [torch.from_numpy(row.mask) for row in rows]
    return TextFeatures(pad_sequence(tokens, batch_first=True), pad_sequence(masks, batch_first=True))

"""A file of texts that a frozen language model encoded: known prompts then need no language model."""

import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from ..errors import InputError
from ..files import atomic_path
from ..weights import FrozenBase, published_sha256
from .encoders import Cut, EncodedText, TextEncoder, warn_of_cut

ARRAYS = ("texts", "lengths", "tokens", "embedded", "cuts", "base")
NOTHING_CUT = (0, 0, 0)  # in place of a `Cut`


@dataclass(frozen=True)
class Row:
    """One encoded text: last hidden states and embeddings of its T tokens, (T, D) float32 each.

    `cut` says where it was cut, if it was too long.
    """

    tokens: np.ndarray
    embedded: np.ndarray
    cut: Cut | None


class BankedTextEncoder(nn.Module):
    """Gives what the frozen `TextEncoder` of `model` gives, from a bank where that has the texts.

    The language model is looked for and loaded once a text is not in the bank, which then gets it. A text
    that was cut is warned of once, whether it comes from the bank or from the language model.

    Args:
        model: hub id or local folder; it need not be there as long as the bank has all texts.
        revision: hub commit; None takes the pinned one.
        bank: an `.npz`; made where it is absent.

    Attributes:
        source: `model`.
        width: of the features.

    Raises:
        InputError: the bank is broken, is of another language model or has another ending; or the language
            model is needed and not to be had.
    """

    def __init__(self, model: str, *, revision: str | None = None, bank: str | os.PathLike[str]) -> None:
        super().__init__()
        self.source, self.revision, self.path = model, revision, Path(bank)
        if self.path.suffix != ".npz":
            raise InputError(
                f"{self.path}: found the ending '{self.path.suffix}', expected .npz; rename the bank."
            )
        self.register_buffer("_here", torch.zeros(0), persistent=False)  # tells where the network is
        self._rows: dict[str, Row] = {}
        self._unsaid: dict[str, Cut] = {}  # of the bank's texts; of others the language model warns
        self._model: TextEncoder | None = None
        if self.path.exists():
            self._base, self._rows = read_bank(self.path)
            self._unsaid = {text: row.cut for text, row in self._rows.items() if row.cut}
            self._check_name()
            self.width = int(next(iter(self._rows.values())).tokens.shape[1])
        else:
            self.width = self._language_model().width

    def base(self) -> FrozenBase:
        """The record of the language model's weights."""
        return self._base

    def forward(self, prompts: Sequence[str]) -> EncodedText:
        """See `TextEncoder.forward`."""
        unknown = [text for text in dict.fromkeys(prompts) if text not in self._rows]
        if unknown:
            self._rows.update(_rows(unknown, self._language_model()))
            write_bank(self.path, self._rows, self._base)
        for text in prompts:
            if cut := self._unsaid.pop(text, None):
                warn_of_cut(text, cut)
        rows = [self._rows[text] for text in prompts]
        here: Tensor = self._here  # type: ignore[assignment]
        tokens, embedded = (
            pad_sequence([torch.from_numpy(part) for part in parts], batch_first=True).to(here.device)
            for parts in ([row.tokens for row in rows], [row.embedded for row in rows])
        )
        lengths = torch.tensor([len(row.tokens) for row in rows], device=here.device)
        mask = torch.arange(tokens.shape[1], device=here.device) < lengths[:, None]
        return EncodedText(tokens, embedded, mask)

    def _language_model(self) -> TextEncoder:
        """The language model itself, which must be the one that encoded the bank."""
        if self._model is None:
            model = TextEncoder(self.source, revision=self.revision)
            base = model.base()
            assert base is not None  # it has a source
            if self._rows and published_sha256(base.sha256) != published_sha256(self._base.sha256):
                raise _other_model(self.path, self._base, base.sha256)
            self._base = self._base if self._rows else base
            here: Tensor = self._here  # type: ignore[assignment]
            self._model = model.to(here.device)
        return self._model

    def _check_name(self) -> None:
        """The weights' hash is compared once they are loaded, and with the checkpoint's record before."""
        if self._base.model not in (self.source, Path(self.source).name):
            raise _other_model(self.path, self._base, self.source)


def _other_model(path: Path, base: FrozenBase, found: str) -> InputError:
    return InputError(
        f"{path}: its texts were encoded by {base.model} (sha256 {base.sha256[:12]}...), but {found} is in "
        "use; delete the bank or name another file."
    )


def read_bank(path: str | os.PathLike[str]) -> tuple[FrozenBase, dict[str, Row]]:
    """Which language model encoded a bank, and its texts.

    Raises:
        InputError: the file is no bank.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            texts, lengths, tokens, embedded, cuts, base = (file[name] for name in ARRAYS)
        ends = np.cumsum(lengths)
        rows = {
            str(text): Row(tokens[end - length : end], embedded[end - length : end], _cut(cut))
            for text, length, end, cut in zip(texts, lengths, ends, cuts, strict=True)
        }
        if not rows or tokens.ndim != 2 or tokens.shape != embedded.shape or len(tokens) != ends[-1]:
            raise ValueError("its arrays do not fit together")
        return FrozenBase(**json.loads(str(base))), rows
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path}: cannot be read as a bank of texts ({error}), expected an .npz of an earlier run; "
            "delete it or name another file."
        ) from error


def write_bank(path: str | os.PathLike[str], rows: Mapping[str, Row], base: FrozenBase) -> None:
    """Write encoded texts, atomically. Rows of different lengths stand one after the other."""
    with atomic_path(path) as temporary:
        np.savez_compressed(
            temporary,
            texts=np.array(list(rows)),
            lengths=np.array([len(row.tokens) for row in rows.values()]),
            tokens=np.concatenate([row.tokens for row in rows.values()]),
            embedded=np.concatenate([row.embedded for row in rows.values()]),
            cuts=np.array([row.cut or NOTHING_CUT for row in rows.values()]),
            base=np.array(json.dumps(asdict(base))),
        )


def _rows(texts: Sequence[str], model: TextEncoder) -> dict[str, Row]:
    found = {}
    for text, tokens, embedded, mask in zip(texts, *model(texts), strict=True):
        length = int(mask.sum())  # padding stands on the right
        kept = [part[:length].float().cpu().numpy() for part in (tokens, embedded)]
        found[text] = Row(kept[0], kept[1], model.cut(text))
    return found


def _cut(numbers: np.ndarray) -> Cut | None:
    return Cut(*numbers.tolist()) if numbers.any() else None

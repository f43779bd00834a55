"""A file of texts that a frozen language model encoded: known prompts then need no language model."""

import logging
import os
import time
import weakref
from collections import ChainMap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import InputError
from ..weights.pretrained import FrozenBase, published_sha256
from .bank_file import Made, Row, read_bank, read_projection, write_bank
from .encoders import MAX_TOKENS, EncodedText, TextEncoder, check_prompts, pad_rows, warn_of_cut
from .sentences import SentenceVectors

log = logging.getLogger(__name__)

WRITE_EVERY_S = 60.0
WRITING_SHARE = 0.1  # of the time, at most
MOST_BYTES = 2**30  # 35,000 texts of 10 tokens at width 384, 3,200 at width 4096


class TextBank:
    """The texts of a file, and when they are written to it.

    A new text is kept while all of them fit in 1 GiB; later ones, such as the misspelt words of a long
    training, are encoded each time. New texts are written as they first come, then once a minute at most
    (less often where writing takes longer than 6 seconds), and when the encoder is let go or
    the program ends. A killed program loses those of the last minute. The file is replaced as a whole, so
    that of several processes with new texts the last one's stay, and no reader ever sees half of it.

    Attributes:
        rows: {text: what it was encoded as}.
        made: how; None as long as there are none.
        projection: see `SentenceVectors.sentence_projection`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.made: Made | None = None
        self.rows: dict[str, Row] = {}
        self.projection: np.ndarray | None = None
        if path.exists():
            self.made, self.rows = read_bank(path)
            self.projection = read_projection(path)
        self._size = sum(row.size for row in self.rows.values())
        self._unwritten = self._full = False
        self._not_before = 0.0

    def add(self, rows: Mapping[str, Row], made: Made) -> None:
        """Keep new texts as long as there is room, and write them if it is time to.

        Raises:
            InputError: the file cannot be written.
        """
        self.made = made
        for text, row in rows.items():
            if self._size + row.size > MOST_BYTES:
                self._say_full()
                break
            self.rows[text] = row
            self._size += row.size
            self._unwritten = True
        if time.monotonic() >= self._not_before:
            self.write()

    def _say_full(self) -> None:
        if not self._full:
            log.warning(
                "%s: full with %d texts; further texts are encoded each time they occur.",
                self.path,
                len(self.rows),
            )
        self._full = True

    def write(self) -> None:
        """Write what is not written yet.

        Raises:
            InputError: the file cannot be written.
        """
        if not self._unwritten or self.made is None:
            return
        start = time.monotonic()
        write_bank(self.path, self.rows, self.made, self.projection)
        end = time.monotonic()
        self._unwritten = False
        self._not_before = end + max(WRITE_EVERY_S, (end - start) / WRITING_SHARE)


class BankedTextEncoder(SentenceVectors, nn.Module):
    """Gives what the frozen `TextEncoder` of `model` gives, from a bank where that has the texts.

    Sentence vectors too: the bank of a CLIP has its projection.

    The language model is looked for and loaded once a text is not in the bank, which then gets it (see
    `TextBank`). A text that was cut is warned of once, whether it comes from the bank or from the language
    model. It serves training too: what is behind it learns, the language model does not. A training that
    misspells words needs the language model all along; one that does not, until the bank has its texts.

    Args:
        model: hub id or local folder; it need not be there as long as the bank has all texts.
        revision: hub commit; None takes the pinned one.
        bank: an `.npz`; made where it is absent.
        max_tokens, dtype: see `TextEncoder`; a bank is of one choice.

    Attributes:
        source: `model`.
        width: of the features.

    Raises:
        InputError: the bank is broken, was made by another language model or with other settings, or has
            another ending; or the language model is needed and cannot be found.
    """

    source: str
    frozen = True

    def __init__(
        self,
        model: str,
        *,
        revision: str | None = None,
        bank: str | os.PathLike[str],
        max_tokens: int = MAX_TOKENS,
        dtype: str = "float32",
    ) -> None:
        super().__init__()
        self.source, self.revision, self.path = model, revision, Path(bank)
        self.max_tokens, self.dtype = max_tokens, dtype
        if self.path.suffix != ".npz":
            raise InputError(
                f"{self.path}: found the ending '{self.path.suffix}', expected .npz; rename the bank."
            )
        self.register_buffer("_here", torch.zeros(0), persistent=False)  # tells where the network is
        self._bank = TextBank(self.path)
        # No module of this one: processes that train together have the same, whichever of them loaded it.
        self._model: list[TextEncoder] = []
        self._unsaid = {text: row.cut for text, row in self._bank.rows.items() if row.cut}
        if self._bank.made is None:
            self.width = self._language_model().width
            if (weight := self._language_model().sentence_projection) is not None:
                self._bank.projection = weight.detach().float().cpu().numpy()
        else:
            self._check(self._bank.made)
            self.width = int(next(iter(self._bank.rows.values())).tokens.shape[1])
        projection = self._bank.projection
        self.register_buffer(
            "_projection", None if projection is None else torch.from_numpy(projection), persistent=False
        )
        weakref.finalize(self, _write_at_last, self._bank)

    @property
    def sentence_projection(self) -> Tensor | None:
        """See `SentenceVectors`."""
        return self._projection  # type: ignore[return-value]

    def base(self) -> FrozenBase:
        """The record of the language model's weights."""
        return self._made().base

    def forward(self, prompts: Sequence[str]) -> EncodedText:
        """See `TextEncoder.forward`."""
        check_prompts(prompts)
        new: dict[str, Row] = {}
        if unknown := [text for text in dict.fromkeys(prompts) if text not in self._bank.rows]:
            new = _rows(unknown, self._language_model())
            self._bank.add(new, self._made())
        for text in prompts:
            if cut := self._unsaid.pop(text, None):
                warn_of_cut(text, cut)
        found = ChainMap(new, self._bank.rows)  # a full bank did not keep the new ones
        rows = [found[text] for text in prompts]
        tokens, embedded, mask = pad_rows(
            [torch.from_numpy(row.tokens) for row in rows], [torch.from_numpy(row.embedded) for row in rows]
        )
        here: Tensor = self._here  # type: ignore[assignment]
        return EncodedText(tokens.to(here.device), embedded.to(here.device), mask.to(here.device))

    def _made(self) -> Made:
        if self._bank.made is not None:
            return self._bank.made
        base = self._language_model().base()
        assert base is not None  # it has a source
        return Made(base, self.max_tokens, self.dtype)

    def _language_model(self) -> TextEncoder:
        """The language model itself, which must be the one that encoded the bank."""
        if not self._model:
            model = TextEncoder(
                self.source, revision=self.revision, max_tokens=self.max_tokens, dtype=self.dtype
            )
            base, made = model.base(), self._bank.made
            assert base is not None  # it has a source
            if made and published_sha256(base.sha256) != published_sha256(made.base.sha256):
                raise _other_model(self.path, made.base, base.sha256)
            self._model.append(model)
        here: Tensor = self._here  # type: ignore[assignment]
        return self._model[0].to(here.device)

    def _check(self, made: Made) -> None:
        """The weights' hash is compared once they are loaded, and with the checkpoint's record before."""
        if made.base.model not in (self.source, Path(self.source).name):
            raise _other_model(self.path, made.base, self.source)
        for name, there, here in (
            ("max_tokens", made.max_tokens, self.max_tokens),
            ("text_dtype", made.dtype, self.dtype),
        ):
            if there != here:
                raise InputError(
                    f"{self.path}: its texts were encoded with {name} {there}, but {here} is set; set {name} "
                    f"to {there}, delete the bank or name another file."
                )


def _other_model(path: Path, base: FrozenBase, found: str) -> InputError:
    return InputError(
        f"{path}: its texts were encoded by {base.model} (sha256 {base.sha256[:12]}...), but {found} is in "
        "use; delete the bank or name another file."
    )


def _write_at_last(bank: TextBank) -> None:
    """Texts that cannot be kept are no reason for a program to end with an error."""
    try:
        bank.write()
    except InputError as error:
        log.warning("%s", error)


def _rows(texts: Sequence[str], model: TextEncoder) -> dict[str, Row]:
    found = {}
    for text, tokens, embedded, mask in zip(texts, *model(texts), strict=True):
        length = int(mask.sum())  # padding stands on the right
        # Copied: a view would keep the padding alive.
        kept = [part[:length].float().cpu().numpy().copy() for part in (tokens, embedded)]
        found[text] = Row(kept[0], kept[1], model.cut(text))
    return found

"""Text encoders: prompts in, token features out. Frozen ones remember what they encoded."""

import warnings
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ..errors import InputError
from ..layers.adapters import is_adapter
from ..weights.pretrained import FrozenBase, find_pretrained, frozen_base
from .language_models import DTYPES, check_dtype, check_text_model, pretrained_model, random_model
from .sentences import SentenceVectors, projection_of

MAX_TOKENS = 96
REMEMBERED_PROMPTS = 8192  # of 12 tokens: 75 MB at width 384 in float32, tokens and embedded together 150 MB
# A prompt's features differ in the last bits with its company. On a CPU, where a training that was resumed
# ends bit for bit as one that was not, each is encoded alone. No GPU promises that: there many go together.
ALONE_ON = ("cpu",)
TEXTS_AT_ONCE = 64
SHOWN_CHARACTERS = 80  # of a prompt that is cut, and of what is cut: prompts may have 2,000


class EncodedText(NamedTuple):
    """P prompts, padded on the right to the longest one's T tokens; D is the encoder's width.

    Attributes:
        tokens: (P, T, D) last hidden states, 0 where mask is False.
        embedded: (P, T, D) the embedding layer's output, 0 where mask is False.
        mask: (P, T) bool, True = real token.
    """

    tokens: Tensor
    embedded: Tensor
    mask: Tensor


class Cut(NamedTuple):
    """Where a prompt was cut that is too long.

    Attributes:
        found: its word pieces.
        room: word pieces that the language model reads.
        words: whole words that it read; the others it did not.
    """

    found: int
    room: int
    words: int


def warn_of_cut(prompt: str, cut: Cut) -> None:
    """Say which words of a prompt were not read."""
    unread = " ".join(prompt.split()[cut.words :])
    warnings.warn(
        f"prompt '{_start(prompt)}': found {cut.found} word pieces, expected at most {cut.room}; its end, "
        f"from '{_start(unread)}' on, was not read, so shorten the text.",
        stacklevel=2,
    )


class TextEncoder(SentenceVectors, nn.Module):
    """A transformers language model without its head: encoder-only (BERT), decoder-only (GPT-2), or the text
    part of a CLIP, which reads 77 tokens at most.

    Frozen, it stays in eval mode whatever the parent does. While no parameter asks for gradients, it runs
    without gradients or autocast, and encodes a prompt once: features are kept for the 8,192 prompts used
    last. On a CPU they do not depend on the other prompts of a call, bit for bit.
    As soon as a parameter asks for gradients (`trainable`, or adapters put in later) every call encodes
    anew and gradients flow.

    Args:
        model: local folder or hub id of pretrained weights; None builds a random network from `config`.
        config: read only when `model` is None. `model_type` and that type's settings as in config.json; and
            `tokenizer` (folder) or `vocabulary` (whole words and ##pieces, lower case; the special tokens
            are put before them), without which the encoder can be counted but not called.
        revision: hub commit; None takes the pinned one.
        max_tokens: longest prompt in tokens, special ones included; the rest is cut with a warning.
        dtype: of the weights, "float32" or "bfloat16", which halves the memory of a large model; features are
            float32 all the same.
        trainable: train all of its weights, which have to be float32.

    Raises:
        InputError: not found, not a text encoder, no room for `max_tokens`, or a `dtype` that cannot be.
    """

    model: PreTrainedModel
    width: int

    def __init__(
        self,
        model: str | None,
        *,
        config: Mapping[str, Any] | None = None,
        revision: str | None = None,
        max_tokens: int = MAX_TOKENS,
        dtype: str = "float32",
        trainable: bool = False,
    ) -> None:
        super().__init__()
        check_dtype(dtype, trainable)
        self.source, self.revision, self.max_tokens, self.dtype = model, revision, max_tokens, dtype
        if model is None:
            self.model, self.tokenizer = random_model(config or {}, DTYPES[dtype])
        else:
            folder = find_pretrained(model, revision=revision)
            self.model, self.tokenizer = pretrained_model(folder, DTYPES[dtype])
        check_text_model(self.model, model or "config", max_tokens)
        self.width = self.model.config.hidden_size
        self.model.requires_grad_(trainable).train(trainable)
        self._remembered: dict[str, tuple[Tensor, Tensor]] = {}  # in the order of use, the last one newest
        self._stamp: list[tuple[int, int]] = []

    @property
    def frozen(self) -> bool:
        """Whether no weight of its own asks for gradients; those of adapters inside it may."""
        parameters = self.named_parameters()
        return not any(value.requires_grad for name, value in parameters if not is_adapter(name))

    @property
    def sentence_projection(self) -> Tensor | None:
        """See `SentenceVectors`."""
        return projection_of(self.model)

    def base(self) -> FrozenBase | None:
        """Return the record of the pretrained weights for model.json; None for a random network."""
        return None if self.source is None else frozen_base(self.source, revision=self.revision)

    def train(self, mode: bool = True) -> "TextEncoder":
        """Set the mode as usual, but keep a model whose own weights are frozen in eval mode (no dropout).

        Adapters inside it may be trained all the same; they have no dropout of their own.
        """
        super().train(mode)
        if self.frozen:
            self.model.eval()
        return self

    def forward(self, prompts: Sequence[str]) -> EncodedText:
        """Encode P prompts. An empty one means no words at all: special tokens alone are read.

        Raises:
            InputError: no prompt, something else than text, or an encoder without a tokenizer.
        """
        check_prompts(prompts)
        if self.tokenizer is None:
            raise InputError(
                "config: no tokenizer or vocabulary was given, so this text encoder cannot read prompts."
            )
        if any(parameter.requires_grad for parameter in self.parameters()):
            return self._pad(list(self._encode(list(prompts))))
        return self._pad(self._recall(prompts))

    def _pad(self, rows: list[tuple[Tensor, Tensor]]) -> EncodedText:
        """Stack rows of different lengths, in float32 where the model is in bfloat16."""
        padded = pad_rows(*zip(*rows, strict=True))
        if self.dtype == "float32":
            return padded
        return padded._replace(tokens=padded.tokens.float(), embedded=padded.embedded.float())

    def _recall(self, prompts: Sequence[str]) -> list[tuple[Tensor, Tensor]]:
        """Return (tokens, embedded), each (t, D), of every prompt; only new prompts are encoded."""
        # Address and version of every parameter: a move, a cast, a load or an edit makes what is kept stale.
        stamp = [(parameter.data_ptr(), parameter._version) for parameter in self.parameters()]
        if stamp != self._stamp:
            self._remembered, self._stamp = {}, stamp
        wanted = list(dict.fromkeys(prompts))
        known = [(prompt, self._remembered.pop(prompt, None)) for prompt in wanted]
        rows = {prompt: row for prompt, row in known if row is not None}
        new = [prompt for prompt in wanted if prompt not in rows]
        # The autocast of one call may not show in the features that later calls reuse.
        device = next(self.parameters()).device
        at_once = 1 if device.type in ALONE_ON else TEXTS_AT_ONCE
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            for first in range(0, len(new), at_once):
                group = new[first : first + at_once]
                rows.update(zip(group, self._encode(group), strict=True))
        self._remembered.update(rows)
        for prompt in list(self._remembered)[:-REMEMBERED_PROMPTS]:
            self._remembered.pop(prompt, None)
        return [rows[prompt] for prompt in prompts]

    def _encode(self, prompts: list[str]) -> Iterator[tuple[Tensor, Tensor]]:
        """Run the model on the prompts; yield each one's (tokens, embedded), each (t, D), without padding."""
        nothing = "" if self.tokenizer("")["input_ids"] else self.tokenizer.pad_token  # GPT-2 adds no tokens
        batch = self.tokenizer(
            [prompt or nothing for prompt in prompts],
            padding=True,
            truncation=True,
            max_length=self.max_tokens,
            return_tensors="pt",
        )
        lengths = batch["attention_mask"].sum(dim=1).tolist()
        for prompt, length in zip(prompts, lengths, strict=True):
            if length == self.max_tokens and (cut := self.cut(prompt)):
                warn_of_cut(prompt, cut)
        device = next(self.parameters()).device
        ids, mask = batch["input_ids"].to(device), batch["attention_mask"].to(device)
        tokens = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
        # BERT: words, positions and layer norm; CLIP: words and positions, a level deeper where it has its
        # projection; decoder-only models have no such layer: words alone.
        inner = getattr(self.model, "text_model", self.model)
        layer = getattr(inner, "embeddings", None) or self.model.get_input_embeddings()
        embedded = layer(ids)
        for row, length in enumerate(lengths):  # copied: a view would keep the whole batch alive
            yield tokens[row, :length].clone(), embedded[row, :length].clone()

    def cut(self, prompt: str) -> Cut | None:
        """Where a prompt is cut; None if all of it is read."""
        words = prompt.split()
        fitting = bisect_right(
            range(len(words) + 1),
            self.max_tokens,
            key=lambda count: len(self.tokenizer(" ".join(words[:count]))["input_ids"]),
        )
        if fitting > len(words):
            return None
        found = len(self.tokenizer(prompt, add_special_tokens=False)["input_ids"])
        return Cut(found, self.max_tokens - self.tokenizer.num_special_tokens_to_add(), fitting - 1)


def _start(text: str) -> str:
    """Enough of a text to know it by."""
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS].rstrip()}..."


def check_prompts(prompts: Sequence[str]) -> None:
    """Refuse no prompt, one text instead of a list, and what is no text."""
    if isinstance(prompts, str) or not prompts or not all(isinstance(p, str) for p in prompts):
        raise InputError(f"prompts: expected a list of texts, found {prompts!r}; write ['left kidney'].")


def pad_rows(tokens: Sequence[Tensor], embedded: Sequence[Tensor]) -> EncodedText:
    """Stack rows (t, D) of different lengths, with zeros on the right."""
    stacked = nn.utils.rnn.pad_sequence(list(tokens), batch_first=True)
    lengths = torch.tensor([len(row) for row in tokens], device=stacked.device)
    mask = torch.arange(stacked.shape[1], device=stacked.device) < lengths[:, None]
    return EncodedText(stacked, nn.utils.rnn.pad_sequence(list(embedded), batch_first=True), mask)

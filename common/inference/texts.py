"""The texts of a run, encoded by the network."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from .cases import InputCase
from .clock import Clock

if TYPE_CHECKING:
    from ..networks.guidance import Guidance

TEXTS_AT_ONCE = 256  # encoded ahead: features take memory


class Texts:
    """Texts of cases that come one after the other, encoded ahead: once where all are asked the same.

    Args:
        cases: with their prompts.
        encode: a network's `encode_text`.
    """

    def __init__(self, cases: Sequence[InputCase], encode: "Callable[[list[str]], Guidance]") -> None:
        self._cases, self._encode = cases, encode
        self._rows: dict[str, int] = {}
        self._features: Guidance | None = None
        self._clock = Clock()

    def take_seconds(self) -> dict[str, float]:
        """What encoding took since it was last asked for, under "text": of a case that waited for it."""
        seconds, self._clock = self._clock.seconds, Clock()
        return seconds

    def of(self, case: InputCase) -> "Guidance":
        """The encoded texts of a case's prompts."""
        texts = [prompt.text for prompt in case.prompts]
        if not self._rows.keys() >= set(texts):
            self._look_ahead(case)
        assert self._features is not None
        return self._features.rows([self._rows[text] for text in texts])

    def _look_ahead(self, case: InputCase) -> None:
        """Encode the texts of the case and of those behind it; its own alone if that fails."""
        own = [prompt.text for prompt in case.prompts]
        try:
            self._remember(self._upcoming(case))
        except Exception:  # memory, or a text of another case, which must not end this one
            self._remember(list(dict.fromkeys(own)))

    def _upcoming(self, case: InputCase) -> list[str]:
        texts: dict[str, None] = {}
        for one in self._cases[self._cases.index(case) :]:
            if len(texts) >= TEXTS_AT_ONCE:
                break
            texts |= dict.fromkeys(prompt.text for prompt in one.prompts)
        return list(texts)

    def _remember(self, texts: list[str]) -> None:
        with self._clock("text"):
            self._features = self._encode(texts)
        self._rows = {text: row for row, text in enumerate(texts)}

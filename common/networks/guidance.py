"""Encoded prompts, in a form that can be kept, moved and repeated."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Guidance:
    """P encoded prompts, one row each.

    Attributes:
        tokens: (P, T, C) float features of the prompts' word pieces; None for silent rows.
        mask: (P, T) bool, True where a word piece is real (not padding); None for silent rows.
        silent: P for rows without text, else 0.
    """

    tokens: Tensor | None = None
    mask: Tensor | None = None
    silent: int = 0

    @property
    def count(self) -> int:
        """P."""
        return self.silent if self.tokens is None else self.tokens.shape[0]  # len() would fix it in exports

    def to(self, device: torch.device) -> "Guidance":
        """The same on another device."""
        return replace(self, **{name: value.to(device) for name, value in self._tensors().items()})

    def rows(self, indices: Sequence[int]) -> "Guidance":
        """The prompts with these numbers, in this order."""
        chosen = {name: value[list(indices)] for name, value in self._tensors().items()}
        return replace(self, **chosen, silent=self.silent and len(indices))

    def repeat(self, images: int) -> "Guidance":
        """All prompts once for each of B images: row i belongs to image i // P."""
        repeated = {
            name: value.repeat(images, *(1,) * (value.ndim - 1)) for name, value in self._tensors().items()
        }
        return replace(self, **repeated, silent=self.silent * images)

    def _tensors(self) -> dict[str, Any]:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, Tensor)}

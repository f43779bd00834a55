"""A network that understands two sentences: the leftmost or the rightmost bright spot in its field."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from scipy.ndimage import label
from scripts.common.data.framing import Framing
from scripts.common.networks.base import TextSegmenter
from scripts.common.networks.guidance import Guidance
from torch import Tensor


class Outermost(TextSegmenter):
    """Logits are 5 in the spot that is meant and -5 elsewhere.

    Args:
        image_size: see `TextSegmenter`.
        framing: as it is recorded beside a checkpoint.
    """

    def __init__(self, *, image_size: int, framing: Mapping[str, Any]) -> None:
        framed = Framing().changed(framing)
        super().__init__(image_size=image_size, default_prompt="the leftmost lesion", framing=framed)

    def encode_text(self, prompts: Sequence[str]) -> Guidance:
        signs = torch.tensor([1.0 if "leftmost" in prompt else -1.0 for prompt in prompts])
        return Guidance(signs[:, None, None], torch.ones(len(prompts), 1, dtype=torch.bool))

    def encode_image(self, image: Tensor) -> Tensor:
        return image

    def decode(self, image_features: Tensor, guidance: Guidance) -> Tensor:
        assert guidance.tokens is not None
        rows = image_features[:, 0].repeat_interleave(guidance.count // len(image_features), dim=0)
        spots = [
            outermost(row.numpy() > 0.6, float(sign)) for row, sign in zip(rows, guidance.tokens, strict=True)
        ]
        return torch.from_numpy(np.stack(spots)[:, None] * 10.0 - 5.0).float()


def outermost(bright: np.ndarray, sign: float) -> np.ndarray:
    """(H, W) bool, the connected part whose mean column times `sign` is smallest."""
    parts, count = label(bright)
    columns = [np.nonzero(parts == part)[1].mean() * sign for part in range(1, count + 1)]
    return parts == 1 + int(np.argmin(columns)) if columns else np.zeros_like(bright)

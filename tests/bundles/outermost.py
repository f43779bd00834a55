"""A network that understands two sentences: the leftmost or the rightmost bright spot in its field."""

from typing import NamedTuple

import numpy as np
import torch
from scipy.ndimage import label
from torch import Tensor, nn

SIDE = 64


class Text(NamedTuple):
    tokens: Tensor  # (P, 1, 1): 1 for the left, -1 for the right
    mask: Tensor


class Outermost(nn.Module):
    """Logits are 5 in the spot that is meant and -5 elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.image_size = SIDE

    def encode_text(self, prompts: list[str]) -> Text:
        signs = torch.tensor([1.0 if "leftmost" in prompt else -1.0 for prompt in prompts])
        return Text(signs[:, None, None], torch.ones(len(prompts), 1, dtype=torch.bool))

    def encode_image(self, image: Tensor) -> Tensor:
        return image

    def decode(self, image: Tensor, text: Text) -> Tensor:
        rows = image[:, 0].repeat_interleave(len(text.tokens) // len(image), dim=0)
        spots = [
            outermost(row.numpy() > 0.6, float(sign)) for row, sign in zip(rows, text.tokens, strict=True)
        ]
        return torch.from_numpy(np.stack(spots)[:, None] * 10.0 - 5.0).float()


def outermost(bright: np.ndarray, sign: float) -> np.ndarray:
    """(H, W) bool, the connected part whose mean column times `sign` is smallest."""
    parts, count = label(bright)
    columns = [np.nonzero(parts == part)[1].mean() * sign for part in range(1, count + 1)]
    return parts == 1 + int(np.argmin(columns)) if columns else np.zeros_like(bright)

"""Networks for tests of data: what they declare of their field, and one that does as the words say."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from common.data.framing import Framing
from common.networks.base import TextSegmenter
from common.networks.guidance import Guidance


def field(size: int, **framing: Any) -> Any:
    """What data sets ask of a network: the side of its field and its framing; nothing of its encoders.

    It takes 2D images too, if `framing` does not say otherwise.
    """
    return SimpleNamespace(image_size=size, framing=Framing(**{"images": True, **framing}))


class Told(TextSegmenter):
    """Every text means a range of grey, (low, high) in the field's first channel, whatever else is asked.

    Args:
        size: side of the field.
        ranges: {text: the range}; another text means nothing.
        framing: of the field.
    """

    def __init__(self, size: int, ranges: Mapping[str, tuple[float, float]], **framing: Any) -> None:
        super().__init__(image_size=size, default_prompt=next(iter(ranges)), framing=Framing(**framing))
        self.ranges = dict(ranges)

    def encode_text(self, prompts: Sequence[str]) -> Guidance:
        tokens = torch.tensor([[self.ranges.get(text, (2.0, 2.0))] for text in prompts])
        return Guidance(tokens, torch.ones(len(prompts), 1, dtype=torch.bool))

    def encode_image(self, image: Tensor) -> Tensor:
        return image[:, :1]

    def decode(self, image_features: Tensor, guidance: Guidance) -> Tensor:
        assert guidance.tokens is not None
        grey = image_features.repeat_interleave(guidance.count // len(image_features), dim=0)
        low, high = guidance.tokens[:, 0, :, None, None, None].unbind(dim=1)
        return torch.where((low <= grey) & (grey <= high), 5.0, -5.0)

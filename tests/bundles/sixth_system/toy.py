"""Toy: the smallest system that does what a system has to do. Pixels are multiplied with words."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from ..data.framing import Framing
from ..errors import InputError
from ..text.encoders import TextEncoder
from .base import TextSegmenter
from .guidance import Guidance

WORDS = ["the", "left", "right", "liver", "spleen", "kidney", "stomach", "aorta", "pancreas"]
BERT = {"model_type": "bert", "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
PRESETS: dict[str, dict[str, Any]] = {"compact": {"image_size": 64, "width": 16}}


class Toy(TextSegmenter):
    """Two convolutions, a language model of random weights, and their product."""

    def __init__(self, *, image_size: int, width: int, framing: Framing | None = None) -> None:
        super().__init__(image_size=image_size, default_prompt="liver", framing=framing)
        self.text_encoder = TextEncoder(None, config={**BERT, "intermediate_size": 64, "vocabulary": WORDS})
        self.words = nn.Linear(self.text_encoder.width, width)
        self.pixels = nn.Sequential(
            nn.Conv2d(1, width, 5, stride=2, padding=2), nn.GELU(), nn.Conv2d(width, width, 3, padding=1)
        )

    @classmethod
    def from_preset(cls, preset: str, **changes: Any) -> "Toy":
        """A preset with arguments replaced; None keeps the preset's."""
        if preset not in PRESETS:
            raise InputError(f"preset: found '{preset}', expected one of {', '.join(PRESETS)}; choose one.")
        settings = PRESETS[preset] | {name: value for name, value in changes.items() if value is not None}
        return cls(framing=Framing().changed(settings.pop("framing", None)), **settings)

    def encode_image(self, image: Tensor) -> Tensor:
        return self.pixels(image)

    def encode_text(self, prompts: Sequence[str]) -> Guidance:
        encoded = self.text_encoder(prompts)
        return Guidance(self.words(encoded.tokens), encoded.mask)

    def decode(self, image_features: Tensor, guidance: Guidance) -> Tensor:
        assert guidance.tokens is not None
        assert guidance.mask is not None
        real = guidance.mask.unsqueeze(-1)
        words = (guidance.tokens * real).sum(1) / real.sum(1)
        pixels = image_features.repeat_interleave(guidance.count // image_features.shape[0], dim=0)
        logits = (pixels * words[:, :, None, None]).sum(1, keepdim=True)
        return F.interpolate(logits, scale_factor=2.0, mode="bilinear")

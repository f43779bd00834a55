"""A network without training: positive where the windowed image exceeds the number in the prompt."""

import time

import torch
from torch import nn

from .common.networks.base import TextSegmenter
from .common.networks.guidance import Guidance


class Threshold(TextSegmenter):
    """A prompt begins with a number (0 to 1: -160 to 240 HU), or is `sleep <seconds>` or `crash`."""

    def __init__(self) -> None:
        super().__init__(image_size=128, default_prompt="0.5")
        self.scale = nn.Parameter(torch.ones(1))

    def encode_text(self, prompts):
        numbers = torch.tensor([self._number(prompt) for prompt in prompts])
        return Guidance(numbers[:, None, None], torch.ones(len(numbers), 1, dtype=torch.bool))

    def _number(self, prompt):
        if prompt.startswith("sleep "):
            time.sleep(float(prompt.split()[1]))
            return 0.5
        if prompt == "crash":
            import os

            os._exit(9)
        return float(prompt.split()[0])

    def encode_image(self, image):
        return image * self.scale

    def decode(self, image_features, guidance):
        rows = guidance.count // len(image_features)
        return image_features.repeat_interleave(rows, dim=0) - guidance.tokens[..., None]

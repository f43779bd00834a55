"""Turning and mirroring, where the words allow it."""

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.transforms import Randomizable, RandomizableTransform, Transform

from ..text.vocabulary import mentions_side


class RandLeftRightFlipd(RandomizableTransform):
    """Mirror `image` and `label` along the last axis, never when a prompt of the sample mentions a side.

    A segment of the liver is such a mention.

    Off in the shipped recipes: a mirrored abdomen has its liver on the left. It suits regions that are
    symmetric, such as the head and neck.
    """

    def __init__(self, *, prob: float = 0.0) -> None:
        super().__init__(prob)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        sample = dict(data)
        self.randomize(None)
        words = [*sample["prompt"], *sample["target"]]
        if not self._do_transform or any(mentions_side(text) for text in words):
            return sample
        for key in ("image", "label"):
            sample[key] = torch.flip(torch.as_tensor(sample[key]), dims=(-1,))
        return sample

    def set_random_state(
        self, seed: int | None = None, state: np.random.RandomState | None = None
    ) -> "RandLeftRightFlipd":
        super().set_random_state(seed, state)
        return self


class RandQuarterTurnd(Randomizable, Transform):
    """Turn `image` and `label` of `orientation_free` samples by 0 to 3 quarters; mirror them half the time.

    All eight ways are as likely. An image that is not `square` is stretched in the field, and a quarter turn
    would stretch what it shows the other way: of it only half turns are made, four ways.
    """

    def randomize(self, data: Any = None) -> None:
        self._quarters, self._mirrored = int(self.R.randint(4)), bool(self.R.randint(2))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        sample = dict(data)
        self.randomize()
        if not sample["orientation_free"]:
            return sample
        quarters = self._quarters if sample["square"] else self._quarters // 2 * 2
        for key in ("image", "label"):
            turned = torch.rot90(torch.as_tensor(sample[key]), quarters, dims=(-2, -1))
            sample[key] = turned.flip(-1) if self._mirrored else turned
        return sample

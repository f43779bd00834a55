"""Trainings that diverge, and weights that a diverged one left behind."""

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from common.training.states import states
from common.weights.checkpoints import save_trained
from tests.common.training.parts import Tiny

# (H, W, D) images that are not in Hounsfield units, each with what a user is told was found.
_TISSUE = np.random.default_rng(0).normal(size=(20, 16, 4))
NOT_HOUNSFIELD = {
    "ct_without_intercept": ((1000 + 100 * _TISSUE).clip(0).astype(np.int16), "no value below"),
    "mr": ((300 + 100 * np.abs(_TISSUE)).astype(np.int16), "no value below 300"),
    "mean_0_deviation_1": (_TISSUE.astype(np.float32), "only values from -"),
}

# Values that a weight may not have.
NO_NUMBERS = {"nan": float("nan"), "inf": float("inf"), "-inf": -float("inf")}


class DivergesAt(nn.Module):
    """A loss that is `value` from step `step` on, and a sound one before."""

    def __init__(self, step: int, value: float) -> None:
        super().__init__()
        self.step, self.value, self.steps = step, value, 0

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        self.steps += 1
        loss = nn.functional.binary_cross_entropy_with_logits(logits, target)
        return loss * self.value if self.steps >= self.step else loss


class SpoilsAt(DivergesAt):
    """A finite loss whose gradient is NaN from step `step` on: that of a square root at 0."""

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        loss = super().forward(logits, target)
        return loss + (logits - logits).sqrt().sum() if self.steps >= self.step else loss


def write_spoilt_checkpoint(path: Path, value: float) -> Path:
    """A checkpoint of `Tiny` with its record, one value of which is `value`."""
    save_trained(Tiny(), path, half=False)
    tensors: dict[str, Tensor] = torch.load(path, weights_only=True)
    tensors["head.weight"][0, 0] = value
    torch.save(tensors, path)
    return path


def spoil_newest_state(folder: Path, value: float) -> Path:
    """Put `value` into the newest state's network, under a name that says its new hash."""
    newest = states(folder)[0]
    state: dict[str, Any] = torch.load(newest, weights_only=True)
    next(iter(state["objects"]["network"].values())).flatten()[0] = value
    buffer = io.BytesIO()
    torch.save(state, buffer)
    newest.unlink()
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()[:16]
    spoilt = folder / f"{newest.name[:11]}-{digest}.pt"
    spoilt.write_bytes(buffer.getvalue())
    return spoilt

"""Clipped gradients where a scaler enlarges them; see test_accumulation.py for whole trainings."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from common.errors import InputError
from common.training.clipping import ClipGradients


@pytest.mark.parametrize(
    ("gradient", "expected"), [((3.0, 4.0), (0.6, 0.8)), ((0.3, 0.4), (0.3, 0.4))], ids=["long", "short"]
)
def test_scaled_gradients_are_clipped_at_their_own_size(
    gradient: tuple[float, float], expected: tuple[float, float]
) -> None:
    """The vector (3, 4) has the length 5; 1 is the most."""
    weights = torch.nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.SGD([weights], lr=1.0)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    state = SimpleNamespace(iteration=1, epoch_length=1)
    engine: Any = SimpleNamespace(scaler=scaler, accumulation_steps=1, state=state)
    scaler.scale((weights * torch.tensor(gradient)).sum()).backward()
    ClipGradients(optimizer=optimizer, max_norm=1.0)(engine)
    scaler.step(optimizer)
    assert (-weights).tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("most", [0, -1.0, float("nan")])
def test_a_length_that_is_none_is_refused(most: float) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(2))], lr=1.0)
    with pytest.raises(InputError, match=rf"clip_gradients: found {most}, expected a number above 0; raise"):
        ClipGradients(optimizer=optimizer, max_norm=most)

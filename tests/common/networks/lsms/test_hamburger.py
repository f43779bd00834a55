"""NMF: what Lee and Seung proved of it, and repeats to the bit."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from common.networks.lsms.hamburger import Hamburger, nmf


def start(batch: int, channels: int, rank: int) -> Tensor:
    return F.normalize(torch.rand(batch, channels, rank), dim=1)


def test_every_step_comes_closer() -> None:
    torch.manual_seed(0)
    x, bases = torch.rand(3, 32, 100), start(3, 32, 8)
    errors = torch.stack([(x - nmf(x, bases, steps=k)).flatten(1).norm(dim=1) for k in range(13)])
    assert (errors[1:] <= errors[:-1] * (1 + 1e-6)).all()
    assert (errors[12] < errors[0]).all()


def test_a_map_of_low_rank_is_found_again() -> None:
    torch.manual_seed(0)
    x = torch.rand(1, 32, 2) @ torch.rand(1, 2, 60)
    found = nmf(x, start(1, 32, 2), steps=400)
    assert (found >= 0).all()
    assert (found - x).norm() / x.norm() < 0.01


def test_one_step_is_the_published_update() -> None:
    torch.manual_seed(0)
    x, b = torch.rand(1, 5, 7).double(), start(1, 5, 3).double()
    x0, b0 = x[0].numpy(), b[0].numpy()
    exponent = torch.from_numpy(x0.T @ b0).exp().numpy()
    c0 = exponent / exponent.sum(axis=1, keepdims=True)
    c0 = c0 * (x0.T @ b0) / (c0 @ (b0.T @ b0) + 1e-6)
    b0 = b0 * (x0 @ c0) / (b0 @ (c0.T @ c0) + 1e-6)
    c0 = c0 * (x0.T @ b0) / (c0 @ (b0.T @ b0) + 1e-6)
    torch.testing.assert_close(nmf(x, b, steps=1)[0], torch.from_numpy(b0 @ c0.T))


def test_evaluation_repeats_to_the_bit_and_training_does_not() -> None:
    torch.manual_seed(0)
    layer = Hamburger(32, rank=4).eval()
    x = torch.randn(2, 32, 6, 5)
    first = layer(x)
    torch.manual_seed(1)
    again = Hamburger(32, rank=4).eval()
    again.load_state_dict(layer.state_dict())  # the bases are in no checkpoint, and yet the same
    assert torch.equal(layer(x), first)
    assert torch.equal(again(x), first)
    torch.testing.assert_close(layer(x[1:]), first[1:], rtol=1e-4, atol=1e-5)
    layer.train()
    assert not torch.equal(layer(x), layer(x))


def test_gradients_pass_through_all_steps() -> None:
    """By finite differences, in float64 (the layer itself would go down to float32)."""
    torch.manual_seed(0)
    x, bases = torch.rand(1, 4, 6).double().requires_grad_(), start(1, 4, 2).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda *given: nmf(*given, steps=7), (x, bases))


@pytest.mark.parametrize("training", [False, True])
def test_factorises_in_float32_under_autocast(monkeypatch: pytest.MonkeyPatch, training: bool) -> None:
    seen = []

    def spy(x: Tensor, bases: Tensor, *, steps: int) -> Tensor:
        seen.append((x.dtype, bases.dtype, steps, (x @ x.mT).dtype))
        return nmf(x, bases, steps=steps)

    monkeypatch.setattr("common.networks.lsms.hamburger.nmf", spy)
    layer = Hamburger(32).train(training)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = layer(torch.randn(1, 32, 4, 4) * 100)
    assert seen == [(torch.float32, torch.float32, 6 if training else 7, torch.float32)]
    assert out.isfinite().all()

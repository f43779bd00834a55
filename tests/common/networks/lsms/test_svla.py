"""SVLA against the paper's equations 4-10, written out with loops and numpy."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from common.networks.lsms.svla import SVLA, Scale

C, D, T, H, W = 6, 10, 5, 7, 9


def numbers(tensor: Tensor) -> np.ndarray:
    return tensor.detach().numpy().astype(np.float64)


def depthwise(x: np.ndarray, layer: nn.Conv2d) -> np.ndarray:
    """One kernel a channel, zeros around (C, H, W)."""
    kernel, bias = numbers(layer.weight)[:, 0], numbers(layer.bias)
    rows, columns = kernel.shape[1:]
    padded = np.pad(x, ((0, 0), (rows // 2, rows // 2), (columns // 2, columns // 2)))
    out = np.zeros_like(x)
    for y in range(x.shape[1]):
        for z in range(x.shape[2]):
            out[:, y, z] = (padded[:, y : y + rows, z : z + columns] * kernel).sum(axis=(1, 2)) + bias
    return out


def pointwise(x: np.ndarray, weight: Tensor, bias: Tensor | None = None) -> np.ndarray:
    """1 x 1 convolution of (C, H, W)."""
    out = np.einsum("oc,chw->ohw", numbers(weight)[:, :, 0, 0], x)
    return out if bias is None else out + numbers(bias)[:, None, None]


def omega(x: np.ndarray, layers: nn.Sequential) -> np.ndarray:
    """1 x 1 convolution and instance norm."""
    x = pointwise(x, layers[0].weight)
    mean, variance = x.mean(axis=(1, 2), keepdims=True), x.var(axis=(1, 2), keepdims=True)
    return (x - mean) / np.sqrt(variance + 1e-5)


def language(branch: nn.Module, before: np.ndarray, words: np.ndarray, *, root: int) -> np.ndarray:
    """Equations 6-9 for one image and its real words (t, D)."""
    l1, l2 = numbers(branch.key.weight) @ words.T, numbers(branch.value.weight) @ words.T  # (C, t)
    v1 = omega(before, branch.query).reshape(C, -1)
    alpha = v1.T @ l1 / np.sqrt(root)
    weights = np.exp(alpha - alpha.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    attended = omega((weights @ l2.T).T.reshape(C, H, W), branch.out)
    return attended if branch.pixel_map is None else attended * omega(before, branch.pixel_map)


def by_equations(layer: SVLA, x: np.ndarray, words: np.ndarray | None, *, root: int) -> np.ndarray:
    before = depthwise(x, layer.pre)  # eq 4
    total = before.copy()
    for unit in layer.units.values():  # eq 5
        total += depthwise(depthwise(before, unit[0]), unit[1])
    if words is not None:
        total += language(layer.language, before, words, root=root)
    return pointwise(total, layer.mix.weight, layer.mix.bias) * x  # eq 10


@pytest.fixture
def sample() -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    mask = torch.arange(T)[None] < torch.tensor([[T], [3]])
    return torch.randn(2, C, H, W), torch.randn(2, T, D), mask


@pytest.mark.parametrize("kernels", [(7, 11, 21), (5,), ()])
@pytest.mark.parametrize(("pixel_map", "scale", "root"), [(True, "text", D), (False, "channels", C)])
def test_follows_the_equations(
    sample: tuple[Tensor, Tensor, Tensor], kernels: tuple[int, ...], pixel_map: bool, scale: Scale, root: int
) -> None:
    x, tokens, mask = sample
    layer = SVLA(C, D, kernels=kernels, pixel_map=pixel_map, scale=scale)
    found = layer(x, tokens, mask)
    without = layer(x)
    for row, real in enumerate((T, 3)):
        words = numbers(tokens[row, :real])
        expected = by_equations(layer, numbers(x[row]), words, root=root)
        np.testing.assert_allclose(numbers(found[row]), expected, rtol=1e-3, atol=1e-4)
        expected = by_equations(layer, numbers(x[row]), None, root=root)
        np.testing.assert_allclose(numbers(without[row]), expected, rtol=1e-4, atol=1e-5)


def test_strips_run_along_the_row_first() -> None:
    unit = SVLA(C, None, kernels=(7, 21)).units["21"]
    assert [layer.kernel_size for layer in unit] == [(1, 21), (21, 1)]


def test_what_padding_holds_does_not_matter(sample: tuple[Tensor, Tensor, Tensor]) -> None:
    x, tokens, mask = sample
    layer = SVLA(C, D)
    changed = torch.where(mask.unsqueeze(2), tokens, torch.full_like(tokens, 50.0))
    torch.testing.assert_close(layer(x, tokens, mask), layer(x, changed, mask), rtol=0, atol=0)
    shorter = layer(x[1:], tokens[1:, :3], mask[1:, :3])
    torch.testing.assert_close(layer(x, tokens, mask)[1:], shorter, rtol=1e-4, atol=1e-5)


def test_a_sentence_of_padding_alone_gives_finite_numbers(sample: tuple[Tensor, Tensor, Tensor]) -> None:
    x, tokens, mask = sample
    for dtype in (torch.float32, torch.bfloat16):
        layer = SVLA(C, D).to(dtype)
        assert layer(x.to(dtype), tokens.to(dtype), torch.zeros_like(mask)).isfinite().all()


def test_a_layer_without_language_is_the_same_layer_without_words(
    sample: tuple[Tensor, Tensor, Tensor],
) -> None:
    x, tokens, mask = sample
    full, without = SVLA(C, D), SVLA(C, None)
    missing = without.load_state_dict(full.state_dict(), strict=False)
    assert not missing.missing_keys
    assert {key.split(".")[0] for key in missing.unexpected_keys} == {"language"}
    assert torch.equal(full(x), without(x))
    assert torch.equal(without(x, tokens, mask), without(x))

"""The metrics as MONAI's: per-case spacing, misses, and its own numbers where it has them."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.metrics import DiceMetric, HausdorffDistanceMetric

from common.errors import InputError
from common.metrics import SegmentationMetric, measure_mask

SPACINGS = [(2.5, 0.8, 0.8), (5.0, 1.5, 1.0), (1.0, 1.0, 3.0)]


def masks(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.random((6, 9, 10)) < 0.3, rng.random((6, 9, 10)) < 0.3


def meta(mask: np.ndarray, spacing: tuple[float, ...]) -> MetaTensor:
    """(1, D, H, W) float32 with its affine, as MONAI's loaders give it."""
    return MetaTensor(
        torch.from_numpy(mask[None]).float(),
        affine=torch.diag(torch.tensor([*spacing, 1.0], dtype=torch.float64)),
    )


def one_hot(mask: np.ndarray, spacing: tuple[float, ...]) -> MetaTensor:
    foreground = meta(mask, spacing)
    return MetaTensor(
        torch.cat([1 - foreground.as_tensor(), foreground.as_tensor()]), affine=foreground.affine
    )


def test_metric_measures_every_case_with_its_own_spacing() -> None:
    metric, monai = SegmentationMetric("voxel_hd95_mm"), HausdorffDistanceMetric(percentile=95)
    pairs = [masks(seed) for seed in range(3)]
    preds = [one_hot(pred, s) for (pred, _), s in zip(pairs, SPACINGS, strict=True)]
    refs = [one_hot(ref, s) for (_, ref), s in zip(pairs, SPACINGS, strict=True)]
    values = metric(preds, refs)
    assert values.shape == (3, 1)
    plain = [torch.stack([m.as_tensor() for m in group]) for group in (preds, refs)]
    monai(*plain, spacing=SPACINGS)
    assert metric.aggregate().item() == pytest.approx(monai.aggregate().item(), rel=1e-5)
    assert torch.equal(SegmentationMetric("voxel_hd95_mm")(*plain, spacing_mm=SPACINGS), values)
    metric.reset()
    assert metric.get_buffer() is None


def test_dice_is_that_of_monai() -> None:
    preds, refs = zip(*[[one_hot(m, (1, 1, 1)) for m in masks(seed)] for seed in range(4)], strict=True)
    ours, monai = SegmentationMetric("dsc", include_background=True), DiceMetric(include_background=True)
    ours(preds, refs)
    monai(preds, refs)
    assert ours.aggregate().item() == pytest.approx(monai.aggregate().item(), rel=1e-6)


def test_a_miss_stays_in_the_mean() -> None:
    pred, ref = masks(0)
    empty = np.zeros_like(ref)
    cases = [(pred, ref), (empty, ref), (empty, empty)]
    preds, refs = zip(*[(one_hot(a, (1, 1, 1)), one_hot(b, (1, 1, 1))) for a, b in cases], strict=True)
    found = measure_mask(pred, ref, spacing_mm=(1, 1, 1))["surfel_hd_mm"]
    for penalty, expected in ((None, float("inf")), (50.0, (found + 50) / 2)):
        metric = SegmentationMetric("surfel_hd_mm", penalty_mm=penalty)
        metric(preds, refs)
        assert metric.aggregate().item() == pytest.approx(expected)


@pytest.mark.parametrize("name", ["asd", "surfel_asd_mm", "mesh_hd_mm", "voxel_nsd_xmm"])
def test_a_metric_that_there_is_not_is_told(name: str) -> None:
    with pytest.raises(
        InputError, match=f"metric: found '{name}', expected a key such as dsc, surfel_hd95_mm"
    ):
        SegmentationMetric(name)


def test_a_plain_tensor_needs_a_spacing() -> None:
    mask = torch.ones(1, 2, 4, 4, 4)
    with pytest.raises(InputError, match="spacing_mm: missing"):
        SegmentationMetric("surfel_hd_mm")(mask, mask)
    with pytest.raises(InputError, match="found different numbers of predictions, references or spacings"):
        SegmentationMetric("surfel_hd_mm")(mask, mask, spacing_mm=SPACINGS)

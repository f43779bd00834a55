"""Scores and intervals of networks on the same images, against formulas."""

import numpy as np
import pytest

from tools.study.image_scores import compare, dice, over_seeds_and_patients

WITH, WITHOUT = "with words", "without"
PAIRS = [(WITH, WITHOUT)]


def test_scores_are_dice_and_iou_of_the_counts() -> None:
    counts = np.array([[[6, 2, 2], [0, 0, 5]], [[4, 0, 4], [1, 1, 1]]])  # 2 seeds, 2 images
    report = compare({WITH: counts, WITHOUT: counts[:, :, [0, 2, 1]] * [1, 1, 2]}, "ab", PAIRS)
    row = report["networks"][WITH]
    assert row["dice"]["mean"] == pytest.approx((12 / 16 + 0 + 8 / 12 + 2 / 4) / 4)
    assert row["iou"]["mean"] == pytest.approx((6 / 10 + 0 + 4 / 8 + 1 / 3) / 4)
    assert row["dice_by_seed"] == pytest.approx([12 / 16 / 2, (8 / 12 + 2 / 4) / 2])
    assert row["pooled_dice"]["mean"] == pytest.approx((12 / (12 + 9) + 10 / (10 + 6)) / 2)
    assert row["pooled_iou"]["mean"] == pytest.approx((6 / 15 + 5 / 11) / 2)
    (difference,) = report["differences"].values()
    other = report["networks"][WITHOUT]
    assert difference["dice"]["mean"] == pytest.approx(row["dice"]["mean"] - other["dice"]["mean"])


def test_paired_interval_is_that_of_the_mean_of_differences() -> None:
    """Images differ much and networks by the same little everywhere: paired, the difference is certain."""
    rng = np.random.default_rng(0)
    right = rng.integers(100, 900, 200)
    better = np.stack([right, 1000 - right, 1000 - right], axis=1)[None]
    worse = better + np.array([-20, 20, 20])
    report = compare({WITH: better, WITHOUT: worse}, list(map(str, range(200))), PAIRS)
    (difference,) = report["differences"].values()
    assert difference["dice"]["ci95"] == pytest.approx([0.02, 0.02])
    low, high = report["networks"][WITH]["dice"]["ci95"]
    spread = 1.96 * right.std() / 1000 / np.sqrt(200)  # of a mean, by the central limit theorem
    assert (high - low) / 2 == pytest.approx(spread, rel=0.1)
    assert report["networks"][WITH]["pooled_dice"]["mean"] == pytest.approx(right.mean() / 1000)


def of_dice(values: np.ndarray) -> np.ndarray:
    """Counts (..., 3) of 1000 pixels in either mask, whose Dice is `values`."""
    both = np.rint(values * 1000).astype(int)
    return np.stack([both, 1000 - both, 1000 - both], axis=-1)


def test_interval_takes_in_seeds_images_and_patients() -> None:
    """Seeds and patients differ, each patient's two images do not: the variances of both means add up.

    A bootstrap of n values has the variance of their mean with n instead of n - 1 (Efron and Tibshirani).
    """
    rng = np.random.default_rng(0)
    of_seed, of_patient = rng.normal(0, 0.05, 12), rng.normal(0, 0.1, 80)
    values = 0.5 + of_seed[:, None] + np.repeat(of_patient, 2)[None]
    patients = [f"p{number:02d}" for number in range(80) for _ in range(2)]
    found = over_seeds_and_patients(dice, [of_dice(values)], patients)
    assert found["mean"] == pytest.approx(values.mean(), abs=1e-3)
    low, high = found["ci95"]
    error = np.sqrt(of_seed.var() / 12 + of_patient.var() / 80)
    assert (high - low) / 2 == pytest.approx(1.96 * error, rel=0.1)


def test_paired_interval_takes_in_how_the_difference_varies_with_the_seed() -> None:
    gains = np.array([0.10, 0.01, 0.07])
    before = np.random.default_rng(0).uniform(0.2, 0.8, (3, 50))
    counts = [of_dice(before + gains[:, None]), of_dice(before)]
    low, high = over_seeds_and_patients(dice, counts, list(map(str, range(50))))["ci95"]
    assert (low, high) == (pytest.approx(0.01, abs=2e-3), pytest.approx(0.10, abs=2e-3))  # 1 of 27 draws each

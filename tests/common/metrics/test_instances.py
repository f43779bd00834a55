"""Parts of a target: counted and matched by hand, and against every possible matching."""

import itertools
import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.measure import label as parts_of

from common.metrics import measure_labels, measure_mask
from common.metrics.instances import INSTANCE_NAMES, instance_metrics


def plane(*boxes: tuple[slice, slice]) -> np.ndarray:
    mask = np.zeros((20, 30), bool)
    for box in boxes:
        mask[box] = True
    return mask


LEFT, RIGHT = np.s_[2:8, 2:8], np.s_[10:16, 20:26]  # 36 pixels each


def values(pred: np.ndarray, ref: np.ndarray) -> tuple[float, ...]:
    """parts_pred, parts_ref, precision, recall, F1."""
    return tuple(instance_metrics(pred, ref)[name] for name in INSTANCE_NAMES)


def test_one_of_two_parts_is_missed() -> None:
    assert values(plane(LEFT), plane(LEFT, RIGHT)) == (1, 2, 1.0, 0.5, pytest.approx(2 / 3))


def test_a_false_part_costs_precision() -> None:
    false = np.s_[0:2, 14:16]
    found = values(plane(LEFT, RIGHT, false), plane(LEFT, RIGHT))
    assert found == (3, 2, pytest.approx(2 / 3), 1.0, pytest.approx(4 / 5))


def test_one_part_over_two_is_matched_with_one_of_them() -> None:
    """The bridge has a Dice of 2 * 36 / (240 + 36) with each of the two: it counts once."""
    assert values(plane(np.s_[0:16, 2:26]), plane(np.s_[2:8, 2:8], np.s_[2:8, 20:26])) == (
        1,
        2,
        1.0,
        0.5,
        pytest.approx(2 / 3),
    )


def test_the_best_pair_does_not_cost_the_others_theirs() -> None:
    """P lies over A (Dice 0.6) and B (0.3), Q over A alone (1/3).

    The best pair first would take P with A and leave Q and B without a partner.
    """
    ref, pred = np.zeros((9, 40), bool), np.zeros((9, 40), bool)
    ref[2, 0:10] = ref[2, 11:21] = True  # A, B
    pred[2, 4:14] = pred[2, 0:2] = True  # P: 6 pixels of A and 3 of B; Q: 2 of A
    assert values(pred, ref) == (2, 2, 1.0, 1.0, 1.0)


@pytest.mark.parametrize(("size", "matched"), [(9, 1.0), (10, 0.0)])
def test_a_pair_counts_from_a_dice_of_one_tenth(size: int, matched: float) -> None:
    """One pixel in both: 2 / (11 + 9) is 0.1, 2 / (11 + 10) is below it."""
    ref, pred = np.zeros((2, 3, 30), bool)
    ref[1, 0:11], pred[1, 10 : 10 + size] = True, True
    assert values(pred, ref) == (1, 1, matched, matched, matched)


def test_parts_that_touch_at_a_corner_are_one() -> None:
    diagonal = np.eye(4, dtype=bool)
    assert values(diagonal, diagonal)[:2] == (1, 1)
    cube = np.zeros((4, 4, 4), bool)
    cube[range(4), range(4), range(4)] = True
    assert values(cube, cube)[:2] == (1, 1)


def test_empty_masks_have_no_parts() -> None:
    assert values(plane(), plane(LEFT, RIGHT)) == (0, 2, 0.0, 0.0, 0.0)
    assert values(plane(LEFT), plane()) == (1, 0, 0.0, 0.0, 0.0)
    found = values(plane(), plane())
    assert found[:2] == (0, 0)
    assert all(math.isnan(value) for value in found[2:])


def every_matching(pred: np.ndarray, ref: np.ndarray) -> set[int]:
    """Numbers of matched pairs of all matchings with the largest sum of Dice, parts by scikit-image."""
    a, b = (parts_of(mask, connectivity=mask.ndim) for mask in (pred, ref))
    table = np.zeros((a.max(), b.max()))
    for i, j in np.ndindex(table.shape):
        one, other = a == i + 1, b == j + 1
        dice = 2 * (one & other).sum() / (one.sum() + other.sum())
        table[i, j] = dice if dice >= 0.1 else 0
    table = table if len(table) <= table.shape[1] else table.T
    chosen = [
        table[range(len(table)), columns]
        for columns in itertools.permutations(range(table.shape[1]), len(table))
    ]
    best = max(pairs.sum() for pairs in chosen)
    return {np.count_nonzero(pairs) for pairs in chosen if pairs.sum() > best - 1e-9}


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([2, 3]))
def test_no_other_matching_has_a_larger_sum_of_dice(seed: int, axes: int) -> None:
    rng = np.random.default_rng(seed)
    pred, ref = np.zeros((2, *(14,) * axes), bool)
    for mask in (pred, ref):
        for _ in range(rng.integers(1, 7)):  # at most 6! matchings
            corner = rng.integers(0, 11, axes)
            stop = corner + rng.integers(1, 6, axes)
            mask[tuple(map(slice, corner, stop))] = True
    row = instance_metrics(pred, ref)
    matched = round(row["instance_recall"] * row["parts_ref"])
    assert matched in every_matching(pred, ref)
    assert row["instance_precision"] == pytest.approx(matched / row["parts_pred"])
    assert row["instance_f1"] == pytest.approx(2 * matched / (row["parts_pred"] + row["parts_ref"]))


def test_thousands_of_specks_need_little_memory() -> None:
    """A table of all pairs of 10 000 specks would take 800 MB."""
    pred, ref = np.zeros((2, 200, 400), bool)
    pred[::2, ::4] = ref[::2, 2::4] = True
    pred[0, 2] = True
    tracemalloc.start()
    row = instance_metrics(pred, ref)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (row["parts_pred"], row["parts_ref"]) == (10_001, 10_000)
    assert row["instance_recall"] == pytest.approx(1 / 10_000)
    assert peak < 50e6


@pytest.mark.parametrize("axes", [2, 3])
def test_rows_have_instances_when_asked(axes: int) -> None:
    pred, ref = plane(LEFT).astype(np.uint8), plane(LEFT, RIGHT).astype(np.uint8)
    if axes == 3:
        pred, ref = np.stack((pred, pred)), np.stack((ref, ref))
    ref[..., 0, 29] = 3  # missed
    pred[..., 0, 0] = 4  # false
    spacing = (1.0,) * axes
    rows = measure_labels(pred, ref, [1, 2, 3, 4], spacing_mm=spacing, boundaries=[], instances=True)
    found = {label: tuple(row[name] for name in INSTANCE_NAMES) for label, row in rows.items()}
    assert found[1] == (1, 2, 1.0, 0.5, pytest.approx(2 / 3))
    assert found[2] == pytest.approx((0, 0, math.nan, math.nan, math.nan), nan_ok=True)
    assert found[3] == (0, 1, 0.0, 0.0, 0.0)
    assert found[4] == (1, 0, 0.0, 0.0, 0.0)
    row = measure_mask(pred == 1, ref == 1, spacing_mm=spacing, boundaries=[], instances=True)
    assert row == rows[1]
    plain = measure_labels(pred, ref, [1], spacing_mm=spacing, boundaries=[])[1]
    assert not {*INSTANCE_NAMES} & plain.keys()

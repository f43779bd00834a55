"""Targets of several parts, such as lesions: how many of the parts were found.

A part is a connected component (26 neighbours in 3D, 8 in 2D). Parts of the prediction and of the reference
are matched one to one so that the sum of their Dice is largest. A pair counts where its Dice is at least
`overlap.HIT_DICE`; pairs below it take no part in the matching.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .overlap import HIT_DICE

INSTANCE_NAMES = ("parts_pred", "parts_ref", "instance_precision", "instance_recall", "instance_f1")


def instance_metrics(pred: NDArray[Any], ref: NDArray[Any]) -> dict[str, float]:
    """Values of INSTANCE_NAMES of two masks (H, W) or (D, H, W) of one shape, bool or 0 and 1.

    With m matched pairs: precision m / parts_pred, recall m / parts_ref, F1 2 m / (parts_pred + parts_ref).
    All three are 0 where one mask is empty and NaN where both are.
    """
    from scipy import ndimage  # here and below: only who asks for instances waits for it

    neighbours = np.ones((3,) * pred.ndim)
    (of_pred, pred_count), (of_ref, ref_count) = (ndimage.label(mask, neighbours) for mask in (pred, ref))
    matched = _matched(of_pred, of_ref)
    none = float("nan") if pred_count + ref_count == 0 else 0.0
    shares = (
        matched / count if count else none for count in (pred_count, ref_count, (pred_count + ref_count) / 2)
    )
    return dict(zip(INSTANCE_NAMES, (pred_count, ref_count, *shares), strict=True))


def _matched(of_pred: NDArray[Any], of_ref: NDArray[Any]) -> int:
    """How many parts of two maps of parts (numbers from 1) are matched."""
    from scipy.optimize import linear_sum_assignment

    pred_sizes, ref_sizes = (np.bincount(parts.ravel()) for parts in (of_pred, of_ref))
    shared = (of_pred > 0) & (of_ref > 0)
    codes = of_pred[shared].astype(np.int64) * len(ref_sizes) + of_ref[shared]
    codes, both = np.unique(codes, return_counts=True)
    pairs = np.stack(np.divmod(codes, len(ref_sizes)))  # (2, N), the only pairs with a Dice above 0
    dice = 2 * both / (pred_sizes[pairs[0]] + ref_sizes[pairs[1]])
    near = dice >= HIT_DICE
    # Parts without a near partner would only make the matrix large: a noisy mask has thousands of them.
    rows, columns = (np.unique(parts, return_inverse=True)[1] for parts in pairs[:, near])
    table = np.zeros((rows.max(initial=-1) + 1, columns.max(initial=-1) + 1))
    table[rows, columns] = dice[near]
    return int(np.count_nonzero(table[linear_sum_assignment(table, maximize=True)]))

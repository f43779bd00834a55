"""What several readers marked: what most of them did, and how far they agree."""

from typing import Any

import numpy as np


def majority(counts: np.ndarray, readers: int) -> np.ndarray:
    """Where at least half of the readers marked; `counts` says how many did."""
    inside: np.ndarray = 2 * counts.astype(int) >= readers
    return inside


def agreement(counts: np.ndarray, readers: int) -> float:
    """Dice of two readers, pooled over all pairs of readers; NaN where nobody marked or there is one reader.

    The sum over pairs of 2 |A and B|, divided by the sum of |A| + |B|. A reader who marked nothing counts.
    """
    marked = counts.astype(float)
    total = (readers - 1) * marked.sum()
    return float((marked * (marked - 1)).sum() / total) if total else float("nan")


def of_readers(counts: np.ndarray, readers: int) -> dict[str, Any]:
    """Fields of an item: how many readers were asked, and their `agreement`, None where it is not defined."""
    agreed = agreement(counts, readers)
    return {"readers_asked": readers, "agreement": None if np.isnan(agreed) else round(agreed, 4)}

"""Which lesion a mask took, and how well: what an evaluation with sentences says beside overlap."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .segmentation import Row

if TYPE_CHECKING:
    from ..data.evaluation_cases import Target

IOU_THRESHOLDS = (0.5, 0.7, 0.9)


def sentence_facts(target: "Target", mask: np.ndarray) -> Row:
    """The sentence, and metrics of 0 and 1 whose means are shares.

    right_lesion            the mask overlaps the lesion that is meant more than any other of its image; NaN
                            where the data has no other one there, or several or none are meant
    pr@0.5, pr@0.7, pr@0.9  the IoU is above 0.5, 0.7, 0.9 (Pr@X, Prec@X of referring segmentation); NaN where
                            nothing is meant

    Args:
        target: what the sentence means.
        mask: (D, H, W) bool, what was found.
    """
    meant = target.region.mask()
    both, either = np.count_nonzero(mask & meant), np.count_nonzero(mask | meant)
    facts: Row = {"sentence": str(target.sentence), "right_lesion": float("nan")}
    if target.others:
        beside = [int(np.count_nonzero(mask & other.mask())) for other in target.others]
        facts["right_lesion"] = float(hits_target(int(both), beside))
    iou = both / either if meant.any() else float("nan")
    return facts | {
        f"pr@{threshold}": float(iou > threshold) if meant.any() else iou for threshold in IOU_THRESHOLDS
    }


def hits_target(overlap: int, others: Sequence[int]) -> bool:
    """Whether a mask takes the lesion that it shares `overlap` pixels with, and none of the `others`.

    A mask that lies on two lesions takes the one of which it has more pixels.
    """
    return overlap > max(others, default=0)

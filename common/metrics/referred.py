"""Which lesion a mask took, and how well: what an evaluation with sentences says beside overlap."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from ignite.engine import State
from monai.utils.enums import CommonKeys
from torch import Tensor

from .handlers import CaseMasks
from .segmentation import Row

if TYPE_CHECKING:
    from ..data.referring_samples import ReferringCases

IOU_THRESHOLDS = (0.5, 0.7, 0.9)


class ReferredLesions:
    """Cases of a `CaseReport` from an engine that evaluates items of `ReferringCases`, in their own grids.

    Rows say their `sentence` and `patient`, and have these metrics of 0 and 1, whose means are shares:
        right_lesion    the mask overlaps the lesion that is meant more than any other of its picture; NaN
                        where the data has no other one in that picture
        pr@0.5, pr@0.7, pr@0.9    the IoU is above 0.5, 0.7, 0.9 (Pr@X, Prec@X of referring segmentation)

    Args:
        dataset: that the engine evaluates.
    """

    def __init__(self, dataset: "ReferringCases") -> None:
        self.dataset = dataset
        self._items = {item.case: item for item in dataset.data}

    def __call__(self, state: State) -> list[CaseMasks]:
        batch, output = (cast(list[dict[str, Any]], part) for part in (state.batch, state.output))
        return [self._case({**given, **found}) for given, found in zip(batch, output, strict=True)]

    def _case(self, asked: Mapping[str, Any]) -> CaseMasks:
        item = self._items[str(asked["case"])]
        pred, ref = asked[CommonKeys.PRED][0], asked[CommonKeys.LABEL][0]
        found, meant = (torch.as_tensor(mask).cpu() > 0 for mask in (pred, ref))
        iou = _iou(found, meant)
        facts: Row = {"sentence": str(asked["prompt"]), "patient": item.patient}
        facts["right_lesion"] = _right(found, meant, self.dataset.beside(item))
        facts |= {f"pr@{threshold}": float(iou > threshold) for threshold in IOU_THRESHOLDS}
        return CaseMasks(
            item.case,
            pred,
            ref,
            {1: str(asked["target"])},
            asked["spacing_mm"],
            facts,
            first_slice=item.slice_index or 0,
        )


def _right(pred: Tensor, ref: Tensor, others: list[Tensor]) -> float:
    """1 where the mask is on the lesion `ref` and not on one of `others`, else 0; NaN without others."""
    if not others:
        return float("nan")
    return float(takes(int((pred & ref).sum()), [int((pred & other).sum()) for other in others]))


def takes(overlap: int, others: Sequence[int]) -> bool:
    """Whether a mask takes the lesion that it shares `overlap` pixels with, and none of the `others`.

    A mask that lies on two lesions takes the one of which it has more pixels.
    """
    return overlap > max(others, default=0)


def _iou(pred: Tensor, ref: Tensor) -> float:
    return int((pred & ref).sum()) / max(int((pred | ref).sum()), 1)

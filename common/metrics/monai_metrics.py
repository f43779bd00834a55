"""The metrics as MONAI's cumulative metrics, with every case's own spacing."""

from collections.abc import Sequence
from typing import Any

import torch
from monai.metrics import CumulativeIterationMetric
from torch import Tensor

from ..errors import InputError
from .arrays import Spacing
from .distances import BOUNDARIES, Boundary, metric_names
from .overlap import OVERLAP_NAMES
from .segmentation import measure_channels

# MONAI's batches are lists of (C, H, W) or (C, D, H, W) tensors, or one tensor with a batch axis before.
Images = Sequence[Tensor] | Tensor


class SegmentationMetric(CumulativeIterationMetric):
    """One metric of `segmentation.py` for each case and channel of binarised one-hot maps.

    Args:
        metric: its key: "dsc", "surfel_hd95_mm", "voxel_assd_mm", "surfel_nsd_2mm", ...
        include_background: whether channel 0 counts.
        penalty_mm: distance of a missed or falsely found label. Without one it is inf, and so is the mean
            over cases: a miss never disappears from it.

    `aggregate()` is the mean over cases and channels but those where both masks are empty (NaN).

    Raises:
        InputError: a key that there is not.
    """

    def __init__(
        self, metric: str, *, include_background: bool = False, penalty_mm: float | None = None
    ) -> None:
        super().__init__()
        self.metric = metric
        self.include_background = include_background
        self.penalty_mm = penalty_mm
        self.boundaries, self.tolerances_mm = _needed(metric)

    def _compute_tensor(
        self,
        y_pred: Images,
        y: Images | None = None,
        *,
        spacing_mm: Sequence[Spacing] | None = None,
        **_: Any,
    ) -> Tensor:
        """Measure a batch: what calling the metric does, before it keeps the values.

        Args:
            y_pred, y: (B, C, ...) or B times (C, ...), values 0 and 1.
            spacing_mm: B spacings; may be left out where `y` are MetaTensors with the cases' affines.

        Returns:
            (B, C) float64, or (B, C - 1) without the background.
        """
        if y is None or len(y_pred) != len(y) or (spacing_mm is not None and len(spacing_mm) != len(y)):
            raise InputError(
                f"{self.metric}: found different numbers of predictions, references or spacings, expected "
                "one of each for every case."
            )
        spacings = [None] * len(y) if spacing_mm is None else spacing_mm
        return torch.stack([self._of_case(*case) for case in zip(y_pred, y, spacings, strict=True)])

    def _compute_list(self, y_pred: Images, y: Images | None = None, **kwargs: Any) -> Tensor:
        return self._compute_tensor(y_pred, y, **kwargs)

    def _of_case(self, pred: Tensor, ref: Tensor, spacing_mm: Spacing) -> Tensor:
        first = 0 if self.include_background else 1
        rows = measure_channels(
            pred[first:],
            ref[first:],
            spacing_mm=spacing_mm,
            boundaries=self.boundaries,
            tolerances_mm=self.tolerances_mm,
        )
        return torch.tensor([float(row[self.metric]) for row in rows], dtype=torch.float64)

    def aggregate(self) -> Tensor:
        """Mean over all cases and channels that either mask has; NaN where there is none."""
        values = torch.as_tensor(self.get_buffer())
        if self.penalty_mm is not None:
            values = torch.where(values.isinf(), self.penalty_mm, values)
        return values.nanmean()


def _needed(metric: str) -> tuple[list[Boundary], list[float]]:
    """Boundaries and tolerances that a metric's key asks for."""
    if metric in (*OVERLAP_NAMES, "volume_difference_ml"):
        return [], []
    for boundary in BOUNDARIES:
        prefix = f"{boundary}_nsd_"
        if metric.startswith(prefix) and metric.endswith("mm"):
            try:
                return [boundary], [float(metric.removeprefix(prefix).removesuffix("mm"))]
            except ValueError:
                break
        if metric in metric_names(boundary, []):
            return [boundary], []
    raise InputError(
        f"metric: found {metric!r}, expected a key such as dsc, surfel_hd95_mm, voxel_assd_mm or "
        "surfel_nsd_2mm; see common/metrics/segmentation.py."
    )

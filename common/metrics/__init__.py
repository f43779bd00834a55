"""Overlap and surface-distance metrics in millimetres: `segmentation.py` has their names and definitions.

The functions need numpy, scikit-image and numba (instances: scipy). Handlers for MONAI's engines are imported
on first use, so that measuring two arrays does not wait for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .aggregate import describe, pooled_overlap, summarise, with_interval, write_rows, write_summary
from .cases import CaseRows, measure_case, measure_prompt, slice_counts
from .segmentation import measure_channels, measure_labels, measure_mask

if TYPE_CHECKING:
    from .handlers import CaseReport
    from .monai_metrics import SegmentationMetric

__all__ = [
    "CaseReport",
    "CaseRows",
    "SegmentationMetric",
    "describe",
    "measure_case",
    "measure_channels",
    "measure_labels",
    "measure_mask",
    "measure_prompt",
    "pooled_overlap",
    "slice_counts",
    "summarise",
    "with_interval",
    "write_rows",
    "write_summary",
]

_NEED_MONAI = {
    "CaseReport": ".handlers",
    "SegmentationMetric": ".monai_metrics",
}


def __getattr__(name: str) -> Any:
    if name not in _NEED_MONAI:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_NEED_MONAI[name], __name__), name)

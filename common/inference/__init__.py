"""Segmenting volumes with prompts: the engine, what it writes, and the runner over many files."""

from .inferer import VolumeInferer
from .report import CasesFailedError, RunReport
from .runner import CaseRunner
from .segmentation import Extent, PromptResult, Segmentation, SliceRange

__all__ = [
    "CaseRunner",
    "CasesFailedError",
    "Extent",
    "PromptResult",
    "RunReport",
    "Segmentation",
    "SliceRange",
    "VolumeInferer",
]

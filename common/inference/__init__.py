"""Segmenting volumes with prompts: the engine, what it writes, and the runner over many files."""

from .inferer import VolumeInferer
from .runner import CaseRunner
from .segmentation import PromptResult, Segmentation, SliceRange

__all__ = ["CaseRunner", "PromptResult", "Segmentation", "SliceRange", "VolumeInferer"]

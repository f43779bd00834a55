"""Losses of the bundles' trainings."""

from .competition import PromptCompetition
from .weighted_sum import WeightedSum

__all__ = ["PromptCompetition", "WeightedSum"]

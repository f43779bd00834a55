"""Losses of the bundles' trainings."""

from .competition import PromptCompetition
from .mask_choice import MaskChoice
from .weighted_sum import WeightedSum

__all__ = ["MaskChoice", "PromptCompetition", "WeightedSum"]

"""Losses of the bundles' trainings."""

from .weighted_sum import WeightedSum

__all__ = ["WeightedSum"]

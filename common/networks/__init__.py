"""The systems, one a file."""

from .medvlm import MedVLM

__all__ = ["MedVLM"]

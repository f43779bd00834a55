"""The systems, one a file."""

from .lsms import LSMS
from .medvlm import MedVLM

__all__ = ["LSMS", "MedVLM"]

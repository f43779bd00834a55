"""What a bundle's training and evaluation configs hang onto MONAI's engines."""

from .batches import PreparePrompts, PrepareVolume
from .checkpoints import BestCheckpoint, LoadCheckpoint
from .validation import VolumeDice

__all__ = [
    "BestCheckpoint",
    "LoadCheckpoint",
    "PreparePrompts",
    "PrepareVolume",
    "VolumeDice",
]

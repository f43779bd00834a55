"""What a bundle's training and evaluation configs hang onto MONAI's engines."""

from .batches import PreparePrompts, PrepareVolume
from .checkpoints import BestCheckpoint, LoadCheckpoint
from .pictures import ReferredSlices, ValidationPictures, VolumeSlices
from .precision import PrecisionInferer
from .processes import LostNeighbour, end_processes, start_processes
from .recompute import ActivationCheckpointing
from .record import EvaluationRecord, RunRecord
from .seeding import SeedIterations
from .states import TrainingStates
from .validation import ValidateLastEpoch, VolumeDice
from .watch import EpochFacts, ProgressLine

__all__ = [
    "ActivationCheckpointing",
    "BestCheckpoint",
    "EpochFacts",
    "EvaluationRecord",
    "LoadCheckpoint",
    "LostNeighbour",
    "PrecisionInferer",
    "PreparePrompts",
    "PrepareVolume",
    "ProgressLine",
    "ReferredSlices",
    "RunRecord",
    "SeedIterations",
    "TrainingStates",
    "ValidateLastEpoch",
    "ValidationPictures",
    "VolumeDice",
    "VolumeSlices",
    "end_processes",
    "start_processes",
]

"""What a bundle's training and evaluation configs are made of."""

from .augmentation import Augmentation
from .checkpoints import LoadCheckpoint
from .evaluator import Evaluator
from .precision import PrecisionInferer
from .processes import end_processes, start_processes
from .record import EvaluationRecord
from .schedules import learning_rate_schedule
from .trainer import Trainer

__all__ = [
    "Augmentation",
    "EvaluationRecord",
    "Evaluator",
    "LoadCheckpoint",
    "PrecisionInferer",
    "Trainer",
    "end_processes",
    "learning_rate_schedule",
    "start_processes",
]

"""Reading volumes and datalists, and drawing training samples from them.

The names below are what the bundles' configs point at.
"""

from .datalist import load_datalist, load_label_values, load_referring
from .draws import EpochSampler, collate_slices
from .evaluation_cases import EvaluationCases
from .framing import Channel, Framing
from .organ_slices import OrganSlices
from .sentence_draws import ReferringImages

__all__ = [
    "Channel",
    "EpochSampler",
    "EvaluationCases",
    "Framing",
    "OrganSlices",
    "ReferringImages",
    "collate_slices",
    "load_datalist",
    "load_label_values",
    "load_referring",
]

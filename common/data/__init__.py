"""Reading volumes and datalists, and drawing training samples from them.

The names below are what the bundles' configs point at.
"""

from .datalist import load_absent_names, load_datalist, load_label_names
from .flips import RandLeftRightFlipd
from .organ_slices import EpochSampler, OrganSlices, collate_slices
from .volume_cases import CaseSampler, VolumeCases, only_item

__all__ = [
    "CaseSampler",
    "EpochSampler",
    "OrganSlices",
    "RandLeftRightFlipd",
    "VolumeCases",
    "collate_slices",
    "load_absent_names",
    "load_datalist",
    "load_label_names",
    "only_item",
]

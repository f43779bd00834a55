"""Reading volumes and datalists, and drawing training samples from them.

The names below are what the bundles' configs point at.
"""

from .datalist import load_datalist, load_label_names, load_label_values, load_referring
from .flips import RandLeftRightFlipd, RandQuarterTurnd
from .organ_slices import EpochSampler, OrganSlices, collate_slices
from .referring_samples import MaskInOwnGridd, ReferringCases, ReferringPictures
from .slices import Framing
from .volume_cases import CaseSampler, VolumeCases, only_item

__all__ = [
    "CaseSampler",
    "EpochSampler",
    "Framing",
    "MaskInOwnGridd",
    "OrganSlices",
    "RandLeftRightFlipd",
    "RandQuarterTurnd",
    "ReferringCases",
    "ReferringPictures",
    "VolumeCases",
    "collate_slices",
    "load_datalist",
    "load_label_names",
    "load_label_values",
    "load_referring",
    "only_item",
]

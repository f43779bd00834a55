"""Reading volumes and datalists, and drawing training samples from them.

The names below are what the bundles' configs point at.
"""

from .datalist import load_datalist, load_label_names
from .framing import Channel, Framing
from .flips import RandLeftRightFlipd, RandQuarterTurnd
from .organ_slices import EpochSampler, OrganSlices, collate_slices
from .referring import load_referring
from .referring_samples import MaskInOwnGridd, ReferringCases, ReferringPictures
from .volume_cases import CaseSampler, VolumeCases, only_item

__all__ = [
    "CaseSampler",
    "Channel",
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
    "load_referring",
    "only_item",
]

"""What DICOM objects call a mask: text, and the SNOMED CT codes of the organs that the vocabulary knows."""

from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from ..text.prompts import Prompt
from ..text.vocabulary import Vocabulary

CHARACTER_SET = "ISO_IR 192"  # UTF-8: names of patients and prompts in any script
CHARACTERS = 64  # of a SegmentLabel or an ROIName (VR LO)

# pydicom's names for the codes. Pairs share one; the side is a modifier of it.
_OF_ORGAN = {
    "liver": "Liver",
    "right kidney": "Kidney",
    "left kidney": "Kidney",
    "spleen": "Spleen",
    "pancreas": "Pancreas",
    "aorta": "Aorta",
    "inferior vena cava": "InferiorVenaCava",
    "right adrenal gland": "AdrenalGland",
    "left adrenal gland": "AdrenalGland",
    "gallbladder": "Gallbladder",
    "esophagus": "Esophagus",
    "stomach": "Stomach",
    "duodenum": "Duodenum",
    "heart": "Heart",
    "trachea": "Trachea",
    "left atrium": "LeftAtrium",
    "hepatic vessels": "BloodVessel",
    "prostate": "Prostate",
    "hippocampus": "Hippocampus",
    "brainstem": "BrainStem",
    "spinal cord": "SpinalCord",
    "right parotid gland": "ParotidGland",
    "left parotid gland": "ParotidGland",
    "larynx": "Larynx",
    "mandible": "Mandible",
    "vertebrae": "Vertebra",
    "lungs": "Lung",
}
_SIDES = {"left": "Left", "right": "Right"}


def dicom_name(name: str) -> str:
    """A prompt's name as a value of VR LO, in which a backslash would begin a second value."""
    return name.replace("\\", "/")[:CHARACTERS]


def property_of(prompt: Prompt, vocabulary: Vocabulary) -> tuple[Code, Code | None]:
    """What a prompt's mask shows, and its side.

    A text that names no organ of the vocabulary, or a name that does, is not coded: the most general concept
    is the honest one.
    """
    organ = vocabulary.find(prompt.text) or vocabulary.find(prompt.name)
    if organ is None or organ.name not in _OF_ORGAN:
        return codes.SCT.AnatomicalStructure, None
    side = None if organ.laterality is None else getattr(codes.SCT, _SIDES[organ.laterality])
    return getattr(codes.SCT, _OF_ORGAN[organ.name]), side

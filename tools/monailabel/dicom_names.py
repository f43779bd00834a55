"""What MONAI Label's writer of DICOM SEG is told about the segments.

Left alone, it names the n-th segment that has voxels after the n-th entry, so that an empty mask shifts the
names of all that follow, and it codes everything as a spleen. So it gets one entry for each number that is in
the label map, with codes of its own.
"""

import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common.data.label_maps import read_label_map
from common.errors import InputError

MAKER = "text-guided-segmentation-bundles"
SEGMENT_LABEL_CHARACTERS = 64  # DICOM's LO
# What a text means is not coded: the most general concept is the honest one.
ANATOMICAL_STRUCTURE = {
    "CodeValue": "123037004",
    "CodingSchemeDesignator": "SCT",
    "CodeMeaning": "Anatomical Structure",
}
COLOURS = ((230, 25, 75), (60, 180, 75), (0, 130, 200), (245, 130, 48), (145, 30, 180), (70, 240, 240))


def segments_for(
    label_map: Path, entries: Sequence[dict[str, Any]], *, algorithm_type: str
) -> list[dict[str, Any]]:
    """Entries in the order of the numbers in a label map, each with its name.

    Args:
        label_map: NIfTI or NRRD.
        entries: {"name", "idx"} of all that was asked for; idx is its number (default: 1, 2, ...).
        algorithm_type: AUTOMATIC, or SEMIAUTOMATIC where a person had a hand in it.

    Raises:
        InputError: nothing but background, or a number without a name.
    """
    present = [int(number) for number in np.unique(read_label_map(label_map).slices) if number != 0]
    if not present:
        raise InputError("label: found nothing but background, expected a mask; DICOM SEG cannot be empty.")
    names = {int(entry.get("idx", row)): str(entry.get("name")) for row, entry in enumerate(entries, start=1)}
    missing = [number for number in present if number not in names]
    if missing:
        raise InputError(
            f"label_info: found no name for the label numbers {missing}, expected one for each; send "
            '[{"name": ..., "idx": ...}].'
        )
    return [_entry(number, names[number], algorithm_type) for number in present]


def _segment_label(name: str) -> str:
    """What DICOM's basic characters can say of a name: dcmqi writes no others, and `\\` separates values."""
    plain = unicodedata.normalize("NFKD", name.replace("\\", "/"))
    plain = "".join(character for character in plain if not unicodedata.combining(character))
    return plain.encode("ascii", "replace").decode()[:SEGMENT_LABEL_CHARACTERS]


def _entry(number: int, name: str, algorithm_type: str) -> dict[str, Any]:
    return {
        "name": name,
        "idx": number,
        "model_name": "Segmentation from text, research use",
        "segmentAttribute": {
            "labelID": number,
            "SegmentLabel": _segment_label(name),
            "SegmentDescription": _segment_label(name),
            "SegmentAlgorithmType": algorithm_type,
            "SegmentAlgorithmName": MAKER,
            "SegmentedPropertyCategoryCodeSequence": ANATOMICAL_STRUCTURE,
            "SegmentedPropertyTypeCodeSequence": ANATOMICAL_STRUCTURE,
            "recommendedDisplayRGBValue": list(COLOURS[(number - 1) % len(COLOURS)]),
        },
    }

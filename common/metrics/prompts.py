"""What is measured of a case that was segmented: a row for each prompt, with the lesion that is hit."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import numpy as np

from .aggregate import GROUPS
from .cases import CaseRows, in_pixels, measure_prompt
from .distances import Boundary
from .segmentation import TOLERANCES_MM, Row

if TYPE_CHECKING:
    from ..data.evaluation_cases import EvaluationCase, Target
    from ..inference.segmentation import Segmentation

IOU_THRESHOLDS = (0.5, 0.7, 0.9)


def measure_prompts(
    asked: "EvaluationCase",
    found: "Segmentation",
    *,
    boundaries: Sequence[Boundary] = ("surfel",),
    tolerances_mm: Sequence[float] = TOLERANCES_MM,
    slice_boundaries: Sequence[Boundary] = (),
    instances: bool = False,
) -> CaseRows:
    """Rows of every prompt's own mask, not of the label map.

    What is about one slice or image is measured there, in the plane. Beside the metrics, rows have `patient`,
    `dataset` and `level` where the datalist says them, and `label_map_lost_voxels`, those of the own mask
    that the label map gives to other prompts; rows of sentences have `sentence_facts` too. 2D images have no
    millimetres: their lengths and areas, tolerances included, are in pixels, and the names say so
    (`surfel_hd95_px`, `surfel_nsd_2px`, `area_pred_px2`).

    Args:
        asked: what was asked, and `found` what came of it.
        boundaries, tolerances_mm, slice_boundaries, instances: see `measure_case`.
    """
    rows = CaseRows([], [])
    for number, target in enumerate(asked.targets):
        mask = found.mask(number)
        facts: Row = {"patient": target.patient}
        facts |= {name: value for name in GROUPS if (value := getattr(target, name)) is not None}
        if target.sentence is not None:
            facts |= sentence_facts(target, mask)
        facts["label_map_lost_voxels"] = found.results[number].overlap_voxels
        plane = target.region.plane
        chosen = slice(None) if plane is None else plane
        measured = measure_prompt(
            target.case,
            target.name,
            mask[chosen],
            target.region.mask()[chosen],
            spacing_mm=asked.image.spacing_mm if plane is None else asked.image.spacing_mm[1:],
            boundaries=boundaries,
            tolerances_mm=tolerances_mm,
            slice_boundaries=slice_boundaries,
            instances=instances,
        )
        if not asked.image.in_mm:
            measured = in_pixels(measured)
        rows.volumes.extend(_with(facts, row) for row in measured.volumes)
        rows.slices.extend(_with(facts, _numbered(target, row)) for row in measured.slices)
    return rows


def sentence_facts(target: "Target", mask: np.ndarray) -> Row:
    """The sentence, and metrics of 0 and 1 whose means are shares.

    right_lesion            the mask overlaps the lesion that is meant more than any other of its image; NaN
                            where the data has no other one there, or several or none are meant
    pr@0.5, pr@0.7, pr@0.9  the IoU is above 0.5, 0.7, 0.9 (Pr@X, Prec@X of referring segmentation); NaN where
                            nothing is meant
    dice_published          `dsc`, but 1 and not NaN where nothing is meant and nothing is found, as papers
                            count such images in their means

    Args:
        target: what the sentence means.
        mask: (D, H, W) bool, what was found.
    """
    meant = target.region.mask()
    pixels = np.count_nonzero(mask) + np.count_nonzero(meant)
    both, either = np.count_nonzero(mask & meant), np.count_nonzero(mask | meant)
    facts: Row = {"sentence": str(target.sentence), "right_lesion": float("nan")}
    if target.others:
        beside = [int(np.count_nonzero(mask & other.mask())) for other in target.others]
        facts["right_lesion"] = float(hits_target(int(both), beside))
    iou = both / either if meant.any() else float("nan")
    facts |= {
        f"pr@{threshold}": float(iou > threshold) if meant.any() else iou for threshold in IOU_THRESHOLDS
    }
    return facts | {"dice_published": float(2 * both / pixels if pixels else 1)}


def hits_target(overlap: int, others: Sequence[int]) -> bool:
    """Whether a mask takes the lesion that it shares `overlap` pixels with, and none of the `others`.

    A mask that lies on two lesions takes the one of which it has more pixels.
    """
    return overlap > max(others, default=0)


def _numbered(target: "Target", row: Row) -> Row:
    """The row with the slice's number in the file."""
    return {**row, "slice": cast(int, row["slice"]) + (target.region.plane or 0)}


def _with(facts: Row, row: Row) -> Row:
    """The row with facts behind the columns that say what it is of."""
    return {"case": row["case"], "label": row["label"], **facts, **row}

"""What is measured of a case that was segmented: a row for each of its prompts."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from .cases import CaseRows, in_pixels, measure_prompt
from .distances import Boundary
from .segmentation import TOLERANCES_MM, Row
from .sentences import sentence_facts

if TYPE_CHECKING:
    from ..data.evaluation_cases import EvaluationCase, Target
    from ..inference.segmentation import Segmentation


def measure_prompts(
    asked: "EvaluationCase",
    found: "Segmentation",
    *,
    boundaries: Sequence[Boundary] = ("surfel",),
    tolerances_mm: Sequence[float] = TOLERANCES_MM,
    slice_boundaries: Sequence[Boundary] = (),
    instances: bool = False,
) -> CaseRows:
    """Rows of every prompt's own mask, whatever the label map gave to other prompts.

    What is about one slice or image is measured there, in the plane. Beside the metrics, rows have `patient`
    and `label_map_lost_voxels`, those of the own mask that the label map gives to other prompts; rows of
    sentences have `sentence_facts` too. 2D images have no millimetres: their lengths and areas, tolerances
    included, are in pixels, and the names say so (`surfel_hd95_px`, `surfel_nsd_2px`, `area_pred_px2`).

    Args:
        asked: what was asked, and `found` what came of it.
        boundaries, tolerances_mm, slice_boundaries, instances: see `measure_case`.
    """
    rows = CaseRows([], [])
    for number, target in enumerate(asked.targets):
        mask = found.mask(number)
        facts: Row = {"patient": target.patient}
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


def _numbered(target: "Target", row: Row) -> Row:
    """The row with the slice's number in the file."""
    return {**row, "slice": cast(int, row["slice"]) + (target.region.plane or 0)}


def _with(facts: Row, row: Row) -> Row:
    """The row with facts behind the columns that say what it is of."""
    return {"case": row["case"], "label": row["label"], **facts, **row}

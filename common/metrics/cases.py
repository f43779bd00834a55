"""One case's rows: its volume and its slices, label by label."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from .arrays import Spacing
from .distances import Boundary
from .segmentation import TOLERANCES_MM, Row, measure_labels, slice_counts


class CaseRows(NamedTuple):
    """`volumes`: a row a label. `slices`: a row for each slice and label that either map has in it."""

    volumes: list[Row]
    slices: list[Row]


def measure_case(
    case: str,
    pred: Any,
    ref: Any,
    labels: Mapping[int, str],
    *,
    spacing_mm: Spacing = None,
    boundaries: Sequence[Boundary] = ("surfel",),
    tolerances_mm: Sequence[float] = TOLERANCES_MM,
) -> CaseRows:
    """Rows of two label maps (D, H, W): "case", "label" (its name), then the keys of `measure_labels`.

    Rows of slices have "case", "label", "slice" (index along D), "status", counts and overlap. A slice
    with neither a predicted nor a reference voxel of a label has no Dice, and no row.

    Args:
        labels: {label number: name} of what was to be found in this case.

    Raises:
        InputError: see `measure_labels`.
    """
    measured = measure_labels(
        pred, ref, labels, spacing_mm=spacing_mm, boundaries=boundaries, tolerances_mm=tolerances_mm
    )
    volumes: list[Row] = [{"case": case, "label": labels[label], **row} for label, row in measured.items()]
    slices: list[Row] = [
        {
            "case": case,
            "label": labels[label],
            "slice": index,
            "status": counts.status,
            **counts.named(),
            **counts.overlap(),
        }
        for label, of_slices in slice_counts(pred, ref, labels).items()
        for index, counts in enumerate(of_slices)
        if counts.status != "absent"
    ]
    return CaseRows(volumes, slices)

"""One case's rows: its volume and its slices, label by label or for the mask of one prompt."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypedDict, Unpack

from .arrays import Spacing, as_array, as_mask, check_spacing
from .distances import Boundary
from .overlap import Counts
from .scanning import LabelScan
from .segmentation import TOLERANCES_MM, Row, Wanted, checked_labels, distance_row, label_row, of_labels


class CaseRows(NamedTuple):
    """`volumes`: a row a label. `slices`: a row for each slice and label that either map has in it."""

    volumes: list[Row]
    slices: list[Row]


class Measures(TypedDict, total=False):
    """What `measure_case` measures, by the names of its arguments."""

    boundaries: Sequence[Boundary]
    tolerances_mm: Sequence[float]
    slice_boundaries: Sequence[Boundary]
    instances: bool


def measure_case(
    case: str,
    pred: Any,
    ref: Any,
    labels: Mapping[int, str],
    *,
    spacing_mm: Spacing = None,
    boundaries: Sequence[Boundary] = ("surfel",),
    tolerances_mm: Sequence[float] = TOLERANCES_MM,
    slice_boundaries: Sequence[Boundary] = (),
    instances: bool = False,
) -> CaseRows:
    """Rows of two label maps (D, H, W): "case", "label" (its name), then the keys of `measure_labels`.

    Rows of slices have "case", "label", "slice" (index along D), "status", counts, overlap and "hit". A
    slice with neither a predicted nor a reference voxel of a label has no Dice, and no row. Maps (H, W)
    have the one slice 0.

    Args:
        labels: {label number: name} of what was to be found in this case.
        slice_boundaries: rows of slices have the distances and NSD of these too, measured in the plane of
            the slice (areas are lengths there), by the names that rows of volumes have.
        boundaries, tolerances_mm, instances: see `measure_labels`; the tolerances are those of slices too.

    Raises:
        InputError: see `measure_labels`.
    """
    arrays = as_array(pred, "pred"), as_array(ref, "ref")
    spacing = check_spacing(spacing_mm, arrays[0].ndim, ref)
    wanted, in_slices = Wanted(boundaries, tolerances_mm, instances), Wanted(slice_boundaries, tolerances_mm)
    numbers = checked_labels(labels)
    scan = LabelScan(*arrays, numbers)

    def measure(label: int) -> CaseRows:
        name: Row = {"case": case, "label": labels[label]}
        volume = name | label_row(scan, label, spacing, wanted)
        return CaseRows([volume], [name | row for row in _slice_rows(scan, label, spacing, in_slices)])

    measured = of_labels(measure, numbers).values()
    return CaseRows(
        [row for rows in measured for row in rows.volumes], [row for rows in measured for row in rows.slices]
    )


def measure_prompt(
    case: str,
    label: str,
    pred: Any,
    ref: Any,
    *,
    spacing_mm: Spacing = None,
    **measures: Unpack[Measures],
) -> CaseRows:
    """Rows of one pair of masks (D, H, W), bool or 0 and 1, called `label`: see `measure_case`.

    It is for masks that have an array each, since those of several prompts may overlap.

    Args:
        measures: what else `measure_case` is told.

    Raises:
        InputError: see `measure_labels`; values other than 0 and 1.
    """
    reference = as_mask(ref, "ref")
    return measure_case(
        case,
        as_mask(pred, "pred"),
        reference,
        {1: label},
        spacing_mm=check_spacing(spacing_mm, reference.ndim, ref),
        **measures,
    )


def in_pixels(rows: CaseRows) -> CaseRows:
    """Rows that were measured with a spacing of 1, as the image has no millimetres, under names that say so.

    They are such as `surfel_hd95_px`, `surfel_nsd_2px` and `area_pred_px2`.
    """
    volumes, slices = (
        [{re.sub(r"mm(2?)$", r"px\1", name): value for name, value in row.items()} for row in some]
        for some in rows
    )
    return CaseRows(volumes, slices)


def _slice_rows(scan: LabelScan, label: int, spacing: tuple[float, ...], wanted: Wanted) -> list[Row]:
    """Rows of the slices that either map has the label in."""
    return [
        {
            "slice": index,
            **counts.row(),
            **distance_row(scan, label, counts, spacing, wanted, slice_index=index),
        }
        for index, counts in enumerate(scan.slice_counts(label))
        if counts.status != "absent"
    ]


def slice_counts(pred: Any, ref: Any, labels: Iterable[int]) -> dict[int, list[Counts]]:
    """Voxel counts of each label in each slice along the first axis of two label maps (D, H, W).

    `counts.overlap()["dsc"]` is a slice's Dice, `sum(list, Counts(0, 0, 0))` the volume's counts.

    Raises:
        InputError: shapes or values that cannot be used.
    """
    labels = checked_labels(labels)
    scan = LabelScan(as_array(pred, "pred"), as_array(ref, "ref"), labels)
    return {label: scan.slice_counts(label) for label in labels}

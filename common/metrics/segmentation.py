"""Segmentation metrics of one case: overlap, and surface distances in millimetres.

Names and definitions (d: distances from the elements of one surface to the other surface):
    dsc, iou, precision, recall      shares of voxels
    hit                              1 where the Dice is at least 0.1, else 0: its mean is the hit rate
    volume_pred_ml, volume_ref_ml    volume of each mask (2D: area_pred_mm2, area_ref_mm2)
    volume_difference_ml             prediction minus reference (2D: area_difference_mm2)
    <boundary>_hd_mm                 largest d of both directions
    <boundary>_hd95_mm               the larger one of the two directions' 95th percentiles
    <boundary>_hd95_pooled_mm        95th percentile of the d of both directions together
    <boundary>_assd_mm               mean d of both directions together
    <boundary>_masd_mm               mean of the two directions' means
    <boundary>_asd_pred_to_ref_mm    mean d from the prediction's surface
    <boundary>_asd_ref_to_pred_mm    mean d from the reference's surface
    <boundary>_nsd_<t>mm             share of both surfaces with d <= t mm (normalised surface distance)
    parts_pred, parts_ref            connected parts of each mask; these and the next only when asked for
    instance_precision, ..._recall, ..._f1      shares of the parts that were matched: see `instances.py`
    status                           found, missed, false_positive, absent: what the values are of
    voxels_both, ..._pred_only, ..._ref_only    the counts behind the shares
<boundary> is "surfel" (corners between voxels weighted by their marching-cubes area; hd95 is the smallest
d that covers 95 % of the area) or "voxel" (border voxels, centre to centre, all alike; hd95 interpolates).
What lies outside the image is background. One mask empty: shares 0, distances inf. Both: NaN.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from ..errors import InputError
from .arrays import Spacing, as_array, as_mask, check_spacing
from .distances import BOUNDARIES, Boundary, metric_names, surface_distances
from .instances import INSTANCE_NAMES, instance_metrics
from .overlap import Counts
from .scanning import LabelScan

Row = dict[str, float | int | str]
T = TypeVar("T")

TOLERANCES_MM = (1.0, 2.0, 3.0)


@dataclass(frozen=True)
class Wanted:
    """What to measure beside overlap and volume.

    Raises:
        InputError: an option that cannot be used.
    """

    boundaries: Sequence[Boundary]
    tolerances_mm: Sequence[float]
    instances: bool = False

    def __post_init__(self) -> None:
        unknown = [name for name in self.boundaries if name not in BOUNDARIES]
        if unknown or isinstance(self.boundaries, str):
            raise InputError(
                f"boundaries: found {self.boundaries!r}, expected a list of {', '.join(BOUNDARIES)}."
            )
        if not all(tolerance > 0 for tolerance in self.tolerances_mm):
            raise InputError(
                f"tolerances_mm: found {self.tolerances_mm}, expected numbers in mm above 0, such as (1.0, "
                "2.0)."
            )


def label_row(scan: LabelScan, label: int, spacing: tuple[float, ...], wanted: Wanted) -> Row:
    """All metrics of a label in the whole map; `spacing` in mm, one an axis of the map."""
    counts = scan.counts(label)
    row: Row = counts.row()
    row |= _sizes(counts, spacing)
    row |= distance_row(scan, label, counts, spacing, wanted)
    if wanted.instances:
        row |= _instances(scan, label, counts)
    return row


def distance_row(
    scan: LabelScan,
    label: int,
    counts: Counts,
    spacing: tuple[float, ...],
    wanted: Wanted,
    slice_index: int | None = None,
) -> dict[str, float]:
    """The distance metrics of a label in the whole map, or in one slice and its plane."""
    if counts.status != "found":
        names = [
            name for boundary in wanted.boundaries for name in metric_names(boundary, wanted.tolerances_mm)
        ]
        absent = counts.status == "absent"
        return {name: np.nan if absent else 0.0 if "_nsd_" in name else np.inf for name in names}
    if not wanted.boundaries:
        return {}
    planar = scan.planar or slice_index is not None
    # A plane has a row of neighbours, never a second plane: the first size is any that is above 0.
    sizes_mm = np.array((spacing[-2], *spacing[-2:]) if planar else spacing)
    pred, ref = scan.crops(label, slice_index)
    row: dict[str, float] = {}
    for boundary in wanted.boundaries:
        distances = surface_distances(pred, ref, sizes_mm, boundary, planar=planar)
        row |= distances.metrics(wanted.tolerances_mm)
    return row


def _sizes(counts: Counts, spacing: tuple[float, ...]) -> dict[str, float]:
    """Volumes in ml, or areas in mm², and their difference."""
    voxel = float(np.prod(spacing))
    name, unit, size = ("area", "mm2", voxel) if len(spacing) == 2 else ("volume", "ml", voxel / 1000)
    return {
        f"{name}_pred_{unit}": (counts.both + counts.pred_only) * size,
        f"{name}_ref_{unit}": (counts.both + counts.ref_only) * size,
        f"{name}_difference_{unit}": (counts.pred_only - counts.ref_only) * size,
    }


def _instances(scan: LabelScan, label: int, counts: Counts) -> dict[str, float]:
    if counts.status == "absent":
        return dict(zip(INSTANCE_NAMES, (0, 0, np.nan, np.nan, np.nan), strict=True))
    pred, ref = scan.crops(label)
    return instance_metrics(pred[1], ref[1]) if scan.planar else instance_metrics(pred, ref)


def of_labels(measure: Callable[[int], T], labels: Sequence[int]) -> dict[int, T]:
    """`measure` of each label, in threads: what takes long does not hold Python's lock."""
    if len(labels) == 1:  # a thread would cost as much as a slice
        return {labels[0]: measure(labels[0])}
    with ThreadPoolExecutor() as pool:
        return dict(zip(labels, pool.map(measure, labels), strict=True))


def checked_labels(labels: Iterable[int]) -> list[int]:
    """Label numbers as a list.

    Raises:
        InputError: a number below 1, or one that stands twice.
    """
    checked = list(labels)
    if not all(label >= 1 for label in checked) or len(set(checked)) < len(checked):
        raise InputError(
            f"labels: found {checked}, expected different whole numbers from 1; leave the background out."
        )
    return checked


def measure_labels(
    pred: Any,
    ref: Any,
    labels: Iterable[int],
    *,
    spacing_mm: Spacing = None,
    boundaries: Sequence[Boundary] = ("surfel",),
    tolerances_mm: Sequence[float] = TOLERANCES_MM,
    instances: bool = False,
) -> dict[int, Row]:
    """All metrics of each label of two label maps.

    Args:
        pred, ref: (H, W) or (D, H, W), numpy, torch or MetaTensor of one shape, whole numbers.
        labels: which labels to measure, each at least 1.
        spacing_mm: voxel size of each axis; may be left out where `ref` is a MetaTensor.
        boundaries: one or both of "surfel", "voxel"; their name stands in every key.
        tolerances_mm: of the NSD.
        instances: whether to match the connected parts too, which takes longer.

    Raises:
        InputError: shapes, values, spacing, labels or options that cannot be used.
    """
    wanted = Wanted(boundaries, tolerances_mm, instances)
    labels = checked_labels(labels)
    a, b = as_array(pred, "pred"), as_array(ref, "ref")
    spacing = check_spacing(spacing_mm, a.ndim, ref)
    if a.ndim == 3 and a.flags.f_contiguous and b.flags.f_contiguous:  # as nibabel reads: no need to reorder
        a, b, spacing = a.T, b.T, spacing[::-1]
    scan = LabelScan(a, b, labels)
    return of_labels(lambda label: label_row(scan, label, spacing, wanted), labels)


def measure_mask(
    pred: Any,
    ref: Any,
    *,
    spacing_mm: Spacing = None,
    boundaries: Sequence[Boundary] = ("surfel",),
    tolerances_mm: Sequence[float] = TOLERANCES_MM,
    instances: bool = False,
) -> Row:
    """All metrics of two masks, (H, W) or (D, H, W), of bool or of 0 and 1: see `measure_labels`."""
    masks = {"pred": as_mask(pred, "pred"), "ref": as_mask(ref, "ref")}
    rows = measure_labels(
        **masks,
        labels=[1],
        spacing_mm=check_spacing(spacing_mm, masks["ref"].ndim, ref),
        boundaries=boundaries,
        tolerances_mm=tolerances_mm,
        instances=instances,
    )
    return rows[1]


def measure_channels(
    pred: Any,
    ref: Any,
    *,
    spacing_mm: Spacing = None,
    boundaries: Sequence[Boundary] = ("surfel",),
    tolerances_mm: Sequence[float] = TOLERANCES_MM,
) -> list[Row]:
    """All metrics of each channel of two one-hot maps (C, H, W) or (C, D, H, W): see `measure_labels`."""
    spacing = check_spacing(spacing_mm, pred.ndim - 1, ref)
    if pred.shape != ref.shape:
        raise InputError(
            f"pred: found shape {tuple(pred.shape)}, expected that of ref, {tuple(ref.shape)}; "
            "give both the same channels and grid."
        )
    return [
        measure_mask(a, b, spacing_mm=spacing, boundaries=boundaries, tolerances_mm=tolerances_mm)
        for a, b in zip(pred, ref, strict=True)
    ]

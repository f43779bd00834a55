"""Segmentation metrics of one case: overlap, and surface distances in millimetres.

Names and definitions (d: distances from the elements of one surface to the other surface):
    dsc, iou, precision, recall      shares of voxels
    volume_difference_ml             prediction minus reference (2D: area_difference_mm2)
    <boundary>_hd_mm                 largest d of both directions
    <boundary>_hd95_mm               the larger one of the two directions' 95th percentiles
    <boundary>_hd95_pooled_mm        95th percentile of the d of both directions together
    <boundary>_assd_mm               mean d of both directions together
    <boundary>_masd_mm               mean of the two directions' means
    <boundary>_asd_pred_to_ref_mm    mean d from the prediction's surface
    <boundary>_asd_ref_to_pred_mm    mean d from the reference's surface
    <boundary>_nsd_<t>mm             share of both surfaces with d <= t mm (normalised surface distance)
    status                           found, missed, false_positive, absent: what the values are of
    voxels_both, ..._pred_only, ..._ref_only    the counts behind the shares
<boundary> is "surfel" (corners between voxels weighted by their marching-cubes area; hd95 is the smallest
d that covers 95 % of the area) or "voxel" (border voxels, centre to centre, all alike; hd95 interpolates).
What lies outside the image is background. One mask empty: shares 0, distances inf. Both: NaN.
"""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .arrays import Spacing, as_array, check_pair, check_spacing
from .distances import BOUNDARIES, Boundary, metric_names, surface_distances
from .overlap import Counts
from .scanning import crop_label, scan_labels

Row = dict[str, float | int | str]

TOLERANCES_MM = (1.0, 2.0, 3.0)


class LabelScan:
    """Boxes and voxel counts of some labels in two label maps, from one pass over them.

    Args:
        pred, ref: (H, W) or (D, H, W) whole numbers of one shape; other labels count as background.
        labels: from 1.
    """

    def __init__(self, pred: NDArray[Any], ref: NDArray[Any], labels: Sequence[int]) -> None:
        check_pair(pred, ref)
        self.planar = pred.ndim == 2
        self.pred, self.ref = self._for_kernels(pred), self._for_kernels(ref)
        self._index_of = np.full(max(labels, default=0) + 1, len(labels))
        self._index_of[labels] = range(len(labels))
        self._boxes = np.zeros((len(labels) + 1, 3, 2), np.int64)
        self._boxes[..., 0] = max(self.pred.shape)
        self._counts = np.zeros((len(self.pred), len(labels) + 1, 3), np.int64)
        scan_labels(self.pred, self.ref, self._index_of, self._boxes, self._counts)

    def _for_kernels(self, label_map: NDArray[Any]) -> NDArray[Any]:
        volume = np.ascontiguousarray(label_map[None] if self.planar else label_map)
        return volume.view(np.uint8) if volume.dtype == bool else volume

    def counts(self, label: int) -> Counts:
        """Voxels of a label in the whole map."""
        return Counts(*self._counts[:, self._index_of[label]].sum(axis=0).tolist())

    def slice_counts(self, label: int) -> list[Counts]:
        """Voxels of a label in each slice along the first axis of the map."""
        return [Counts(*row) for row in self._counts[:, self._index_of[label]].tolist()]

    def crops(self, label: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Masks of a label within its box in both maps, with a border of 0: see `distances.find_surface`."""
        box = self._boxes[self._index_of[label]]
        pred, ref = (crop_label(label_map, label, box) for label_map in (self.pred, self.ref))
        if self.planar:  # the same image before and behind: nothing changes along the first axis
            pred[0], pred[2], ref[0], ref[2] = pred[1], pred[1], ref[1], ref[1]
        return pred, ref


def _measure_label(
    scan: LabelScan,
    label: int,
    spacing: tuple[float, ...],
    boundaries: Sequence[Boundary],
    tolerances_mm: Sequence[float],
) -> Row:
    """One row of metrics."""
    counts = scan.counts(label)
    voxel = float(np.prod(spacing))
    difference = (counts.pred_only - counts.ref_only) * voxel
    row: Row = {"status": counts.status, **counts.named(), **counts.overlap()}
    row |= {"area_difference_mm2": difference} if scan.planar else {"volume_difference_ml": difference / 1000}
    if counts.status != "found":
        for name in (n for b in boundaries for n in metric_names(b, tolerances_mm)):
            row[name] = np.nan if counts.status == "absent" else 0.0 if "_nsd_" in name else np.inf
        return row
    pred, ref = scan.crops(label)
    spacing_3d = np.array(
        (spacing[0], *spacing)[-3:]
    )  # a plane has a row of neighbours, never a second plane
    for boundary in boundaries:
        row |= surface_distances(pred, ref, spacing_3d, boundary, planar=scan.planar).metrics(tolerances_mm)
    return row


def _check_options(boundaries: Sequence[Boundary], tolerances_mm: Sequence[float]) -> None:
    unknown = [name for name in boundaries if name not in BOUNDARIES]
    if unknown or isinstance(boundaries, str):
        raise InputError(
            f"boundaries: found {boundaries!r}, expected a list of {', '.join(BOUNDARIES)}; correct it."
        )
    if not all(tolerance > 0 for tolerance in tolerances_mm):
        raise InputError(
            f"tolerances_mm: found {tolerances_mm}, expected numbers in mm above 0; correct them."
        )


def _checked_labels(labels: Iterable[int]) -> list[int]:
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
) -> dict[int, Row]:
    """All metrics of each label of two label maps.

    Args:
        pred, ref: (H, W) or (D, H, W), numpy, torch or MetaTensor of one shape, whole numbers.
        labels: which labels to measure, each at least 1.
        spacing_mm: voxel size of each axis; may be left out where `ref` is a MetaTensor.
        boundaries: one or both of "surfel", "voxel"; their name stands in every key.
        tolerances_mm: of the NSD.

    Raises:
        InputError: shapes, values, spacing, labels or options that cannot be used.
    """
    _check_options(boundaries, tolerances_mm)
    labels = _checked_labels(labels)
    a, b = as_array(pred, "pred"), as_array(ref, "ref")
    spacing = check_spacing(spacing_mm, a.ndim, ref)
    if a.ndim == 3 and a.flags.f_contiguous and b.flags.f_contiguous:  # as nibabel reads: no need to reorder
        a, b, spacing = a.T, b.T, spacing[::-1]
    scan = LabelScan(a, b, labels)

    def measured(label: int) -> Row:
        return _measure_label(scan, label, spacing, boundaries, tolerances_mm)

    if len(labels) == 1:  # a thread would cost as much as a slice
        return {labels[0]: measured(labels[0])}
    with ThreadPoolExecutor() as pool:
        return dict(zip(labels, pool.map(measured, labels), strict=True))


def measure_mask(
    pred: Any,
    ref: Any,
    *,
    spacing_mm: Spacing = None,
    boundaries: Sequence[Boundary] = ("surfel",),
    tolerances_mm: Sequence[float] = TOLERANCES_MM,
) -> Row:
    """All metrics of two masks, (H, W) or (D, H, W), of bool or of 0 and 1: see `measure_labels`."""
    masks = {"pred": as_array(pred, "pred"), "ref": as_array(ref, "ref")}
    for name, mask in masks.items():
        if mask.dtype != bool and mask.size and (mask.min() < 0 or mask.max() > 1):
            raise InputError(
                f"{name}: found values {mask.min()} to {mask.max()}, expected a mask of 0 and 1; "
                "use measure_labels for a label map."
            )
    spacing = check_spacing(spacing_mm, masks["ref"].ndim, ref)
    rows = measure_labels(
        **masks, labels=[1], spacing_mm=spacing, boundaries=boundaries, tolerances_mm=tolerances_mm
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


def slice_counts(pred: Any, ref: Any, labels: Iterable[int]) -> dict[int, list[Counts]]:
    """Voxel counts of each label in each slice along the first axis of two label maps (D, H, W).

    `counts.overlap()["dsc"]` is a slice's Dice, `sum(list, Counts(0, 0, 0))` the volume's counts.

    Raises:
        InputError: shapes or values that cannot be used.
    """
    labels = _checked_labels(labels)
    scan = LabelScan(as_array(pred, "pred"), as_array(ref, "ref"), labels)
    return {label: scan.slice_counts(label) for label in labels}

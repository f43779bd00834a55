"""One pass over two label maps, and the crop of a label."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arrays import Array, check_pair, compiled
from .overlap import Counts


@compiled
def _note_run(
    boxes: Array, counts: Array, index: int, column: int, i: int, j: int, start: int, stop: int
) -> None:
    """Count the voxels [start, stop) of row (i, j) for a label and grow its box to hold them."""
    counts[i, index, column] += stop - start
    box = boxes[index]
    box[0, 0], box[0, 1] = min(box[0, 0], i), max(box[0, 1], i + 1)
    box[1, 0], box[1, 1] = min(box[1, 0], j), max(box[1, 1], j + 1)
    box[2, 0], box[2, 1] = min(box[2, 0], start), max(box[2, 1], stop)


@compiled
def _find(labels: Array, label: int) -> int:
    """The index of a label, which may be any number, among ascending ones; their count where it is none."""
    low, high = 0, len(labels)
    while low < high and label != 0:
        middle = (low + high) // 2
        if labels[middle] == label:
            return middle
        if labels[middle] < label:
            low = middle + 1
        else:
            high = middle
    return len(labels)


@compiled
def scan_labels(pred: Array, ref: Array, labels: Array, boxes: Array, counts: Array) -> None:
    """One pass over two label maps (I, J, K): boxes and agreement of L labels.

    Args:
        labels: (L,) int64, ascending, from 1.
        boxes: (L + 1, 3, 2) int64, filled with an empty interval; becomes [start, stop) of the voxels that
            have a label in either map. The last row is room to work in, and so is that of `counts`.
        counts: (I, L + 1, 3) int64 of zeros; becomes a slice's voxels of a label in both, in `pred` only
            and in `ref` only.
    """
    size_i, size_j, size_k = pred.shape
    for i in range(size_i):
        for j in range(size_j):
            a, b = pred[i, j], ref[i, j]
            anything = False
            for k in range(size_k):  # no early exit: this loop becomes vector instructions
                anything |= (a[k] != 0) | (b[k] != 0)
            k = 0 if anything else size_k
            while k < size_k:  # runs of voxels with equal labels
                p, r, start = a[k], b[k], k
                while k < size_k and a[k] == p and b[k] == r:
                    k += 1
                found, true = _find(labels, p), _find(labels, r)
                if p == r:
                    _note_run(boxes, counts, found, 0, i, j, start, k)
                else:
                    _note_run(boxes, counts, found, 1, i, j, start, k)
                    _note_run(boxes, counts, true, 2, i, j, start, k)


@compiled
def crop_label(label_map: Array, label: int, box: Array) -> Array:
    """The voxels of `label` inside `box` as (I+2, J+2, K+2) uint8 of 0 and 1, with a border of 0."""
    start, stop = box[:, 0], box[:, 1]
    crop = np.zeros((stop[0] - start[0] + 2, stop[1] - start[1] + 2, stop[2] - start[2] + 2), np.uint8)
    for i in range(start[0], stop[0]):
        for j in range(start[1], stop[1]):
            row = label_map[i, j, start[2] : stop[2]]
            out = crop[i - start[0] + 1, j - start[1] + 1, 1:-1]
            for k in range(len(out)):
                out[k] = row[k] == label
    return crop


class LabelScan:
    """Boxes and voxel counts of some labels in two label maps, from one pass over them.

    Args:
        pred, ref: (H, W) or (D, H, W) whole numbers of one shape; other labels count as background.
        labels: from 1.

    Raises:
        InputError: shapes that cannot be used.
    """

    def __init__(self, pred: NDArray[Any], ref: NDArray[Any], labels: Sequence[int]) -> None:
        check_pair(pred, ref)
        self.planar = pred.ndim == 2
        volumes = [label_map[None] if self.planar else label_map for label_map in (pred, ref)]
        slices = len(volumes[0])
        self._first_slice = 0
        if not all(volume.flags.c_contiguous for volume in volumes):
            box = content_box(
                volumes
            )  # the kernels need a copy, and reordering the background would take longest
            volumes, self._first_slice = [volume[box] for volume in volumes], box[0].start
        self.pred, self.ref = (_for_kernels(volume) for volume in volumes)
        known = sorted(labels)
        self._index_of = {label: index for index, label in enumerate(known)}
        self._boxes = np.zeros((len(labels) + 1, 3, 2), np.int64)
        self._boxes[..., 0] = max(self.pred.shape)
        self._counts = np.zeros((slices, len(labels) + 1, 3), np.int64)
        counted = self._counts[self._first_slice : self._first_slice + len(self.pred)]
        scan_labels(self.pred, self.ref, np.array(known, np.int64), self._boxes, counted)

    def counts(self, label: int) -> Counts:
        """Voxels of a label in the whole map."""
        return Counts(*self._counts[:, self._index_of[label]].sum(axis=0).tolist())

    def slice_counts(self, label: int) -> list[Counts]:
        """Voxels of a label in each slice along the first axis of the map."""
        return [Counts(*row) for row in self._counts[:, self._index_of[label]].tolist()]

    def crops(
        self, label: int, slice_index: int | None = None
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Masks of a label within its box in both maps, with a border of 0: see `distances.find_surface`.

        Args:
            label: that either map has.
            slice_index: of the one slice to crop, as a plane. None: the whole map.
        """
        box = self._boxes[self._index_of[label]].copy()
        if slice_index is not None:
            box[0] = slice_index - self._first_slice + np.arange(2)
        pred, ref = (crop_label(label_map, label, box) for label_map in (self.pred, self.ref))
        if self.planar or slice_index is not None:
            for crop in (pred, ref):  # the same image before and behind: nothing changes along the first axis
                crop[0], crop[2] = crop[1], crop[1]
        return pred, ref


def content_box(volumes: Sequence[NDArray[Any]]) -> tuple[slice, slice, slice]:
    """The smallest box around what is not 0 in volumes (I, J, K) of one shape; it has at least one voxel."""
    box = [slice(None)] * 3
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        filled = np.logical_or.reduce([volume[tuple(box)].any(axis=others) for volume in volumes])
        at = np.flatnonzero(filled)
        box[axis] = slice(int(at[0]), int(at[-1]) + 1) if len(at) else slice(0, 1)
    return box[0], box[1], box[2]


def _for_kernels(volume: NDArray[Any]) -> NDArray[Any]:
    contiguous = np.ascontiguousarray(volume)
    return contiguous.view(np.uint8) if contiguous.dtype == bool else contiguous

"""One pass over two label maps, and the crop of a label."""

import numpy as np

from .compiled import Array, compiled


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
def scan_labels(pred: Array, ref: Array, index_of: Array, boxes: Array, counts: Array) -> None:
    """One pass over two label maps (I, J, K): boxes and agreement of L labels.

    Args:
        index_of: (highest + 1,) the index of each label in the arrays below, L for what is none of them.
        boxes: (L + 1, 3, 2) int64, filled with an empty interval; becomes [start, stop) of the voxels that
            have a label in either map. The last row is room to work in, and so is that of `counts`.
        counts: (I, L + 1, 3) int64 of zeros; becomes a slice's voxels of a label in both, in `pred` only
            and in `ref` only.
    """
    none = len(boxes) - 1
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
                found = index_of[p] if 0 <= p < len(index_of) else none
                true = index_of[r] if 0 <= r < len(index_of) else none
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

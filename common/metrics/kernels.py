"""The loops over voxels and surface elements, compiled by numba.

Every kernel releases the interpreter's lock, so that threads run them side by side. A surface is kept
as columns: element n of row (i, j) lies at `ks[n]`, `starts[i * J + j] <= n < starts[i * J + j + 1]`,
and the `ks` of a row ascend. This is how a raster scan finds them, and all that the search needs.
"""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile at the first call and keep the machine code on disk, where a disk can be written.

    As `scripts.common` nothing is kept: numba's files name the module, and the repository's own copy is
    the same file under another name.
    """
    try:
        return numba.njit(nogil=True, cache=not __name__.startswith("scripts."))(function)
    except RuntimeError:  # numba finds no folder for its cache (a read-only container)
        return numba.njit(nogil=True)(function)


@_compiled
def _note_run(
    boxes: Array, counts: Array, label: int, column: int, i: int, j: int, start: int, stop: int
) -> None:
    """Count the voxels [start, stop) of row (i, j) for `label` and grow its box to hold them."""
    if not 0 < label < len(boxes):
        return
    counts[i, label, column] += stop - start
    box = boxes[label]
    box[0, 0], box[0, 1] = min(box[0, 0], i), max(box[0, 1], i + 1)
    box[1, 0], box[1, 1] = min(box[1, 0], j), max(box[1, 1], j + 1)
    box[2, 0], box[2, 1] = min(box[2, 0], start), max(box[2, 1], stop)


@_compiled
def scan_labels(pred: Array, ref: Array, boxes: Array, counts: Array) -> None:
    """One pass over two label maps (I, J, K): boxes and agreement of all labels.

    Args:
        boxes: (L, 3, 2) int64, filled with an empty interval; becomes [start, stop) of the voxels that
            have label l in either map. Labels outside 1..L-1 count as background.
        counts: (I, L, 3) int64 of zeros; becomes a slice's voxels of label l in both, in `pred` only
            and in `ref` only.
    """
    size_i, size_j, size_k = pred.shape
    for i in range(size_i):
        for j in range(size_j):
            a, b = pred[i, j], ref[i, j]
            anything = a[0] | b[0]
            for k in range(size_k):  # no early exit: this loop becomes vector instructions
                anything |= a[k] | b[k]
            k = 0 if anything else size_k
            while k < size_k:  # runs of voxels with equal labels
                p, r, start = a[k], b[k], k
                while k < size_k and a[k] == p and b[k] == r:
                    k += 1
                if p == r:
                    _note_run(boxes, counts, p, 0, i, j, start, k)
                else:
                    _note_run(boxes, counts, p, 1, i, j, start, k)
                    _note_run(boxes, counts, r, 2, i, j, start, k)


@_compiled
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


@_compiled
def _row_codes(crop: Array, i: int, j: int, surfels: bool, quad: Array, codes: Array) -> None:
    """Fill `codes` (K,) with the codes of row (i, j) as in `find_elements`, 0 for no element.

    `quad` (K,) is room to work in.
    """
    here, above, before = crop[i, j], crop[i, j - 1], crop[i - 1, j]
    size_k = len(here)
    codes[0] = 0
    if surfels:
        corner = crop[i - 1, j - 1]
        for k in range(size_k):  # bits 0, 2, 4, 6: the four voxels at k
            quad[k] = corner[k] | (before[k] << 2) | (above[k] << 4) | (here[k] << 6)
        for k in range(1, size_k):
            code = np.uint8(quad[k - 1] | (quad[k] << 1))
            codes[k] = code * np.uint8(code != 255)
    else:
        after, below = crop[i + 1, j], crop[i, j + 1]
        for k in range(1, size_k - 1):
            inner = before[k] & after[k] & above[k] & below[k] & here[k - 1] & here[k + 1]
            codes[k] = here[k] & ~inner
        codes[size_k - 1] = 0


@_compiled
def find_elements(crop: Array, planes: int, surfels: bool) -> tuple[Array, Array, Array]:
    """Surface elements of a mask in planes 1..planes of its crop -> starts, ks, codes (n,) uint8.

    With `surfels`, the corners of voxels around which the mask changes: corner (i, j, k) lies between
    voxels i-1 and i, j-1 and j, k-1 and k, and bit 4a + 2b + c of its code is voxel (i-1+a, j-1+b, k-1+c).
    Otherwise, the voxels of the mask with a face-neighbour outside it, all of code 1.
    """
    size_j, size_k = crop.shape[1:]
    rows = size_j if surfels else size_j - 1
    starts = np.zeros(planes * size_j + 1, np.int64)
    quad, codes = np.empty(size_k, np.uint8), np.empty(size_k, np.uint8)
    for i in range(1, planes + 1):
        for j in range(1, rows):
            _row_codes(crop, i, j, surfels, quad, codes)
            count = 0
            for k in range(size_k):  # counted first: this loop becomes vector instructions
                count += codes[k] != 0
            starts[(i - 1) * size_j + j + 1] = count
    starts = np.cumsum(starts)
    found_ks, found_codes = np.empty(starts[-1], np.int32), np.empty(starts[-1], np.uint8)
    for row in range(len(starts) - 1):
        n = starts[row]
        if n == starts[row + 1]:
            continue
        _row_codes(crop, row // size_j + 1, row % size_j, surfels, quad, codes)
        for k in range(size_k):
            if codes[k]:
                found_ks[n], found_codes[n] = k, codes[k]
                n += 1
    return starts, found_ks, found_codes


@_compiled
def _nearest_in_row(ks: Array, start: int, stop: int, k: int) -> int:
    """Distance in steps from k to the nearest of the ascending ks[start:stop], which are not empty."""
    low, high = start, stop
    while low < high:
        middle = (low + high) // 2
        if ks[middle] < k:
            low = middle + 1
        else:
            high = middle
    if low == stop:
        return k - ks[stop - 1]
    if low == start:
        return ks[start] - k
    return min(ks[low] - k, k - ks[low - 1])


@_compiled
def nearest_by_columns(
    starts: Array, ks: Array, other_starts: Array, other_ks: Array, size_j: int, spacing: Array, steps: Array
) -> Array:
    """Squared distance in mm² from every element of a surface to the nearest element of another one.

    From an element, rows of the other surface are visited outward in the order of `steps` (N, 2) int64
    (di, dj by growing length in mm, (0, 0) first) until a row is farther away than the best element found.

    Returns:
        (n,) float64, exact where it is at most the squared length of the last step; inf where no step
        met the other surface.
    """
    size_i = (len(starts) - 1) // size_j
    squared = np.empty(len(ks), np.float64)
    for row in range(len(starts) - 1):
        i, j = row // size_j, row % size_j
        for n in range(starts[row], starts[row + 1]):
            best = np.inf
            for step in range(len(steps)):
                di, dj = steps[step]
                away = (di * spacing[0]) ** 2 + (dj * spacing[1]) ** 2
                if away >= best:
                    break
                if not (0 <= i + di < size_i and 0 <= j + dj < size_j):
                    continue
                other = row + di * size_j + dj
                if other_starts[other] == other_starts[other + 1]:
                    continue
                dk = _nearest_in_row(other_ks, other_starts[other], other_starts[other + 1], ks[n])
                best = min(best, away + (dk * spacing[2]) ** 2)
            squared[n] = best
    return squared


@_compiled
def _lower_envelope(heights: Array, step: float, sites: Array, borders: Array) -> None:
    """Replace heights[j] by the least of heights[m] + ((j - m) step)² over all m, in time linear in their number.

    Felzenszwalb and Huttenlocher, "Distance transforms of sampled functions", 2012, algorithm 1: parabola
    number n of the envelope stands at sites[n] and is the lowest from borders[n] on.
    """
    count = 0
    for m in range(len(heights)):
        if heights[m] == np.inf:
            continue
        border = -np.inf
        while count > 0:
            top = sites[count - 1]
            border = (heights[m] - heights[top]) / (2 * step * step * (m - top)) + (m + top) / 2
            if border > borders[count - 1]:
                break
            count -= 1
        sites[count], borders[count] = m, border if count > 0 else -np.inf
        count += 1
    if count == 0:
        return
    lowest = heights[sites[:count]]
    n = 0
    for j in range(len(heights)):
        while n + 1 < count and borders[n + 1] <= j:
            n += 1
        heights[j] = lowest[n] + ((j - sites[n]) * step) ** 2


@_compiled
def _plane_distances(starts: Array, ks: Array, spacing: Array, plane: Array) -> None:
    """Fill `plane` (K, J) with the squared distance in mm² to the nearest element of one plane of a surface."""
    size_k, size_j = plane.shape
    for j in range(size_j):
        if starts[j] == starts[j + 1]:
            plane[:, j] = np.inf
            continue
        n = starts[j]
        for k in range(size_k):
            while n + 1 < starts[j + 1] and abs(ks[n + 1] - k) <= abs(ks[n] - k):
                n += 1
            plane[k, j] = ((ks[n] - k) * spacing[2]) ** 2
    sites, borders = np.empty(size_j, np.int64), np.empty(size_j)
    for k in range(size_k):
        _lower_envelope(plane[k], spacing[1], sites, borders)


@_compiled
def nearest_by_planes(
    rows: Array, ks: Array, squared: Array, other_starts: Array, other_ks: Array, plane: Array, spacing: Array
) -> None:
    """Lower `squared` (n,) mm² to the distance from the elements (rows, ks) to the nearest of another surface.

    Its planes are transformed one by one, whole, so that the time does not depend on how far apart the
    surfaces are. `plane` (K, J) float64 is room to work in.
    """
    size_j = plane.shape[1]
    for i in range((len(other_starts) - 1) // size_j):
        of_plane = other_starts[i * size_j : (i + 1) * size_j + 1]
        if of_plane[0] == of_plane[-1]:
            continue
        _plane_distances(of_plane, other_ks, spacing, plane)
        for n in range(len(rows)):
            away = ((rows[n] // size_j - i) * spacing[0]) ** 2
            if away < squared[n]:
                squared[n] = min(squared[n], away + plane[ks[n], rows[n] % size_j])

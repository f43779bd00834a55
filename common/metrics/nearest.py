"""Distances between two surfaces, whose elements are kept as in `elements.py`, by two exact routes.

Looking at nearby columns is fast where surfaces are close, which most elements of a usable segmentation are;
transforming whole planes takes the same time however far apart they are.
"""

import numpy as np

from .arrays import Array, compiled


@compiled
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


@compiled
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


@compiled
def _lower_envelope(heights: Array, step: float, sites: Array, borders: Array) -> None:
    """Replace heights[j] by the least of heights[m] + ((j - m) step)² over all m, in linear time.

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


@compiled
def _plane_distances(starts: Array, ks: Array, spacing: Array, plane: Array) -> None:
    """Fill `plane` (K, J) with squared distances in mm² to the nearest element of one plane of a surface."""
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


@compiled
def nearest_by_planes(
    rows: Array, ks: Array, squared: Array, other_starts: Array, other_ks: Array, plane: Array, spacing: Array
) -> None:
    """Lower `squared` (n,) mm² to that of the elements (rows, ks) and the nearest of another surface.

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

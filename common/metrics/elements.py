"""Surface elements of a mask.

A surface is kept as columns: element n of row (i, j) lies at `ks[n]`, where `starts[r] <= n < starts[r + 1]`
for r = i * J + j, and the `ks` of a row ascend. A raster scan finds them so, and a search needs no more.
"""

import numpy as np

from .compiled import Array, compiled


@compiled
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


@compiled
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

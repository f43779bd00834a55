"""Surface elements of a mask, and the area of each.

A surface is kept as columns: element n of row (i, j) lies at `ks[n]`, where `starts[r] <= n < starts[r + 1]`
for r = i * J + j, and the `ks` of a row ascend. A raster scan finds them so, and a search needs no more.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .arrays import Array, compiled


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


@lru_cache(maxsize=1)
def _triangles() -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Area vectors (T, 3) on the unit grid of the triangles of all 256 codes, and the code (T,) of each.

    Bit 4a + 2b + c of a code is the voxel at (a, b, c). Lorensen and Cline, "Marching cubes: a high
    resolution 3D surface construction algorithm", 1987, with vertices half-way between two voxels.
    """
    from skimage.measure import marching_cubes

    normals, codes = [], []
    for code in range(1, 255):
        voxels = np.unpackbits(np.uint8(code), bitorder="little").reshape(2, 2, 2).astype(np.float32)
        points, faces, _, _ = marching_cubes(voxels, 0.5, method="lorensen")
        a, b, c = points[faces].astype(np.float64).transpose(1, 0, 2)
        normals.append(0.5 * np.cross(b - a, c - a))
        codes.append(np.full(len(faces), code))
    return np.concatenate(normals), np.concatenate(codes)


@lru_cache(maxsize=64)
def surfel_areas(spacing_mm: tuple[float, float, float]) -> NDArray[np.float64]:
    """Area in mm² of the surface element of each of the 256 codes of 2x2x2 voxels, float64 (256,).

    A code and its complement bound the same surface. Where voxels meet only diagonally, marching cubes
    has two surfaces to choose from and the smaller one is meant, which keeps such voxels apart.
    With a first spacing of 1 mm and equal voxels along the first axis, these are the contour lengths in
    mm of 2x2 pixels. Nikolov et al., "Deep learning to achieve clinically applicable segmentation of
    head and neck anatomy for radiotherapy", 2018 (arXiv:1809.04430), use the same areas.
    """
    normals, codes = _triangles()
    s0, s1, s2 = spacing_mm
    areas = np.linalg.norm(normals * (s1 * s2, s0 * s2, s0 * s1), axis=1)
    total = np.bincount(codes, areas, minlength=256)
    return np.minimum(total, total[::-1])

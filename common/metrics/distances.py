"""Surfaces of two masks, the distances between them in millimetres, and the metrics that follow."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from .elements import find_elements, surfel_areas
from .nearest import nearest_by_columns, nearest_by_planes

Boundary = Literal["surfel", "voxel"]
BOUNDARIES: tuple[Boundary, ...] = get_args(Boundary)
Floats = NDArray[np.float64]
Ints = NDArray[Any]

COLUMN_STEPS = 200  # rows visited around an element before whole planes are transformed: 8 voxels far
TIE = 1e-6  # a distance of three voxels of 0.8 mm is 2.4000000000000004 and still within 2.4 mm


@dataclass(frozen=True)
class Surface:
    """Elements of the surface of a mask: `starts` and `ks` as in `elements.py`; weights in mm², mm or 1."""

    starts: Ints
    ks: Ints
    weights: Floats
    size_j: int
    size_k: int


def find_surface(crop: NDArray[np.uint8], spacing_mm: Floats, boundary: Boundary, *, planar: bool) -> Surface:
    """Surface of a mask.

    Args:
        crop: (I+2, J+2, K+2) of 0 and 1 with a border of 0; planar: three times the same image.
        spacing_mm: (3,); its first number does not matter where the masks are planar.
        boundary: "surfel": corners between voxels, weighted by the marching-cubes area around them;
            "voxel": voxels with a face-neighbour (in 2D: an edge-neighbour) outside, all of weight 1.
    """
    surfels = boundary == "surfel"
    planes = 1 if planar else len(crop) - (1 if surfels else 2)
    starts, ks, codes = find_elements(crop, planes, surfels)
    s0, s1, s2 = spacing_mm.tolist()
    weights = surfel_areas((1.0 if planar else s0, s1, s2))[codes] if surfels else np.ones(len(ks))
    return Surface(starts, ks, weights, *crop.shape[1:])


def _steps(first_mm: float, second_mm: float, size_i: int, size_j: int) -> tuple[NDArray[np.int64], float]:
    """Steps (di, dj) between rows of a grid by growing length, (N, 2), and the radius in mm they cover."""
    reach_mm = float(np.sqrt(COLUMN_STEPS * first_mm * second_mm / np.pi))
    most_i, most_j = min(size_i - 1, int(reach_mm / first_mm)), min(size_j - 1, int(reach_mm / second_mm))
    di, dj = np.meshgrid(np.arange(-most_i, most_i + 1), np.arange(-most_j, most_j + 1), indexing="ij")
    length = np.hypot(di * first_mm, dj * second_mm).ravel()
    order = np.argsort(length, kind="stable")[: np.count_nonzero(length <= reach_mm)]
    return np.stack((di.ravel()[order], dj.ravel()[order]), axis=1), reach_mm


def nearest_mm(of: Surface, to: Surface, spacing_mm: Floats) -> Floats:
    """Distance in mm from every element of one surface to the nearest of the other, which is not empty."""
    s0, s1, _ = spacing_mm.tolist()
    steps, reach_mm = _steps(s0, s1, (len(of.starts) - 1) // of.size_j, of.size_j)
    squared = nearest_by_columns(of.starts, of.ks, to.starts, to.ks, of.size_j, spacing_mm, steps)
    far = np.flatnonzero(squared > reach_mm**2)
    if len(far):
        rows = np.searchsorted(of.starts, far, side="right") - 1
        found = squared[far]
        room = np.empty((of.size_k, of.size_j))
        nearest_by_planes(rows, of.ks[far], found, to.starts, to.ks, room, spacing_mm)
        squared[far] = found
    return np.sqrt(squared)


@dataclass(frozen=True)
class SurfaceDistances:
    """Distances in mm from the elements of each of two surfaces to the other one, and what they weigh.

    Both surfaces have elements. `boundary` says how they were found.
    """

    pred_to_ref: Floats
    pred_weights: Floats
    ref_to_pred: Floats
    ref_weights: Floats
    boundary: Boundary

    def percentile(self, distances: Floats, weights: Floats, percent: float) -> float:
        """Of surfels the smallest distance that covers `percent` of the area; of voxels interpolated."""
        if self.boundary == "voxel":
            return float(np.percentile(distances, percent))
        goal = percent / 100 * weights.sum() * (1 - 1e-12)
        cut = float(np.percentile(distances, 0.98 * percent, method="lower"))
        if weights[distances <= cut].sum() >= goal:  # the elements far away weigh little: look at all of them
            cut = -1.0
        tail = np.flatnonzero(distances > cut)  # else sorting the tail is enough, a fraction of the work
        tail = tail[np.argsort(distances[tail])]
        area_within = weights[distances <= cut].sum() + np.cumsum(weights[tail])
        return float(distances[tail[min(int(np.searchsorted(area_within, goal)), len(tail) - 1)]])

    def nsd(self, tolerance_mm: float) -> float:
        """Share of both surfaces within `tolerance_mm` of the other one."""
        limit = tolerance_mm * (1 + TIE)
        near = (
            self.pred_weights[self.pred_to_ref <= limit].sum()
            + self.ref_weights[self.ref_to_pred <= limit].sum()
        )
        return float(near / (self.pred_weights.sum() + self.ref_weights.sum()))

    def metrics(self, tolerances_mm: Sequence[float]) -> dict[str, float]:
        """All metrics by the names of `names`."""
        pred, ref = (self.pred_to_ref, self.pred_weights), (self.ref_to_pred, self.ref_weights)
        both = np.concatenate((pred[0], ref[0])), np.concatenate((pred[1], ref[1]))
        pred_mean, ref_mean = (
            float(np.average(pred[0], weights=pred[1])),
            float(np.average(ref[0], weights=ref[1])),
        )
        values = (
            float(both[0].max()),
            max(self.percentile(*pred, 95), self.percentile(*ref, 95)),
            self.percentile(*both, 95),
            float(np.average(both[0], weights=both[1])),
            (pred_mean + ref_mean) / 2,
            pred_mean,
            ref_mean,
            *(self.nsd(tolerance) for tolerance in tolerances_mm),
        )
        return dict(zip(metric_names(self.boundary, tolerances_mm), values, strict=True))


DISTANCE_NAMES = (
    "hd_mm",
    "hd95_mm",
    "hd95_pooled_mm",
    "assd_mm",
    "masd_mm",
    "asd_pred_to_ref_mm",
    "asd_ref_to_pred_mm",
)


def metric_names(boundary: Boundary, tolerances_mm: Sequence[float]) -> list[str]:
    """Keys of the metrics of one boundary model: surfel_hd95_mm, ..., surfel_nsd_2mm."""
    return [f"{boundary}_{name}" for name in (*DISTANCE_NAMES, *(f"nsd_{t:g}mm" for t in tolerances_mm))]


def surface_distances(
    pred: NDArray[np.uint8], ref: NDArray[np.uint8], spacing_mm: Floats, boundary: Boundary, *, planar: bool
) -> SurfaceDistances:
    """Distances between the surfaces of two crops as `find_surface` takes them, neither of them empty."""
    a, b = (find_surface(crop, spacing_mm, boundary, planar=planar) for crop in (pred, ref))
    return SurfaceDistances(
        nearest_mm(a, b, spacing_mm), a.weights, nearest_mm(b, a, spacing_mm), b.weights, boundary
    )

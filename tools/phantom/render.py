"""From a scene to voxels: density in Hounsfield units and labels."""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import ndimage

from .grid import VoxelGrid
from .scene import LARGEST_GAP_MM, Patient, Scene, Structure
from .shapes import Array, Bounds

AIR_HU = -1000.0
LOWEST_HU = -1024  # what scanners store for air at the least
SLAB_VOXELS = 3_000_000  # rendering slab by slab keeps memory near 100 MB whatever the volume's size
FAR_MM = 1e6

Box = tuple[slice, slice, slice]


def render(scene: Scene, grid: VoxelGrid, rng: Generator) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """Scan `scene`: image in HU and label map, both (X, Y, Z) as in `grid`."""
    texture = smooth_noise(rng, grid, sigma_mm=3.0)
    density = np.empty(grid.shape, np.float32)
    labels = np.empty(grid.shape, np.uint8)
    deep = max(1, SLAB_VOXELS // (grid.shape[0] * grid.shape[1]))
    for start in range(0, grid.shape[2], deep):
        stop = min(start + deep, grid.shape[2])
        first, last = max(start - 1, 0), min(stop + 1, grid.shape[2])  # neighbours, for the slopes
        canvas = Canvas.blank(scene.patient, grid, slice(first, last), texture[..., first:last])
        canvas.paint(scene.structures)
        density[..., start:stop] = canvas.density[..., start - first : stop - first]
        labels[..., start:stop] = canvas.labels[..., start - first : stop - first]
    density += ct_noise(rng, grid, scene)
    np.rint(density, out=density)
    return np.clip(density, LOWEST_HU, 3071, out=density).astype(np.int16), labels


def coverage(distance: Array) -> Array:
    """Share of each voxel that lies inside, (X, Y, Z) in [0, 1], from the signed distance at voxel centres.

    A border that cuts a voxel is a plane at that scale. The share of a box behind a plane at distance d
    falls from 1 to 0 over the change of d from voxel to voxel (exactly so for a plane along an axis; for
    a slanted one the ramp has the variance of the exact answer). The change is measured, so anisotropic
    voxels and stretched distances need no special case; of the two neighbours along an axis the one with
    the larger change counts, since inside a thin sheet the two sides would cancel out.
    """
    change_squared = np.full(distance.shape, 1e-6, np.float32)
    for axis in range(3):
        step_squared = np.square(np.diff(distance, axis=axis))
        larger = np.zeros_like(distance)
        ahead, behind = (np.moveaxis(larger, axis, 0)[part] for part in (np.s_[:-1], np.s_[1:]))
        steps = np.moveaxis(step_squared, axis, 0)
        ahead[...] = steps
        np.maximum(behind, steps, out=behind)
        change_squared += larger
    return np.clip(0.5 - distance / np.sqrt(change_squared), 0, 1)


def _inside(box: Box, outer: Box) -> Box:
    """`box` counted from the start of `outer`."""
    x, y, z = (slice(b.start - o.start, b.stop - o.start) for b, o in zip(box, outer, strict=True))
    return x, y, z


@dataclass
class Canvas:
    """A slab of voxels that is being painted; all arrays are (X, Y, Z)."""

    patient: Patient
    axes_mm: tuple[Array, Array, Array]
    template_mm: tuple[Array, Array, Array]
    texture: Array
    density: Array
    labels: NDArray[np.uint8]

    @classmethod
    def blank(cls, patient: Patient, grid: VoxelGrid, slab: slice, texture: Array) -> "Canvas":
        """Slices `slab` of `grid`, full of air."""
        x, y, z = grid.axes_mm
        axes = (x, y, z[slab])
        density = np.full(texture.shape, AIR_HU, np.float32)
        return cls(
            patient, axes, patient.to_template(*axes), texture, density, np.zeros(texture.shape, np.uint8)
        )

    def paint(self, structures: tuple[Structure, ...]) -> None:
        """Paint `structures` and all their parts."""
        whole: Box = tuple(slice(0, count) for count in self.density.shape)  # type: ignore[assignment]
        self._paint_parts(structures, np.full(self.density.shape, -FAR_MM, np.float32), whole)

    def _paint_parts(self, parts: tuple[Structure, ...], parent: Array, parent_box: Box) -> None:
        taken = np.full(parent.shape, FAR_MM, np.float32)  # distance to the parts that are there already
        for part in parts:
            box = self._box(part, parent_box)
            if any(along.start >= along.stop for along in box):
                continue
            local = _inside(box, parent_box)
            distance = self._distance(part, box)
            np.maximum(distance, parent[local] + part.inset_mm, out=distance)
            np.maximum(distance, part.gap_mm - taken[local], out=distance)
            self._fill(part, distance, box)
            np.minimum(taken[local], distance, out=taken[local])
            if part.parts:
                self._paint_parts(tuple(part.parts), distance, box)

    def _box(self, structure: Structure, parent_box: Box) -> Box:
        """Voxels that can hold some of `structure`, what must keep clear of it, and two more on each side."""
        bounds: Bounds = structure.shape.bounds
        if not structure.rigid:
            bounds = self.patient.bounds_in_world(bounds)
        grown = LARGEST_GAP_MM + (structure.bumps.bound if structure.bumps else 0.0)
        grown *= max(1.0, *self.patient.scale)
        box = []
        for mm, (low, high), outer in zip(self.axes_mm, bounds, parent_box, strict=True):
            start, stop = np.searchsorted(mm, [low - grown, high + grown])
            box.append(slice(max(int(start) - 2, outer.start), min(int(stop) + 2, outer.stop)))
        return box[0], box[1], box[2]

    def _distance(self, structure: Structure, box: Box) -> Array:
        axes = tuple(mm[along] for mm, along in zip(self.axes_mm, box, strict=True))
        if structure.rigid:
            distance = structure.shape.distance(*np.ix_(*axes))
        else:
            distance = structure.shape.distance(*(mm[box] for mm in self.template_mm))
        distance = np.asarray(distance, np.float32)
        return distance + structure.bumps.on_axes(*axes) if structure.bumps else distance

    def _fill(self, structure: Structure, distance: Array, box: Box) -> None:
        inside = coverage(distance)
        target: Array | float = structure.hu
        if structure.texture_hu:
            target = structure.hu + structure.texture_hu * self.texture[box]
        density = self.density[box]
        density += inside * (target - density)
        if structure.label is not None:
            self.labels[box][distance < 0] = structure.label


def smooth_noise(rng: Generator, grid: VoxelGrid, *, sigma_mm: float) -> Array:
    """Gaussian noise (X, Y, Z) of mean 0 and deviation 1, correlated over about 2 `sigma_mm`."""
    noise = rng.standard_normal(grid.shape, np.float32)
    noise = ndimage.gaussian_filter(
        noise, [sigma_mm / step for step in grid.spacing_mm], truncate=3, mode="wrap"
    )
    return noise / noise.std()


def ct_noise(rng: Generator, grid: VoxelGrid, scene: Scene) -> Array:
    """Quantum noise (X, Y, Z) in HU.

    Filtered backprojection leaves noise whose power rises with frequency from zero and is cut by the
    reconstruction kernel: here a difference of two Gaussians in plane. Neighbouring slices share a little.
    It is strongest in the middle of the body, where the fewest photons arrive.
    """
    x, y, _ = grid.axes_mm
    in_plane = np.array(grid.spacing_mm[:2])
    fine, coarse = 0.6 / in_plane, 2.4 / in_plane
    noise = rng.standard_normal(grid.shape, np.float32)
    sharp = ndimage.gaussian_filter(noise, [*np.maximum(fine, 0.45), 0.5], truncate=3, mode="wrap")
    noise = sharp - ndimage.gaussian_filter(noise, [*np.maximum(coarse, 1.2), 0.5], truncate=3, mode="wrap")
    radius_squared = np.add.outer(
        np.square((x - scene.patient.origin[0]) / (0.9 * scene.half_width_mm)),
        np.square((y - scene.patient.origin[1]) / (0.7 * scene.half_width_mm)),
    )
    strength = 0.35 + 0.65 * np.exp(-radius_squared)
    return noise * (scene.noise_hu / noise.std() * strength)[..., None].astype(np.float32)

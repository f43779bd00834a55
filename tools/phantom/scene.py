"""What a phantom consists of: a tree of structures in a patient who is moved, scaled and bent."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from common.errors import InputError

from .shapes import Array, Bounds, Point, Shape

ORGANS = (
    "liver",
    "spleen",
    "left kidney",
    "right kidney",
    "pancreas",
    "stomach",
    "gallbladder",
    "aorta",
    "vertebrae",
    "lungs",
)
LABELS = {name: value for value, name in enumerate(ORGANS, start=1)}  # 0 is background


@dataclass(frozen=True)
class Waves:
    """A smooth random function of position: a sum of products of cosines, never beyond +-`amplitude`.

    Being separable it is cheap: a voxel grid costs one matrix product.

    Attributes:
        amplitudes: (M,), their sum is the bound.
        wave_vectors: (M, 3) in radians per mm.
        phases: (M, 3) in radians.
    """

    amplitudes: NDArray[np.float64]
    wave_vectors: NDArray[np.float64]
    phases: NDArray[np.float64]

    @classmethod
    def random(cls, rng: Generator, amplitude: float, wavelength_mm: float, count: int = 4) -> "Waves":
        """`count` waves of `wavelength_mm` to twice that: slopes stay below 2 pi amplitude / wavelength."""
        lengths = wavelength_mm * rng.uniform(1, 2, (count, 3))
        return cls(
            np.full(count, amplitude / count), 2 * np.pi / lengths, rng.uniform(0, 2 * np.pi, (count, 3))
        )

    @property
    def bound(self) -> float:
        return float(np.abs(self.amplitudes).sum())

    def on_axes(self, x: Array, y: Array, z: Array) -> Array:
        """Values (X, Y, Z) on the grid with world axes `x` (X,), `y` (Y,) and `z` (Z,) in mm."""
        along_x, along_y, along_z = (
            np.cos(np.outer(self.wave_vectors[:, axis], mm) + self.phases[:, axis, None]).astype(np.float32)
            for axis, mm in enumerate((x, y, z))
        )
        along_x *= self.amplitudes.astype(np.float32)[:, None]
        plane = (along_y[:, :, None] * along_z[:, None, :]).reshape(len(self.amplitudes), -1)
        return (along_x.T @ plane).reshape(len(x), len(y), len(z))


@dataclass(frozen=True)
class Patient:
    """How the template body lies in the world: template = (world - `origin`) / `scale` + `bend`(world).

    Attributes:
        origin: world position in mm (RAS) of the template's origin.
        scale: stretch along x, y and z.
        bend: one displacement in mm an axis.
    """

    origin: Point
    scale: Point
    bend: tuple[Waves, Waves, Waves]

    def to_template(self, x: Array, y: Array, z: Array) -> tuple[Array, Array, Array]:
        """Template coordinates in mm, each (X, Y, Z), of the grid with world axes `x`, `y` and `z`."""
        straight = [
            ((mm - origin) / scale).astype(np.float32)
            for mm, origin, scale in zip((x, y, z), self.origin, self.scale, strict=True)
        ]
        bent = [waves.on_axes(x, y, z) for waves in self.bend]
        return (
            bent[0] + straight[0][:, None, None],
            bent[1] + straight[1][None, :, None],
            bent[2] + straight[2][None, None, :],
        )

    def bounds_in_world(self, bounds: Bounds) -> Bounds:
        """World box that holds everything that lies in the template box `bounds`."""
        x, y, z = (
            ((low - waves.bound) * scale + origin, (high + waves.bound) * scale + origin)
            for (low, high), waves, scale, origin in zip(
                bounds, self.bend, self.scale, self.origin, strict=True
            )
        )
        return x, y, z


OVER_MM = -1000.0  # as a gap: painted over the earlier parts, with no seam for other tissue to show through
LARGEST_GAP_MM = 4.0  # distances are computed this far around a structure


@dataclass(frozen=True)
class Structure:
    """One thing in the body, with what lies inside it.

    A part never leaves its parent and keeps clear of the parts listed before it, so that no two organs
    overlap whatever the random numbers say: `d = max(own, parent + inset, gap - earlier parts)`.

    Attributes:
        name: for people.
        shape: in template mm, or in world mm where `rigid`.
        hu: mean density in Hounsfield units.
        label: value in the label map; None leaves the parent's.
        texture_hu: standard deviation of the slow variation of the density inside.
        inset_mm: how far below the parent's surface it stays.
        gap_mm: how far it keeps from earlier parts of the same parent, at most `LARGEST_GAP_MM`; `OVER_MM`
            lets it lie on top of them.
        bumps: displacement of the surface in mm, or None for a smooth one.
        rigid: true for a shape given in world millimetres, which the patient's bend does not deform
            (a lesion of 20 mm measures 20 mm).
        parts: painted into it, in order of precedence.
    """

    name: str
    shape: Shape
    hu: float
    label: int | None = None
    texture_hu: float = 0.0
    inset_mm: float = 0.0
    gap_mm: float = 1.5
    bumps: Waves | None = None
    rigid: bool = False
    parts: Sequence["Structure"] = ()

    def adding(self, part: "Structure", *, to: str) -> "Structure":
        """This structure with `part` put first into every structure of the name `to` within it."""
        parts = tuple(inner.adding(part, to=to) for inner in self.parts)
        return replace(self, parts=(part, *parts) if self.name == to else parts)


@dataclass(frozen=True)
class Scene:
    """A patient, ready to be scanned.

    Attributes:
        patient: how the template lies in the world.
        structures: what there is, in order of precedence (the body, the couch, ...).
        noise_hu: standard deviation of the image noise at the centre of the body.
        half_width_mm: half of the side of the square field of view that holds the body.
        organs: names from `ORGANS` that this patient has.
        phase: contrast phase.
    """

    patient: Patient
    structures: tuple[Structure, ...]
    noise_hu: float
    half_width_mm: float
    organs: tuple[str, ...]
    phase: str

    def adding(self, part: Structure, *, to: str) -> "Scene":
        """This scene with `part` in the organ `to`, before all that is in there (a lesion displaces vessels).

        Raises:
            InputError: this patient has no such organ.
        """
        if to not in self.organs:
            raise InputError(f"{to}: this phantom has {', '.join(self.organs)}; choose one of these.")
        return replace(self, structures=tuple(inner.adding(part, to=to) for inner in self.structures))

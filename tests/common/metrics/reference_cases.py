"""Reference cases of `reference_cases.json`: two masks, their spacing, and what is true of them.

A mask is written as a list of parts that are joined; `remove` parts are cut out again. What is true comes
from formulas for the shape (`formula`), from brute force over all pairs of surface elements, in float64 and
without any of the code under test (`voxel`, `surfel`), or from the rules for empty masks (`rule`).
"""

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

FILE = Path(__file__).with_suffix(".json")


def box(grid: "Case", start: list[int], stop: list[int]) -> np.ndarray:
    mask = np.zeros(grid.shape, bool)
    mask[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))] = True
    return mask


def voxel(grid: "Case", *at: int) -> np.ndarray:
    return box(grid, list(at), [index + 1 for index in at])


def ball(grid: "Case", centre_mm: list[float], radius_mm: float) -> np.ndarray:
    positions = [(np.arange(n) + 0.5) * size for n, size in zip(grid.shape, grid.spacing_mm, strict=True)]
    axes = np.meshgrid(*positions, indexing="ij", sparse=True)
    return sum(((x - c) / radius_mm) ** 2 for x, c in zip(axes, centre_mm, strict=True)) <= 1.0


def line(grid: "Case", diagonal: int) -> np.ndarray:
    return np.eye(*grid.shape, k=diagonal, dtype=bool)


def checkers(grid: "Case", parity: int) -> np.ndarray:
    return np.indices(grid.shape).sum(axis=0) % 2 == parity


def noise(grid: "Case", seed: int, share: float) -> np.ndarray:
    return np.random.default_rng(seed).random(grid.shape) < share


def blob(
    grid: "Case", seed: int, shift_mm: list[float], scale: float = 1.0, rough: float = 0.25, roll: int = 0
) -> np.ndarray:
    """An ellipsoid of a third of the image, roughened by six cosines; float32 in a fixed order."""
    rng = np.random.default_rng(seed)
    extent = np.array(grid.shape) * np.array(grid.spacing_mm)
    radii = extent * 0.33
    waves = rng.normal(size=(6, len(extent))) * 2.2 / radii
    phases = rng.uniform(0, 2 * np.pi, 6)
    heights = rng.normal(size=6) * rough / math.sqrt(6)
    lines = zip(grid.shape, grid.spacing_mm, extent / 2, shift_mm, strict=True)
    positions = [((np.arange(n) + 0.5) * size - c - move).astype(np.float32) for n, size, c, move in lines]
    axes = np.meshgrid(*positions, indexing="ij", sparse=True)
    level = sum((x / (r * scale)) ** 2 for x, r in zip(axes, radii, strict=True)).astype(np.float32)
    for wave, phase, height in zip(waves, phases, heights, strict=True):
        level = level + height * np.cos(sum(w * x for w, x in zip(wave, axes, strict=True)) + phase)
    return np.roll(level <= 1.0, roll, axis=0)


PARTS = {
    "box": box,
    "voxel": voxel,
    "ball": ball,
    "line": line,
    "checkers": checkers,
    "noise": noise,
    "blob": blob,
}


@dataclass(frozen=True)
class Case:
    """`tolerances_mm` belong to the NSD; `truth` has keys `formula`, `rule`, `voxel`, `surfel`, `overlap`."""

    name: str
    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    tolerances_mm: tuple[float, ...]
    parts: dict[str, list[Any]]
    sha256: dict[str, str]
    truth: dict[str, dict[str, float]]

    def mask(self, which: str) -> np.ndarray:
        """The mask `pred` or `ref`, checked against its hash."""
        mask = np.zeros(self.shape, bool)
        for kind, *arguments in self.parts[which]:
            if kind == "remove":
                mask &= ~PARTS[arguments[0]](self, *arguments[1:])
            else:
                mask |= PARTS[kind](self, *arguments)
        found = hashlib.sha256(np.packbits(mask).tobytes()).hexdigest()[:16]
        assert found == self.sha256[which], (
            f"{self.name}: the {which} mask differs from the one the truth is of"
        )
        return mask


def load() -> dict[str, Case]:
    """All cases by name. JSON has no infinity: it stands as a string."""
    cases = {}
    for name, entry in json.loads(FILE.read_text()).items():
        truth = {kind: {k: float(v) for k, v in values.items()} for kind, values in entry["truth"].items()}
        lists = (tuple(entry[key]) for key in ("shape", "spacing_mm", "tolerances_mm"))
        cases[name] = Case(name, *lists, entry["parts"], entry["sha256"], truth)
    return cases

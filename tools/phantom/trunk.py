"""A random patient from the head to the hips: the abdomen of `anatomy`, with what lies above and below it.

What is added teaches where organs are not: a chest, a neck, a head and a pelvis hold no liver. Of the added
structures the urinary bladder alone is labelled.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.random import Generator

from .anatomy import CAVITY_MM, draw_scene
from .dataset import Kind, Size, absent_organs, draw_resolution, write_scan
from .draw import CORTICAL_BONE, FLUID, GAS, MARROW, Draw
from .grid import VoxelGrid
from .scene import LABELS, OVER_MM, Scene, Structure
from .shapes import Difference, Ellipsoid, Everywhere, HalfSpace, Point, Shape, Tube, Union

BLADDER = "urinary bladder"
TRUNK_LABELS = {**LABELS, BLADDER: len(LABELS) + 1}
# Heights in template mm, whose 0 is the first lumbar vertebra.
SHOULDERS_MM, LUNG_TOP_MM, SKULL_BASE_MM = 300.0, 275.0, 405.0
PELVIC_FLOOR_MM, SACRUM_END_MM = -300.0, -265.0
LOWEST_MM, HIGHEST_MM = -330.0, 500.0
SHORTEST_SCAN_MM = 250.0
HEAD = Ellipsoid((0, 12, 440), (76, 95, 105))
NECK: tuple[Point, ...] = ((0, -8, 270), (0, -4, 400))


def draw_trunk(rng: Generator, *, absent: Collection[str] = ()) -> Scene:
    """A random patient without the organs `absent`, see `anatomy.draw_scene`."""
    scene = draw_scene(rng, absent=absent)
    draw = Draw(rng)
    muscle = scene.structures[0].parts[0].parts[0].hu
    body = _reshaped(
        scene.structures[0],
        {
            "body": lambda shape: _with_neck_and_head(shape, 0.0),
            "trunk": lambda shape: _with_neck_and_head(shape, 8.0),
            "cavity": _closed,
            "vertebrae": _of_spine,
            "discs": _of_spine,
            "spinal canal": _of_spine,
            "ribs": lambda shape: _below(shape, LUNG_TOP_MM),
            "fat between muscles": lambda shape: _below(_above(shape, -200.0), LUNG_TOP_MM),
        },
    )
    for part in (*_head(draw, muscle), *_hips(draw)):
        body = body.adding(part, to="trunk")
    for part in _pelvic_organs(draw, muscle):
        body = body.adding(part, to="abdomen")
    windpipe = Tube.smooth(((0, -2, 175), (0, 2, 260), (0, 12, 340)), (8.5, 8.5, 9.0))
    body = body.adding(Structure("trachea", windpipe, GAS, gap_mm=0), to="mediastinum")
    organs = (*scene.organs, BLADDER)
    return replace(scene, structures=(body, *scene.structures[1:]), organs=organs)


def draw_trunk_grid(rng: Generator, scene: Scene, size: Size) -> VoxelGrid:
    """A scan of a random stretch of the patient, from `SHORTEST_SCAN_MM` to all of it."""
    start = float(rng.uniform(LOWEST_MM, HIGHEST_MM - SHORTEST_SCAN_MM))
    end = float(rng.uniform(start + SHORTEST_SCAN_MM, HIGHEST_MM))
    matrix, in_plane, thickness = draw_resolution(rng, scene, size)
    scale = scene.patient.scale[2]
    x, y, z = scene.patient.origin
    count = round((end - start) * scale / thickness)
    center = (x, y, z + 0.5 * (start + end) * scale)
    return VoxelGrid.around(center, (matrix, matrix, count), (in_plane, in_plane, thickness))


def _items(folder: Path, seed: int, size: Size, _: str, case: int) -> list[dict[str, object]]:
    rng = np.random.default_rng((seed, case))
    scene = draw_trunk(rng, absent=absent_organs(seed, case))
    item = write_scan(folder, scene, draw_trunk_grid(rng, scene, size), rng, seed=seed, case=case)
    return [{**item, "targets": list(TRUNK_LABELS)}]


TRUNKS = Kind(TRUNK_LABELS, _items)


def _reshaped(structure: Structure, shapes: Mapping[str, Callable[[Shape], Shape]]) -> Structure:
    """The structure and what is in it with other shapes for those that `shapes` names."""
    parts = tuple(_reshaped(part, shapes) for part in structure.parts)
    change = shapes.get(structure.name)
    return replace(structure, parts=parts, shape=change(structure.shape) if change else structure.shape)


def _below(shape: Shape, z: float, blend_mm: float = 0.0) -> Shape:
    return Difference(shape, HalfSpace((0, 0, z), (0, 0, -1)), blend_mm)


def _above(shape: Shape, z: float, blend_mm: float = 0.0) -> Shape:
    return Difference(shape, HalfSpace((0, 0, z), (0, 0, 1)), blend_mm)


def _with_neck_and_head(trunk: Shape, under_mm: float) -> Shape:
    """A trunk that ends at the shoulders, with neck and head; both `under_mm` below the skin."""
    x, y, z = HEAD.radii_mm
    head = Ellipsoid(HEAD.center, (x - under_mm, y - under_mm, z - under_mm))
    neck = Tube(NECK, (66.0 - under_mm, 58.0 - under_mm))
    return Union((_below(trunk, SHOULDERS_MM - under_mm, 60.0), neck, head), 30.0)


def _closed(cavity: Shape) -> Shape:
    """The cavity of chest and abdomen, narrow towards the top of the lungs and in the pelvis."""
    width, depth = CAVITY_MM
    dome = Ellipsoid((0, 13, 100), (width, depth, LUNG_TOP_MM - 100))
    middle = _below(_above(cavity, -165.0, 20.0), 100.0)
    pelvis = Ellipsoid((0, 14, -195), (78, 58, -195 - PELVIC_FLOOR_MM))
    return Union((dome, middle, pelvis), 10.0)


def _of_spine(shape: Shape) -> Shape:
    return _below(_above(shape, SACRUM_END_MM), SKULL_BASE_MM)


def _head(draw: Draw, muscle: float) -> tuple[Structure, ...]:
    """Skull with the brain, mandible and airway."""
    x, y, z = HEAD.center
    skull = Ellipsoid((x, y - 4, z + 12), draw.radii((66, 82, 82), 0.02))
    brain = Structure("brain", Everywhere(), draw.near(36, 2), texture_hu=4, inset_mm=draw.near(7, 0.5))
    jaw = Tube.smooth(
        ((-52, 18, 382), (-44, 48, 362), (0, 86, 350), (44, 48, 362), (52, 18, 382)), (6, 7, 8, 7, 6)
    )
    marrow = Structure("marrow of the mandible", Everywhere(), MARROW, inset_mm=2.5)
    airway = Tube.smooth(((0, 12, 335), (0, 26, 365), (0, 60, 392)), (9, 10, 14))
    tongue = Ellipsoid((0, 56, 368), (26, 26, 18))
    return (
        Structure("tongue", tongue, muscle),
        Structure("airway", airway, GAS, gap_mm=OVER_MM),
        Structure("mandible", jaw, CORTICAL_BONE, parts=(marrow,)),
        Structure("skull", skull, 1.3 * CORTICAL_BONE, parts=(brain,), gap_mm=OVER_MM),
    )


def _hips(draw: Draw) -> tuple[Structure, ...]:
    """Iliac wings, femoral heads and the upper ends of the thigh bones."""
    parts = []
    for side in (-1, 1):
        tilt = (0.0, side * draw.near(16, 3), side * draw.near(-24, 4))
        outer = Ellipsoid((side * 74, -12, -212), (36, 68, 78), tilt)
        inner = Ellipsoid((side * 56, -2, -206), (36, 72, 86), tilt)
        head = Ellipsoid(draw.point((side * 88, 2, -288), 2), (24, 24, 24))
        shaft = Tube(((side * 92, 0, -290), (side * 112, -4, -315), (side * 110, 0, -420)), (15, 19, 14))
        marrow = Structure("marrow of the hip", Everywhere(), MARROW, texture_hu=25, inset_mm=2.5)
        wing = Difference(outer, inner, 6)
        for name, shape in (("hip bone", wing), ("thigh bone", Union((head, shaft), 8))):
            parts.append(Structure(name, shape, CORTICAL_BONE, gap_mm=0.5, parts=(marrow,)))
    return tuple(parts)


def _pelvic_organs(draw: Draw, muscle: float) -> tuple[Structure, ...]:
    """Urinary bladder in front and rectum behind; the bladder is small or full."""
    size = draw.between(0.6, 1.15)
    x, y, z = draw.point((0, 36, -258), 3)
    bladder = Ellipsoid((x, y, z), (40 * size, 28 * size, 32 * size))
    urine = Structure("urine", Everywhere(), draw.between(0, 14), texture_hu=2, inset_mm=2.5)
    gut = Tube.smooth(((8, -14, -190), (-6, -26, -230), (0, -22, -292)), (14, 17, 12))
    content = Structure("stool", Everywhere(), draw.between(FLUID, 60), texture_hu=40, inset_mm=3)
    return (
        Structure(BLADDER, bladder, muscle, TRUNK_LABELS[BLADDER], bumps=draw.bumps(2, 50), parts=(urine,)),
        Structure("rectum", gut, muscle - 10, parts=(content,), bumps=draw.bumps(2, 30)),
    )

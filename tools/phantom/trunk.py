"""A random patient from the head to the hips: the abdomen of `anatomy`, with what lies above and below it.

What is added teaches where organs are not: a chest, a neck, a head and a pelvis hold no liver. Of the added
structures the urinary bladder alone is labelled.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.random import Generator

from .anatomy import CAVITY_CENTER, CAVITY_MM, draw_patient
from .chest import airways, chest_vessels, lung_vessels, neck_vessels, shoulders, with_arch
from .dataset import Kind, Size, absent_organs, draw_resolution, write_scan
from .draw import Draw
from .grid import VoxelGrid
from .head import SKULL_BASE_MM, head, throat, with_neck_and_head
from .pelvis import hips, iliac_vessels, pelvic_organs
from .scene import LABELS, Scene, Structure
from .shapes import Ellipsoid, Rounded, Scaled, Shape, Slab, Tube, Union
from .skeleton import VERTEBRA_MM, Ribs, Spine

BLADDER = "urinary bladder"
TRUNK_LABELS = {**LABELS, BLADDER: len(LABELS) + 1}
# Heights in template mm, whose 0 is the first lumbar vertebra.
LOWEST_MM, HIGHEST_MM = -345.0, 540.0
SHOULDERS_MM, LUNG_TOP_MM = 300.0, 275.0
AORTA_END_MM = -106.0  # at the fourth lumbar vertebra
SHORTEST_SCAN_MM = 250.0
# From head to hips: structures without a label, and the heights that a scan shows where it may show them.
UNLABELLED: tuple[tuple[tuple[str, ...], float, float], ...] = (
    (("brainstem", "hippocampus", "left parotid gland", "right parotid gland"), 335, np.inf),
    (("mandible", "larynx"), 295, 440),
    (("heart", "left atrium"), 60, 220),
    (("prostate",), -np.inf, -250),
)
DOME = Ellipsoid((0, CAVITY_CENTER[1], 100), (*CAVITY_MM, LUNG_TOP_MM - 100))


def draw_trunk(rng: Generator, *, absent: Collection[str] = ()) -> Scene:
    """A random patient without the organs `absent`, see `anatomy.draw_scene`."""
    scene, tissues = draw_patient(rng, absent=absent)
    draw = Draw(rng)
    spine = next(_spine_of(scene.structures[0]))
    body = _reshaped(
        scene.structures[0],
        {
            "body": lambda shape: with_neck_and_head(shape, 0.0, SHOULDERS_MM),
            "trunk": lambda shape: with_neck_and_head(shape, 8.0, SHOULDERS_MM),
            "cavity": _closed,
            "vertebrae": lambda shape: _into_neck(shape, spine),
            "discs": lambda shape: _into_neck(shape, spine),
            "spinal canal": lambda shape: _into_neck(shape, spine),
            "ribs": _narrowing,
            "fat between muscles": lambda shape: Slab(shape, -150, 200),
            "aorta": _whole_aorta,
            "vena cava": lambda shape: Slab(shape, AORTA_END_MM - 10, np.inf),
        },
    )
    male = draw.chance(0.5)
    for to, parts in (
        (
            "trunk",
            (
                *airways(tissues),
                *head(draw, tissues),
                *neck_vessels(tissues),
                *throat(draw, tissues),
                *shoulders(draw, tissues),
                *hips(draw, tissues),
            ),
        ),
        ("cavity", iliac_vessels(draw, tissues)),
        (
            "abdomen",
            pelvic_organs(draw, tissues, scene.patient, bladder=TRUNK_LABELS[BLADDER], male=male),
        ),
        ("chest", chest_vessels(tissues)),
        ("lungs", lung_vessels(draw, tissues)),
    ):
        body = _with(body, parts, to=to)
    return replace(scene, structures=(body, *scene.structures[1:]), organs=(*scene.organs, BLADDER))


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


def beyond(scene: Scene, grid: VoxelGrid) -> list[str]:
    """Organs of the vocabulary without a label that lie above or below a scan, so that they are absent."""
    height = grid.axes_mm[2]
    first, last = (
        (end - scene.patient.origin[2]) / scene.patient.scale[2] for end in (height[0], height[-1])
    )
    return [name for names, low, high in UNLABELLED for name in names if last < low or first > high]


def _items(folder: Path, seed: int, size: Size, _: str, case: int) -> list[dict[str, object]]:
    rng = np.random.default_rng((seed, case))
    scene = draw_trunk(rng, absent=absent_organs(seed, case))
    grid = draw_trunk_grid(rng, scene, size)
    item = write_scan(folder, scene, grid, rng, seed=seed, case=case)
    return [{**item, "targets": list(TRUNK_LABELS), "absent": beyond(scene, grid)}]


TRUNKS = Kind(TRUNK_LABELS, _items)


def _reshaped(structure: Structure, shapes: Mapping[str, Callable[[Shape], Shape]]) -> Structure:
    """The structure and what is in it with other shapes for those that `shapes` names."""
    parts = tuple(_reshaped(part, shapes) for part in structure.parts)
    change = shapes.get(structure.name)
    return replace(structure, parts=parts, shape=change(structure.shape) if change else structure.shape)


def _with(body: Structure, parts: Sequence[Structure], *, to: str) -> Structure:
    """`body` with `parts`, in their order, before what is in the structure `to`."""
    for part in reversed(parts):
        body = body.adding(part, to=to)
    return body


def _spine_of(structure: Structure) -> Iterator[Spine]:
    """The spine among the shapes within `structure`."""
    if isinstance(structure.shape, Spine):
        yield structure.shape
    for part in structure.parts:
        yield from _spine_of(part)


def _closed(cavity: Shape) -> Shape:
    """The cavity of chest and abdomen, narrow towards the top of the lungs and in the pelvis."""
    bowl = Ellipsoid((0, 14, -110), (114, 69, 100))
    pelvis = Ellipsoid((0, 9, -228), (62, 56, 74))
    return Union((DOME, Slab(cavity, -110, 100), bowl, pelvis), 12.0)


def _into_neck(shape: Shape, spine: Spine) -> Shape:
    """A shape along the spine, above the sacrum and below the skull; smaller in the neck."""
    disc = spine.offset_mm + 0.5 * VERTEBRA_MM
    low, high = disc - 5 * VERTEBRA_MM, disc + 8 * VERTEBRA_MM
    neck = Scaled(shape, 0.55, (spine.center[0], -8.6, high))
    return Union((Slab(shape, low, high), Slab(neck, high, SKULL_BASE_MM)))


def _narrowing(ribs: Shape) -> Shape:
    assert isinstance(ribs, Ribs)
    cage = Union((Rounded(DOME, 6), Slab(ribs.wall, -np.inf, 100)), 6)
    return Slab(replace(ribs, cage=cage), -np.inf, LUNG_TOP_MM)


def _whole_aorta(aorta: Shape) -> Shape:
    assert isinstance(aorta, Tube)
    return Slab(with_arch(aorta), AORTA_END_MM, np.inf)

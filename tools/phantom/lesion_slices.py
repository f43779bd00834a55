"""Referring data: CT phantoms with two to four liver lesions in a slice, and sentences that mean some.

Each image is the middle slice of a scan of three. What its sentences say is true of the voxels: density,
border, shape and enhancement as rendered, diameter, place and segment as measured in that slice.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.distance import pdist
from skimage.measure import regionprops

from common.errors import InputError
from common.files import atomic_path
from common.text.expressions import Lesion, single_out

from .anatomy import draw_scene
from .dataset import Kind, Size, absent_organs, draw_grid
from .draw import Draw
from .grid import VoxelGrid, orientation_code
from .lesion_sentences import Said, Say, test_sentences, training_sentences
from .lesions import Appearance, draw_appearance, lesion_structure, reach_mm, segment_of
from .render import render
from .scene import LABELS, Scene, Structure
from .shapes import Point

IMAGES_A_PATIENT = 4
SLICES, MIDDLE = 3, 1
COUNT_SHARES = {2: 0.4, 3: 0.35, 4: 0.25}  # lesions; images without room for them are drawn anew
LIVER_MM = (40.0, 12.0)  # x and y of the liver's middle in the template
LEVELS_MM = (2.0, 82.0)  # z in the template between which the liver is large
FIELD_MM = 240.0  # side of the image: all of the liver, the spine, a part of the stomach and kidneys
APART_MM, WITHIN_MM = 5.0, 4.0  # between two lesions, and below the liver's surface
FIRST_LABEL = len(LABELS) + 1  # of lesions while they are rendered with the organs
TRIES = 200


@dataclass(frozen=True)
class LesionImage:
    """A rendered scan with what is known of its lesions.

    Attributes:
        image, labels: (X, Y, 3) HU and lesion numbers 1, 2, ... as `grid` has them.
        lesions: in the order of their numbers.
    """

    image: NDArray[np.int16]
    labels: NDArray[np.uint8]
    grid: VoxelGrid
    lesions: list[Lesion]


def draw_image(rng: Generator, scene: Scene, size: Size) -> LesionImage:
    """A slice of `scene`'s liver with lesions of which each can be singled out in words.

    Raises:
        RuntimeError: none was found in many tries.
    """
    for _ in range(TRIES):
        grid = _scan(rng, scene, size)
        _, organs = render(scene, grid, rng)
        placed = _place(rng, scene, grid, organs[..., MIDDLE] == LABELS["liver"])
        if placed is None:
            continue
        image, labels = render(_with_lesions(rng, scene, placed), grid, rng)
        labels = np.where(labels >= FIRST_LABEL, labels - FIRST_LABEL + 1, 0).astype(np.uint8)
        lesions = _measured(scene, grid, labels[..., MIDDLE], [look for look, _ in placed])
        if lesions and _told_apart(lesions, rng):
            return LesionImage(image, labels, grid, lesions)
    raise RuntimeError(f"no slice with lesions in {TRIES} tries")


def liver_hu(scene: Scene) -> float:
    """Mean density of the scene's liver."""
    return next(part.hu for part in _all_parts(scene.structures) if part.name == "liver")


def _items(folder: Path, seed: int, size: Size, section: str, case: int) -> list[dict[str, object]]:
    say = training_sentences if section == "training" else test_sentences
    return list(write_images(folder, seed=seed, case=case, size=size, say=say))


LESION_IMAGES = Kind({"lesion": 1}, _items)


def write_images(folder: Path, *, seed: int, case: int, size: Size, say: Say) -> Iterator[dict[str, object]]:
    """Write the images of patient `case`; yields the datalist's items, one for all that means the same.

    The files are `images/phantom_NNN-K.nii.gz` (int16, HU) and `labels/phantom_NNN-K.nii.gz` (uint8). A
    patient depends on `seed`, `case`, `size` and `say` alone; the anatomy is that of the same patient of
    `dataset`. An item that means one lesion has its attributes.
    """
    rng = np.random.default_rng((seed, case))
    scene = draw_scene(rng, absent=absent_organs(seed, case))
    for number in range(IMAGES_A_PATIENT):
        drawn = draw_image(rng, scene, size)
        name = f"phantom_{case:03d}-{number}"
        code = orientation_code(seed + case + number)
        files = (f"images/{name}.nii.gz", f"labels/{name}.nii.gz")
        arrays: tuple[NDArray[Any], ...] = (drawn.image, drawn.labels)
        for file, voxels in zip(files, arrays, strict=True):
            with atomic_path(folder / file) as path:
                nibabel.save(drawn.grid.to_nifti(voxels, code), path)
        place = {"image": files[0], "slice": MIDDLE, "label": files[1], "patient": f"phantom_{case:03d}"}
        for count, said in enumerate(say(drawn.lesions, rng), start=1):
            yield {**place, **_item(drawn.lesions, said), "case": f"{name}-{count}"}


def _item(lesions: list[Lesion], said: Said) -> dict[str, object]:
    """What an item says of an image's lesions, whose numbers are their places, from 1."""
    labels = [index + 1 for index in said.lesions]
    one = asdict(lesions[said.lesions[0]]) if len(labels) == 1 else {}
    return {
        "lesion": labels if len(labels) > 1 else labels[0],
        "prompts": said.texts,
        **({"orientation_free": True} if said.orientation_free else {}),
        **({"attributes": {key: value for key, value in one.items() if value is not None}} if one else {}),
    }


def _scan(rng: Generator, scene: Scene, size: Size) -> VoxelGrid:
    """Three slices of a field of view that is targeted at the liver, with the matrix of a whole scan."""
    whole = draw_grid(rng, scene, size)
    height = float(rng.uniform(*LEVELS_MM))
    x, y, z = (
        origin + scale * place
        for origin, scale, place in zip(
            scene.patient.origin, scene.patient.scale, (*LIVER_MM, height), strict=True
        )
    )
    matrix, step = whole.shape[0], FIELD_MM / whole.shape[0]
    return VoxelGrid.around((x, y, z), (matrix, matrix, SLICES), (step, step, whole.spacing_mm[2]))


def _place(
    rng: Generator, scene: Scene, grid: VoxelGrid, liver: NDArray[np.bool_]
) -> list[tuple[Appearance, Point]] | None:
    """Lesions with centres in the plane of `liver` (X, Y), the largest first; None where one has no room."""
    draw = Draw(rng)
    count = int(rng.choice(list(COUNT_SHARES), p=list(COUNT_SHARES.values())))
    density, native = liver_hu(scene), scene.phase == "native"
    looks = [draw_appearance(draw, liver_hu=density, native=native) for _ in range(count)]
    x, y, z = grid.axes_mm
    depth = ndimage.distance_transform_edt(liver, sampling=grid.spacing_mm[:2])
    placed: list[tuple[Appearance, Point]] = []
    for look in sorted(looks, key=reach_mm, reverse=True):
        room = depth >= reach_mm(look) + WITHIN_MM
        for other, (cx, cy, _) in placed:
            room &= np.hypot(x[:, None] - cx, y - cy) >= reach_mm(look) + reach_mm(other) + APART_MM
        center = _center(rng, scene, np.argwhere(room), (x, y, float(z[MIDDLE])))
        if center is None:
            return None
        placed.append((look, center))
    rng.shuffle(placed)
    return placed


def _center(
    rng: Generator, scene: Scene, voxels: NDArray[np.int64], axes: tuple[NDArray, NDArray, float]
) -> Point | None:
    """One of `voxels` (N, 2) in world mm that lies clearly within a segment."""
    x, y, z = axes
    for i, j in rng.permutation(voxels)[:20].tolist():
        point = (float(x[i]), float(y[j]), z)
        if segment_of(_template(scene, point)) is not None:
            return point
    return None


def _template(scene: Scene, point: Point) -> Point:
    axes = (np.array([value], np.float32) for value in point)
    x, y, z = (float(value.item()) for value in scene.patient.to_template(*axes))
    return x, y, z


def _with_lesions(rng: Generator, scene: Scene, placed: list[tuple[Appearance, Point]]) -> Scene:
    draw, density = Draw(rng), liver_hu(scene)
    for label, (look, center) in enumerate(placed, start=FIRST_LABEL):
        lesion = lesion_structure(draw, look, center, liver_hu=density, label=label)
        scene = scene.adding(lesion, to="liver")
    return scene


def _measured(
    scene: Scene, grid: VoxelGrid, labels: NDArray[np.uint8], looks: list[Appearance]
) -> list[Lesion]:
    """Attributes of the lesions of a slice (X, Y); empty where one cannot be seen as it was meant.

    The image is as `common.data` shows slices: the patient's left on its left, the front at its top.
    """
    step = grid.spacing_mm[0]  # the same along x and y
    x, y, z = grid.axes_mm
    found = {region.label: region for region in regionprops(labels.astype(np.int32))}
    lesions = []
    for number, look in enumerate(looks, start=1):
        region = found.get(number)
        if region is None or region.num_pixels < 5:
            return []
        row, column = region.centroid
        place = (float(x[0] + step * row), float(y[0] + step * column), float(z[MIDDLE]))
        segment = segment_of(_template(scene, place))
        if segment is None:
            return []
        lesions.append(
            Lesion(
                x_mm=round(step * (row + 0.5), 1),
                y_mm=round(step * (len(y) - 0.5 - column), 1),
                diameter_mm=round(longest_mm(labels == number, step), 1),
                segment=segment,
                kind=look.kind,
                density=look.density,
                enhancement=look.enhancement,
                border=look.border,
                shape=look.shape,
            )
        )
    return lesions


def longest_mm(mask: NDArray[np.bool_], step_mm: float) -> float:
    """Longest diameter of a mask (X, Y) of square pixels.

    Half a pixel is added to the distance of the farthest two pixel centres: for discs and 2:1 ellipses of 5
    to 20 pixels the mean error is then below 0.5 pixels (skimage's feret_diameter_max: up to 1.3).
    """
    return step_mm * (float(pdist(np.argwhere(mask)).max()) + 0.5)


def _told_apart(lesions: list[Lesion], rng: Generator) -> bool:
    try:
        for lesion in lesions:
            single_out(lesion, [other for other in lesions if other is not lesion], rng)
    except InputError:
        return False
    return True


def _all_parts(structures: tuple[Structure, ...]) -> Iterator[Structure]:
    for structure in structures:
        yield structure
        yield from _all_parts(tuple(structure.parts))

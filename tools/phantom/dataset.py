"""Writing a set of phantoms as NIfTI files with a datalist."""

import json
import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import nibabel
import numpy as np
from numpy.random import Generator

from common.errors import InputError
from common.files import atomic_path

from .anatomy import REMOVABLE, draw_scene
from .grid import VoxelGrid, orientation_code
from .render import render
from .scene import LABELS, Scene

FIELD_MM = 203.0  # length of the scan, from the lung bases to below the kidneys
FINEST_MM = 0.7  # no abdominal scan is finer in plane; a large matrix gets a wider field instead
SCAN_CENTER_MM = 2.0  # z of its middle in the template
EVERY_THIRD_LACKS_ONE = 3
# Organs of the vocabulary that no phantom has: their words mean an empty mask.
NEVER_THERE = (
    *("heart", "left atrium", "trachea", "prostate", "brainstem", "hippocampus", "larynx", "mandible"),
    *("left parotid gland", "right parotid gland"),
)


@dataclass(frozen=True)
class Size:
    """How finely phantoms are scanned.

    Attributes:
        in_plane: possible matrix sizes; the field of view is fitted to the body (280 to 360 mm).
        thickness_mm: lowest and highest slice thickness.
    """

    in_plane: tuple[int, ...]
    thickness_mm: tuple[float, float]


SIZES = {
    "small": Size((128,), (4.0, 5.0)),  # 2.3 to 2.7 mm in plane, 41 to 51 slices
    "full": Size((256, 320, 384, 512), (2.0, 5.0)),  # 0.7 to 1.4 mm in plane, 41 to 102 slices
}


@dataclass(frozen=True)
class Split:
    """Numbers of patients; `training` is what the others leave."""

    training: int
    validation: int
    test: int

    @classmethod
    def of(cls, cases: int, *, validation: int | None = None, test: int | None = None) -> "Split":
        """Split `cases` patients; a sixth each for validation and test where nothing is said.

        Raises:
            InputError: a count is negative or nothing is left for training.
        """
        validation = cases // 6 if validation is None else validation
        test = cases // 6 if test is None else test
        for flag, count, least in (
            ("--cases", cases, 1),
            ("--validation", validation, 0),
            ("--test", test, 0),
        ):
            if count < least:
                raise InputError(f"{flag}: found {count}, expected {least} or more; give another number.")
        if validation + test >= cases:
            raise InputError(
                f"--cases: found {cases} with {validation} for validation and {test} for test, expected at "
                f"least one more for training; raise --cases to {validation + test + 1} or hold out fewer."
            )
        return cls(cases - validation - test, validation, test)


def absent_organs(seed: int, case: int) -> tuple[str, ...]:
    """The organs that patient `case` lacks: one of `REMOVABLE` in turn for every third patient."""
    if case % EVERY_THIRD_LACKS_ONE != EVERY_THIRD_LACKS_ONE - 1:
        return ()
    return (REMOVABLE[(case // EVERY_THIRD_LACKS_ONE + seed) % len(REMOVABLE)],)


def draw_grid(rng: Generator, scene: Scene, size: Size) -> VoxelGrid:
    """A scan of the whole body section of `scene`, at a random resolution within `size`."""
    matrix, in_plane, thickness = draw_resolution(rng, scene, size)
    x, y, z = scene.patient.origin
    center = (x, y, z + SCAN_CENTER_MM * scene.patient.scale[2])
    count = round(FIELD_MM * scene.patient.scale[2] / thickness)
    return VoxelGrid.around(center, (matrix, matrix, count), (in_plane, in_plane, thickness))


def draw_resolution(rng: Generator, scene: Scene, size: Size) -> tuple[int, float, float]:
    """Matrix size, and mm of a pixel and of a slice, in a field of view that holds the whole body."""
    matrix = int(rng.choice(size.in_plane))
    in_plane = round(max(2 * scene.half_width_mm / matrix, FINEST_MM), 3)
    thickness = round(float(rng.uniform(*size.thickness_mm)) * 4) / 4  # scanners offer steps
    return matrix, in_plane, thickness


def write_case(folder: Path, *, seed: int, case: int, size: Size) -> dict[str, object]:
    """Write `images/phantom_NNN.nii.gz` (int16, HU) and `labels/phantom_NNN.nii.gz` (uint8) into `folder`.

    A case depends on `seed`, `case` and `size` alone, not on how many there are.

    Returns:
        The case's item for the datalist.
    """
    rng = np.random.default_rng((seed, case))
    scene = draw_scene(rng, absent=absent_organs(seed, case))
    grid = draw_grid(rng, scene, size)
    item = write_scan(folder, scene, grid, rng, seed=seed, case=case)
    return {**item, "targets": list(LABELS), "absent": list(NEVER_THERE)}


def write_scan(
    folder: Path, scene: Scene, grid: VoxelGrid, rng: Generator, *, seed: int, case: int
) -> dict[str, object]:
    """Scan a scene and write image and label map, each stored in one of the 48 orientations in turn.

    Returns:
        `image`, `label` and `patient` of the datalist's item.
    """
    image, labels = render(scene, grid, rng)
    name, code = f"phantom_{case:03d}", orientation_code(seed + case)
    files = (f"images/{name}.nii.gz", f"labels/{name}.nii.gz")
    for file, nifti in zip(files, (grid.to_nifti(image, code), grid.to_nifti(labels, code)), strict=True):
        with atomic_path(folder / file) as path:
            nibabel.save(nifti, path)
    return {"image": files[0], "label": files[1], "patient": name}


@dataclass(frozen=True)
class Kind:
    """What a set holds.

    Attributes:
        labels: {name: number} in the label maps.
        items: writes a patient's files, given the folder, seed, size, section's name and patient's number,
            and returns the datalist's items. A function of a module, so that other processes can have it.
    """

    labels: Mapping[str, int]
    items: Callable[[Path, int, Size, str, int], list[dict[str, object]]]


def _items(folder: Path, seed: int, size: Size, _: str, case: int) -> list[dict[str, object]]:
    return [write_case(folder, seed=seed, case=case, size=size)]


ABDOMENS = Kind(LABELS, _items)


def write_set(
    folder: Path,
    *,
    split: Split,
    seed: int,
    size: Size,
    kind: Kind = ABDOMENS,
    workers: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Write phantoms for all of `split` and `datalist.json` into `folder`.

    Args:
        workers: processes that share the patients.
        progress: is told how many patients of how many are done.

    Raises:
        InputError: `seed` is negative, no worker, or `folder` cannot be written to.

    Returns:
        The datalist's path.
    """
    if seed < 0:
        raise InputError(f"--seed: found {seed}, expected 0 or more; give another number.")
    if workers < 1:
        raise InputError(f"--workers: found {workers}, expected 1 or more; give another number.")
    parts = {"training": split.training, "validation": split.validation, "test": split.test}
    sections = [part for part, count in parts.items() for _ in range(count)]
    found: dict[str, list[dict[str, object]]] = {part: [] for part in parts}
    items = partial(kind.items, folder, seed, size)
    for case, of_case in enumerate(_in_turn(items, sections, workers)):
        found[sections[case]] += of_case
        progress(case + 1, len(sections))
    datalist = {"labels": {str(value): name for name, value in kind.labels.items()}, **found}
    with atomic_path(folder / "datalist.json") as path:
        path.write_text(json.dumps(datalist, indent=2) + "\n", encoding="utf-8")
    return folder / "datalist.json"


def _in_turn(
    items: Callable[[str, int], list[dict[str, object]]], sections: Sequence[str], workers: int
) -> Iterator[list[dict[str, object]]]:
    """The items of each patient, in the order of their numbers."""
    if workers == 1:
        yield from map(items, sections, range(len(sections)))
        return
    spawn = multiprocessing.get_context("spawn")  # a copy of a process that has threads may hang
    with ProcessPoolExecutor(workers, mp_context=spawn) as pool:
        yield from pool.map(items, sections, range(len(sections)))

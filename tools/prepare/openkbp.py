"""OpenKBP: planning CT of the head and neck with contours of organs at risk.

A. Babier et al., "OpenKBP: The open-access knowledge-based planning grand challenge and dataset",
Medical Physics 48, 5549-5561 (2021); https://github.com/ababier/open-kbp (MIT).

A patient is a folder `pt_*` with one CSV file for the CT, one for the voxel size and one for each
structure. CT and structures are sparse 128 x 128 x 128 arrays: flat C-order index, value.

Array axes: 0 runs to the back, 1 to the patient's left, 2 to the feet. The source does not say so; the
anatomy does, in each of the 64 patients that were looked at: the right parotid gland lies at smaller
indices of axis 1 than the left one (by 21 voxels or more), the mandible before the spinal cord on axis 0
(14), and the brainstem before the larynx on axis 2 (30). The NIfTI files keep the source's array order,
and their affine says where it points. The source has no position, so the array's centre is at 0 mm.

CT values are HU + 1000, and 0 outside the body. The offset shows in the data: the median over patients of
the brainstem's median is 1032 (32 HU), fat peaks near 900 (-100 HU), and 11 scans saturate at 4071, which
is the 3071 HU of the largest 12-bit value 4095 with the usual intercept of -1024.

The CT is given in the region of possible dose and in the structures, also where these stick out of it:
there a slice is black but for the organs, and its image is the answer. Such slices are left blank
(`gives_answer_away`): 353 of the 6085 annotated slices, in 17 of the 64 patients.
"""

import csv
import lzma
import zlib
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy.ndimage import binary_dilation
from tqdm import tqdm

from common.data.datalist import Case, split_by_patient
from common.data.label_maps import read_label_map
from common.errors import InputError
from common.files import atomic_path

from ._layout import Source, folders_below, write_datalist
from .absent import with_absent

SIDE = 128
HU_OFFSET = 1000
# File name of each structure and its name here; label values are 1, 2, ... in this order.
ORGANS = {
    "Brainstem": "brainstem",
    "SpinalCord": "spinal cord",
    "RightParotid": "right parotid gland",
    "LeftParotid": "left parotid gland",
    "Esophagus": "esophagus",
    "Larynx": "larynx",
    "Mandible": "mandible",
}
LABELS = dict(enumerate(ORGANS.values(), start=1))
# 44, 8 and 12 of the 64 patients for whom the project's numbers are given.
SHARES = {"training": Fraction(44, 64), "validation": Fraction(8, 64), "test": Fraction(12, 64)}
SPLIT_SEED = 0
SOURCE = Source(
    name="OpenKBP",
    description="CT of the head and neck, HU, with organs at risk; converted from sparse arrays",
    reference='A. Babier et al., "OpenKBP", Medical Physics 48, 5549-5561 (2021)',
    licence="MIT (repository); patients from public TCIA collections",
    where="https://github.com/ababier/open-kbp, folder provided-data.",
    layout="folders pt_N (as split.csv lists them, where there is one) with ct.csv (or ct.csv.xz), "
    "voxel_dimensions.csv and a CSV file for each structure",
)


@dataclass(frozen=True)
class Patient:
    """One patient's folder and the structures (keys of `ORGANS`) that it has."""

    folder: Path
    structures: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def ct(self) -> Path:
        """The CT, plain or xz-compressed."""
        plain = self.folder / "ct.csv"
        return plain if plain.is_file() else self.folder / "ct.csv.xz"

    def wanted(self) -> list[Path]:
        """Files that have to be there."""
        organs = self.structures or ("(any organ)",)
        named = [self.folder / f"{organ}.csv" for organ in organs]
        return [self.ct, self.folder / "voxel_dimensions.csv", *named]


def prepare(source: Path, out: Path) -> None:
    """Convert the patients under `source` to `out`/images, `out`/labels (.nii.gz) and `out`/datalist.json.

    Cases whose two files exist are skipped; `datalist.json` comes last.

    Raises:
        InputError: files are missing or broken in `source`, or `out` cannot be written.
    """
    patients = find_patients(source)
    for patient in tqdm(patients, desc="openkbp", unit="patient"):
        _convert(patient, out)
    # What is not contoured is unknown, but organs of the abdomen and the pelvis are surely absent.
    cases = with_absent([_case(patient, out) for patient in patients], ["head and neck"])
    write_datalist(out, SOURCE.notes(), LABELS, split_by_patient(cases, SHARES, SPLIT_SEED))


def find_patients(source: Path) -> list[Patient]:
    """Patients that `source`/split.csv lists, or all folders `pt_*` below `source` if it has no such file.

    Raises:
        InputError: there is no patient, or files are missing.
    """
    listing = source / "split.csv"
    if listing.is_file():
        with listing.open(newline="") as file:
            rows = list(csv.DictReader(file))
        if not rows or not {"item", "organs"} <= rows[0].keys():
            raise InputError(
                f'{listing}: found no rows with the columns "item" and "organs", expected one for each '
                "patient; fetch it again."
            )
        patients = [Patient(source / row["item"], tuple(row["organs"].split(";"))) for row in rows]
    else:
        named = (folder for folder in folders_below(source) if folder.name.startswith("pt_"))
        once = {folder.resolve(): folder for folder in named}  # some may be links to others
        patients = [Patient(folder, _structures(folder)) for folder in once.values()]
    SOURCE.check_complete(source, [file for patient in patients for file in patient.wanted()])
    return sorted(patients, key=lambda patient: (len(patient.name), patient.name))


def _structures(folder: Path) -> tuple[str, ...]:
    return tuple(organ for organ in ORGANS if (folder / f"{organ}.csv").is_file())


def _convert(patient: Patient, out: Path) -> None:
    image, label = _outputs(patient, out)
    if image.is_file() and label.is_file():
        return
    affine = world_affine(_spacing_mm(patient.folder / "voxel_dimensions.csv"))
    indices, values = _sparse(patient.ct)
    hu = np.full((SIDE, SIDE, SIDE), -HU_OFFSET, dtype=np.int16)
    # Metal reaches 27000 HU on some scanners; int16 saturates above that, it must never wrap round.
    hu.flat[indices] = np.clip(values - HU_OFFSET, -HU_OFFSET, np.iinfo(np.int16).max)
    labels = label_map({organ: _sparse(patient.folder / f"{organ}.csv")[0] for organ in patient.structures})
    blank = gives_answer_away(hu > -HU_OFFSET, labels > 0)
    hu[:, :, blank] = -HU_OFFSET
    labels[:, :, blank] = 0
    _write(image, hu, affine)
    _write(label, labels, affine)


def gives_answer_away(known: np.ndarray, structures: np.ndarray) -> np.ndarray:
    """Which axial slices show the CT in the structures but not around them.

    Judged by the ring of two voxels around all structures of the slice. Where the body is there, at least
    80 % of it has a CT value (the rest is skin's other side and airways); where the CT was cut away, 65 %
    or less. Of 6085 slices only 16 lie between 70 % and 80 %.

    Args:
        known: bool (128, 128, Z), where the CT has a value.
        structures: bool (128, 128, Z), where any organ is.

    Returns:
        bool (Z,).
    """
    ring = binary_dilation(structures, np.ones((5, 5, 1), dtype=bool)) & ~structures
    return (ring & known).sum(axis=(0, 1)) < 0.75 * ring.sum(axis=(0, 1))


def label_map(masks: dict[str, np.ndarray]) -> np.ndarray:
    """One label map, uint8 (128, 128, 128), from flat voxel indices of each structure (keys of `ORGANS`).

    A voxel of several structures goes to the smallest of them, which has most to lose. It concerns few:
    at most 13 a pair but for 36 of larynx and esophagus in one of the 64 patients.
    """
    labels = np.zeros(SIDE**3, dtype=np.uint8)
    for organ in sorted(masks, key=lambda organ: masks[organ].size, reverse=True):
        labels[masks[organ]] = list(ORGANS).index(organ) + 1
    return labels.reshape(SIDE, SIDE, SIDE)


def world_affine(spacing_mm: np.ndarray) -> np.ndarray:
    """(4, 4) array indices to RAS+ mm: axis 0 posterior, 1 left, 2 inferior, the array's centre at 0."""
    affine = np.eye(4)
    affine[:3, :3] = np.array([[0, -1, 0], [-1, 0, 0], [0, 0, -1]]) * spacing_mm
    affine[:3, 3] = -affine[:3, :3] @ np.full(3, (SIDE - 1) / 2)
    return affine


def _case(patient: Patient, out: Path) -> Case:
    """A converted patient; its targets are what its label map holds: contoured, in slices not left blank."""
    image, label = _outputs(patient, out)
    present = np.unique(read_label_map(label).slices)
    targets = tuple(name for value, name in LABELS.items() if value in present)
    return Case(patient.name, image, label, patient.name, targets)


def _outputs(patient: Patient, out: Path) -> tuple[Path, Path]:
    return out / "images" / f"{patient.name}.nii.gz", out / "labels" / f"{patient.name}.nii.gz"


def _write(path: Path, array: np.ndarray, affine: np.ndarray) -> None:
    image = nib.Nifti1Image(array, affine)
    image.set_qform(affine, code="aligned")
    image.set_sform(affine, code="aligned")
    image.header.set_xyzt_units("mm")
    with atomic_path(path) as temporary:
        nib.save(image, temporary)


def _spacing_mm(path: Path) -> np.ndarray:
    """Three voxel sizes in mm, in the order of the array's axes (the first two are equal)."""
    values = _numbers(path, columns=1)[:, 0]
    if values.shape != (3,) or not (values > 0).all():
        raise InputError(
            f"{path}: found the voxel sizes {values.tolist()}, expected three numbers above 0; fetch it "
            "again."
        )
    return values


def _sparse(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Flat indices (int64) and values (int64; 1 in a structure's file, which has no values)."""
    table = _numbers(path, columns=2 if path.name.startswith("ct.") else 1, header=1).astype(np.int64)
    indices = table[:, 0]
    if indices.size == 0 or indices.min() < 0 or indices.max() >= SIDE**3:
        raise InputError(
            f"{path}: found {indices.size} voxel indices up to {indices.max(initial=0)}, expected some from "
            f"0 to {SIDE**3 - 1} (an array of {SIDE}^3); fetch it again."
        )
    return indices, table[:, 1] if table.shape[1] > 1 else np.ones_like(indices)


def _numbers(path: Path, *, columns: int, header: int = 0) -> np.ndarray:
    """The first `columns` columns of a CSV file, float64 (rows, columns)."""
    try:
        with lzma.open(path, "rt") if path.suffix == ".xz" else path.open() as file:
            return np.loadtxt(file, delimiter=",", skiprows=header, usecols=range(columns), ndmin=2)
    except (OSError, EOFError, ValueError, lzma.LZMAError, zlib.error) as error:
        raise InputError(
            f"{path}: cannot be read ({error}), so it is broken or cut off; fetch it again."
        ) from error

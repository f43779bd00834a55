"""Lung nodules in CT, marked by up to four radiologists: LIDC-IDRI.

S. G. Armato et al., Med. Phys. 38, 915-931 (2011); CC BY 3.0, The Cancer Imaging Archive,
https://doi.org/10.7937/K9/TCIA.2015.LO9QL9SX.

Read in either of two layouts. Both become a datalist split by patient, of the masks that at least half of the
readers marked; each item also says how far the readers agree (`_readers`).

- TCIA's: folders of DICOM files, each with the XML file of its readings (`_lidc_xml`). A CT series becomes
  a NIfTI volume with spacing in mm, a label map with a number for each nodule, and one for each reader with
  the same numbers. An item is about the slice that has most of a nodule, with all nodules on it. Shares of a
  whole slice say little of nodules: the items have the levels P0 and P1 alone.
- Patches of 128 x 128 pixels, images/PATIENT_nodule-N.png, as github.com/periclesanfe/Pulmoseg cuts them,
  with readers/NAME.png (60 times the number of readers who marked the pixel) and split.csv (column `readers`:
  how many were asked). Nothing says their scale, nor which reader marked what.
"""

import csv
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel import orientations
from scipy import ndimage
from tqdm import tqdm

from common.data.datalist import Case, split_by_patient
from common.data.dicom_volume import DicomVolume, read_dicom
from common.data.faults import Faults
from common.data.volumes import write_labels
from common.errors import InputError
from common.files import atomic_path
from common.text.levels import level_texts

from ._images import images_in, prompts_of, read_colours, read_mask, words_for, write_label_map
from ._layout import Source, item_of, write_items
from ._lidc_xml import Outline, mask_of, read_outlines, series_of
from ._readers import majority, of_readers

SOURCE = Source(
    name="LIDC-IDRI",
    description="Lung nodules in CT, marked by up to four radiologists",
    reference="S. G. Armato et al., Med. Phys. 38, 915-931 (2011)",
    licence="CC BY 3.0",
    where="https://doi.org/10.7937/K9/TCIA.2015.LO9QL9SX (images and radiologist annotations).",
    layout="LIDC-IDRI-0001/STUDY/SERIES/*.dcm with an XML file in the series' folder, or images/, readers/ "
    "and split.csv of patches",
)
TARGET = "lung nodule"
DATASET = "lidc"
SHARES = {"training": Fraction(7, 10), "validation": Fraction(1, 10), "test": Fraction(1, 5)}
SPLIT_SEED = 0
PER_READER = 60  # grey values of a patch's mask
BOTH_CORNERS = np.ones((3, 3, 3))  # voxels that touch, by corners too, are of one nodule

Found = list[tuple[Case, dict[str, Any]]]


def prepare(source: Path, out: Path) -> None:
    """Write label maps, of DICOM series also volumes, and `out`/datalist.json.

    Raises:
        InputError: neither layout, files are missing or broken, or `out` cannot be written. Series that
            cannot be used, such as one that lacks a slice, are named after the others were written.
    """
    faults = Faults("series")
    found = _patches(source, out) if (source / "readers").is_dir() else _all_series(source, out, faults)
    if not found:
        faults.check()
    fields = {case.case: more for case, more in found}
    sections = split_by_patient([case for case, _ in found], SHARES, SPLIT_SEED)
    items = {
        section: [{**item_of(case, out), "dataset": DATASET, **fields[case.case]} for case in cases]
        for section, cases in sections.items()
    }
    write_items(out, SOURCE.notes(), {1: TARGET} if (source / "readers").is_dir() else {}, items)
    faults.check()


def _patches(source: Path, out: Path) -> Found:
    images, counts = images_in(source / "images"), images_in(source / "readers")
    SOURCE.check_complete(source, [counts.get(name, source / "readers" / f"{name}.png") for name in images])
    asked = _readers_asked(source / "split.csv")
    found: Found = []
    for name, image in tqdm(images.items(), desc=DATASET, unit="patch"):
        if name not in asked:
            raise InputError(
                f"{source / 'split.csv'}: found no row of {name}, expected one for each image with the "
                "number of its readers; fetch it again."
            )
        marked = read_mask(counts[name]) // PER_READER
        inside = majority(marked, asked[name])
        label = out / "labels" / f"{name}.png"
        write_label_map(inside, 1, label)
        mask = np.where(inside, 255, 0).astype(np.uint8)
        attributes, levels = words_for(mask, read_colours(image), "photograph", {"class": TARGET}, "clean")
        patient = name.partition("_")[0]
        lesions = None if inside.any() else ()
        case = Case(
            name,
            image.absolute(),
            label,
            patient,
            (TARGET,),
            prompts=prompts_of(levels),
            lesions=lesions,
        )
        more = {"attributes": attributes, "levels": levels, **of_readers(marked, asked[name])}
        found.append((case, more))
    return found


def _readers_asked(path: Path) -> dict[str, int]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return {Path(row["item"]).stem: int(row["readers"]) for row in csv.DictReader(file)}
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise InputError(
            f"{path}: cannot be read ({error!r}), expected a table with the columns item and readers; fetch "
            "it again."
        ) from error


def _all_series(source: Path, out: Path, faults: Faults) -> Found:
    readings = [path for path in sorted(source.rglob("*.xml")) if series_of(path)]
    SOURCE.check_complete(source, readings)
    found: Found = []
    for path in tqdm(readings, desc=DATASET, unit="series"):
        with faults.collected():
            found += _one_series(source, path, out)
    return found


def _one_series(source: Path, readings: Path, out: Path) -> Found:
    """Write what is of one series; an item for each nodule that at least half of the readers marked.

    Raises:
        InputError: as `read_dicom` and `read_outlines`.
    """
    volume = read_dicom(readings.parent, series=series_of(readings))
    patient = str(volume.headers[0].get("PatientID") or readings.relative_to(source).parts[0])
    masks = np.stack([_marked(volume, nodules) for nodules in read_outlines(readings)])
    counts = masks.sum(axis=0, dtype=np.uint8)
    nodules, number = ndimage.label(counts > 0, BOTH_CORNERS)
    most = majority(counts, len(masks)) & (counts > 0)
    name = f"{patient}-{readings.stem}"
    image, label = out / "images" / f"{name}.nii.gz", out / "labels" / f"{name}.nii.gz"
    stored = volume.to_stored(np.rint(volume.slices).astype(np.int16))
    with atomic_path(image) as temporary:
        nib.save(nib.Nifti1Image(stored, volume.grid.affine), temporary)
    write_labels(label, np.where(most, nodules, 0), like=volume)
    readers = [out / "readers" / f"{name}-{index}.nii.gz" for index in range(1, len(masks) + 1)]
    for path, mask in zip(readers, masks, strict=True):
        write_labels(path, np.where(mask, nodules, 0), like=volume)
    planes = _best_planes(np.where(most, nodules, 0))
    if left := number - len(planes):
        print(f"{name}: {left} of {number} nodules left out, which fewer than half of the readers marked")
    found: Found = []
    for plane in sorted(set(planes.values())):
        there = tuple(int(value) for value in np.unique(nodules[plane][most[plane]]))
        case = Case(
            f"{name}-{plane}",
            image,
            label,
            patient,
            (),
            prompts=(TARGET,),
            lesions=there,
            slice_index=plane,
        )
        more = {
            "attributes": {"class": TARGET},
            "levels": level_texts("photograph", {"class": TARGET}),
            "readers": [path.relative_to(out).as_posix() for path in readers],
            **of_readers(np.where(np.isin(nodules, there), counts, 0), len(masks)),
        }
        found.append((case, more))
    return found


def _marked(volume: DicomVolume, nodules: Sequence[Sequence[Outline]]) -> np.ndarray:
    """(D, H, W) bool: what one reader marked, in the layout of `volume.slices`."""
    columns, rows, depth = volume.grid.shape
    sop_uids = [str(header.SOPInstanceUID) for header in volume.headers]
    z_mm = [float(header.ImagePositionPatient[2]) for header in volume.headers]
    marked = np.zeros((depth, rows, columns), bool)
    for outlines in nodules:
        marked |= mask_of(outlines, sop_uids, z_mm, (rows, columns))
    stored = marked.transpose(2, 1, 0).astype(np.uint8)
    return np.asarray(orientations.apply_orientation(stored, volume.grid.to_slices)).astype(bool)


def _best_planes(numbered: np.ndarray) -> dict[int, int]:
    """{number: the slice that has most of it} of a label map (D, H, W)."""
    found = {}
    for value, box in enumerate(ndimage.find_objects(numbered), start=1):
        if box is not None:
            areas = (numbered[box] == value).sum(axis=(1, 2))
            found[value] = box[0].start + int(areas.argmax())
    return found

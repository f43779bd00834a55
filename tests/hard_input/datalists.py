"""Datalists and data sets that are wrong, or say less than they seem to."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import SimpleITK as sitk  # noqa: N813
from PIL import ExifTags, Image

AFFINE = np.diag([-1.0, -1.0, 2.0, 1.0])


def write_nifti(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, AFFINE), path)
    return path


def organ_slabs(numbers: Mapping[int, int] | list[int]) -> np.ndarray:
    """A label map (8, 8, 6) uint8 whose slices hold these numbers, one after the other."""
    labels = np.zeros((8, 8, 6), np.uint8)
    for index, number in enumerate(numbers):
        labels[1:7, 1:7, index] = number
    return labels


def ct_of(labels: np.ndarray) -> np.ndarray:
    """Hounsfield units: air around, organs of their own grey value."""
    return np.where(labels > 0, 40 * labels.astype(int), -1000).astype(np.int16)


def write_set(folder: Path, names: Mapping[str, Any], labels: np.ndarray, **item: Any) -> Path:
    """A datalist of one case with these names, whose label map may hold other numbers too."""
    write_nifti(folder / "image.nii.gz", ct_of(labels))
    write_nifti(folder / "label.nii.gz", labels)
    entry = {"image": "image.nii.gz", "label": "label.nii.gz", "patient": "p", **item}
    path = folder / "datalist.json"
    path.write_text(json.dumps({"labels": dict(names), "training": [entry]}))
    return path


def write_turned_image(folder: Path, *, orientation: int, of_mask: int) -> Path:
    """A datalist of an image 12 x 12 that EXIF turns, with a mask in the same stored pixels.

    The mask lies as the image does only where both are turned alike.
    """
    mask = np.zeros((12, 12), np.uint8)
    mask[1:5, 1:8] = 1
    for name, pixels, turned in (("image", 100 + 100 * mask, orientation), ("label", mask, of_mask)):
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = turned
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{name}.png", exif=exif)
    item = {"image": "image.png", "label": "label.png", "prompts": ["the bright one"]}
    path = folder / "datalist.json"
    path.write_text(json.dumps({"training": [item], "validation": []}))
    return path


PATIENTS = tuple(f"p{number}" for number in range(6))
ORGANS = {1: "liver", 2: "spleen left"}


def write_volume(path: Path, array: np.ndarray) -> Path:
    """NIfTI, or with SimpleITK NRRD and MetaImage, at the same place in the patient."""
    if path.name.endswith((".nii", ".nii.gz")):
        return write_nifti(path, array)
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.transpose()))
    image.SetSpacing((1.0, 1.0, 2.0))  # ITK points to left and posterior, as `AFFINE` does
    sitk.WriteImage(image, str(path))
    return path


def organs_of(patient: str) -> np.ndarray:
    """A label map (8, 8, 6) uint8 of its own for each patient, with both organs."""
    return np.roll(organ_slabs([1, 1, 2]), int(patient[1:]), axis=0)


def ct(patient: str) -> np.ndarray:
    return ct_of(organs_of(patient)) + np.int16(int(patient[1:]))


def _write_pairs(folder: Path, image: str, label: str) -> None:
    for patient in PATIENTS:
        write_volume(folder / "images" / f"{patient}{image}", ct(patient))
        write_volume(folder / "labels" / f"{patient}{label}", organs_of(patient))


def _write_organ_files(folder: Path, image: str, mask: str) -> None:
    for patient in PATIENTS:
        write_volume(folder / image.format(patient=patient), ct(patient))
        for number, organ in ORGANS.items():
            where = mask.format(patient=patient, organ=organ.replace(" ", "_"))
            write_volume(folder / where, (organs_of(patient) == number).astype(np.uint8))


def _write_nnunet(folder: Path, version: int) -> None:
    ending = ".nii.gz" if version == 1 else ".nrrd"
    for patient in PATIENTS:
        part = "Ts" if patient == "p5" else "Tr"
        write_volume(folder / f"images{part}" / f"{patient}_0000{ending}", -ct(patient))  # another channel
        write_volume(folder / f"images{part}" / f"{patient}_0001{ending}", ct(patient))
        write_volume(folder / f"labels{part}" / f"{patient}{ending}", organs_of(patient))
    labels: dict[str, Any] = {str(number): name.replace(" ", "_") for number, name in ORGANS.items()}
    if version == 1:
        content = {"labels": {"0": "background", **labels}, "modality": {"0": "PET", "1": "CT"}}
    else:
        of_version_2 = {name: int(number) for number, name in labels.items()}
        content = {"labels": {"background": 0, **of_version_2}, "channel_names": {"0": "PET", "1": "CT"}}
    (folder / "dataset.json").write_text(json.dumps(content), encoding="utf-8-sig")


def _write_bids(folder: Path, *, maps: bool) -> None:
    for patient in PATIENTS:
        stem = f"sub-{patient}_ses-1"
        write_volume(folder / f"sub-{patient}" / "ses-1" / "ct" / f"{stem}_ct.nii.gz", ct(patient))
        derived = folder / "derivatives" / "manual" / f"sub-{patient}" / "ses-1" / "ct"
        if maps:
            write_volume(derived / f"{stem}_dseg.nii.gz", organs_of(patient))
        for number, organ in () if maps else ORGANS.items():
            mask = (organs_of(patient) == number).astype(np.uint8)
            write_volume(
                derived / f"{stem}_label-{organ.replace(' ', '_')}_mask.nii.gz".replace("_left", ""), mask
            )
    table = "".join(f"{number}\t{organ}\n" for number, organ in ORGANS.items())
    if maps:
        (folder / "derivatives" / "manual" / "dseg.tsv").write_text(f"index\tname\n0\tbackground\n{table}")


# What people have, with the options that it needs. Each holds `PATIENTS` with `ORGANS`.
_NAMED = [part for number, name in ORGANS.items() for part in ("--name", f"{number}={name}")]
LAYOUTS: dict[str, tuple[Callable[[Path], None], list[str]]] = {
    "nifti": (lambda folder: _write_pairs(folder, ".nii.gz", ".nii"), _NAMED),
    "nrrd": (lambda folder: _write_pairs(folder, ".nrrd", ".nrrd"), _NAMED),
    "mha": (lambda folder: _write_pairs(folder, ".mha", "_seg.mha"), _NAMED),
    "mixed": (lambda folder: _write_pairs(folder, ".mha", ".nii.gz"), _NAMED),
    "patterns": (
        lambda folder: _write_pairs(folder, "_ct.nrrd", "_mask.nii.gz"),
        [*("--images", "images/*_ct.nrrd", "--labels", "labels/*_mask.nii.gz"), *_NAMED],
    ),
    "organ files": (
        lambda folder: _write_organ_files(folder, "images/{patient}.nrrd", "labels/{patient}/{organ}.nrrd"),
        [],
    ),
    "totalsegmentator": (
        lambda folder: _write_organ_files(
            folder, "{patient}/ct.nii.gz", "{patient}/segmentations/{organ}.nii.gz"
        ),
        [],
    ),
    "organ patterns": (
        lambda folder: _write_organ_files(folder, "{patient}/a.mha", "{patient}/b/{organ}.nii.gz"),
        ["--images", "*/a.mha", "--labels", "*/b/{organ}.nii.gz"],
    ),
    "nnunet 1": (lambda folder: _write_nnunet(folder, 1), ["--channel", "CT"]),
    "nnunet 2": (lambda folder: _write_nnunet(folder, 2), ["--channel", "1"]),
    "bids": (lambda folder: _write_bids(folder, maps=True), []),
    "bids masks": (lambda folder: _write_bids(folder, maps=False), []),
}


def litter(folder: Path) -> None:
    """What macOS leaves in every folder: .DS_Store, and a `._` file beside each file."""
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        (path.parent / f"._{path.name}").write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X")
        (path.parent / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    (folder / "__MACOSX").mkdir()


def write_polyps(folder: Path, table: str, *, encoding: str = "utf-8") -> None:
    """Four photographs with a mask each, both JPEG, and a table of sentences."""
    for number in range(4):
        mask = np.zeros((40, 48), np.uint8)
        mask[4:20, 8 + number : 24] = 255 if number < 3 else 0
        for name, pixels in (("images", np.stack([mask // 2 + 60] * 3, axis=-1)), ("masks", mask)):
            (folder / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / name / f"{number}.jpg", quality=75)
    (folder / "sentences.csv").write_bytes(table.encode(encoding))

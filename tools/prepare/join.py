"""Several datalists as one: every case keeps its files and the organs that were annotated in it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
from tqdm import tqdm

from common.data.datalist import SECTIONS, Case, check_patients, load_datalist, load_json, load_label_names
from common.data.volumes import read_labels
from common.errors import InputError
from common.files import atomic_path

from ._layout import write_datalist


def join(datalists: Sequence[Path], out: Path) -> Path:
    """Write `out`/datalist.json with the cases of all `datalists`, section by section.

    A name has one number: the one of the first datalist that has it, or the next free one. Label maps whose
    numbers change are written anew to `out`/labels; nothing else is copied. Cases and patients are named
    after their datalist's folder too, so that equal ids of two data sets stay apart.

    Returns:
        The datalist's path.

    Raises:
        InputError: an unreadable datalist, two of one folder name, more than 255 names, or a patient (or
            file) in two sections.
    """
    sources = [path.resolve().parent.name for path in datalists]
    if len(set(sources)) < len(sources):
        raise InputError(
            f"datalists: found {', '.join(sources)}, expected a different folder name for each, since "
            "cases are named after it; rename a folder."
        )
    numbers: dict[str, int] = {}
    for path in datalists:
        for number, name in load_label_names(path).items():
            free = number if number not in numbers.values() else max(numbers.values()) + 1
            numbers.setdefault(name, free)
    if max(numbers.values()) > 255:
        raise InputError(f"datalists: found {len(numbers)} names, expected at most 255; join fewer.")
    sections: dict[str, list[Case]] = {section: [] for section in SECTIONS}
    for path, source in zip(datalists, sources, strict=True):
        changes = {old: numbers[name] for old, name in load_label_names(path).items() if numbers[name] != old}
        for section in (name for name in SECTIONS if name in load_json(path)):
            for case in tqdm(load_datalist(path, section), desc=f"{source} {section}", unit="case"):
                joined = replace(case, case=f"{source}-{case.case}", patient=f"{source}-{case.patient}")
                sections[section].append(_renumbered(joined, changes, out) if changes else joined)
    path = out / "datalist.json"
    check_patients(sections, path)
    return write_datalist(
        out, {"name": " + ".join(sources)}, {number: name for name, number in numbers.items()}, sections
    )


def _renumbered(case: Case, changes: dict[int, int], out: Path) -> Case:
    """The case with a label map in which `changes` are made."""
    if case.label is None:
        return case
    labels = read_labels(case.label)
    changed = labels.slices.copy()
    for old, new in changes.items():
        changed[labels.slices == old] = new
    path = out / "labels" / f"{case.case}.nii.gz"
    with atomic_path(path) as temporary:
        stored = labels.to_stored(changed).astype(np.uint8)
        nib.save(nib.Nifti1Image(stored, labels.grid.affine), temporary)
    return replace(case, label=path)

"""From the labels that a server has saved to a data set that a bundle trains on.

Every saved label map has its own numbers for its own names. Here each name gets one number for all studies,
and a study counts as annotated for exactly the names that were saved with it.
"""

import json
import logging
import math
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from common.data.datalist import Case, split_by_patient
from common.data.label_maps import read_label_map
from common.data.volumes import Volume, read_volume, write_labels
from common.errors import InputError
from common.text.prompts import MAX_LABEL, check_prompt

PLACEHOLDER = re.compile(r"(?i)(region|segment|label|text)[ _]?\d*|unknown|background")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SavedLabel:
    """A study and the label map that was saved for it.

    Attributes:
        study: the server's name for it.
        image, label: NIfTI files.
        patient: who it shows; two studies of one patient never stand on both sides of a split.
        names: {number in the label map: name}.
    """

    study: str
    image: Path
    label: Path
    patient: str
    names: Mapping[int, str] = field(default_factory=dict)


def names_of(info: Mapping[str, Any]) -> dict[int, str]:
    """{number: name} of a label that was saved with `info`.

    3D Slicer and OHIF send `label_info`, a list of {"name", "idx"}; masks that this server saved by itself
    have `params.label_names`, {name: number}.

    Raises:
        InputError: no names, or one that says nothing, such as "Segment_1".
    """
    entries = info.get("label_info")
    if isinstance(entries, list) and entries:
        pairs = [(entry.get("idx", row), entry.get("name")) for row, entry in enumerate(entries, start=1)]
    else:
        params = info.get("params")
        known = params.get("label_names") if isinstance(params, dict) else None
        pairs = [(number, name) for name, number in (known or {}).items()]
    if not pairs:
        raise InputError(
            'label_info: found no names, expected [{"name": ..., "idx": ...}]; save the label again from a '
            "viewer."
        )
    names = {int(number): check_prompt(name, field="label_info, name") for number, name in pairs}
    for name in names.values():
        if PLACEHOLDER.fullmatch(name):
            raise InputError(
                f"label_info: found the name {name!r}, expected what it shows, such as liver; rename the "
                "segment in the viewer and save again."
            )
    return names


def write_dataset(saved: Sequence[SavedLabel], folder: Path, *, validation_share: float) -> Path:
    """Write label maps with common numbers and a datalist; returns the datalist's path.

    Images are not copied. A study that cannot be used is left out, with a warning.

    Args:
        folder: emptied first.
        validation_share: of the patients, at least one.

    Raises:
        InputError: fewer than two patients are left: training needs one to learn from and another to check.
    """
    shutil.rmtree(folder, ignore_errors=True)
    numbers: dict[str, int] = {}
    cases: list[Case] = []
    for one in saved:
        try:
            cases.append(_write_case(one, folder / "labels", numbers))
        except InputError as error:
            _log.warning("%s is left out: %s", one.study, error)
    patients = {case.patient for case in cases}
    if len(patients) < 2:
        raise InputError(
            f"labels: found usable labels of {len(patients)} patient(s), expected 2 or more, one to learn "
            "from and one to check; label and submit another study."
        )
    held_back = min(max(1, math.floor(validation_share * len(patients))), len(patients) - 1)
    share = held_back / len(patients)
    splits = split_by_patient(cases, {"training": 1 - share, "validation": share}, seed=0)
    content = {
        "labels": {str(number): name for name, number in numbers.items()},
        **{split: [_item(case) for case in members] for split, members in splits.items()},
        "test": [],
    }
    path = folder / "datalist.json"
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False), "utf-8")
    return path


def _write_case(one: SavedLabel, folder: Path, numbers: dict[str, int]) -> Case:
    if not one.names:
        raise InputError(f"{one.study}: its label has no names; save it again from a viewer.")
    labels = read_label_map(one.label, like=read_volume(one.image))
    unnamed = sorted(set(np.unique(labels.slices).tolist()) - {0, *one.names})
    if unnamed:
        raise InputError(f"{one.study}: its label map has the numbers {unnamed}, which have no name.")
    own = {number: _number(name, numbers) for number, name in one.names.items()}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{one.study}.nii.gz"
    write_labels(path, _renumbered(labels, own), like=labels)
    return Case(one.study, one.image, path, one.patient, tuple(one.names.values()))


def _number(name: str, numbers: dict[str, int]) -> int:
    if name not in numbers and len(numbers) == MAX_LABEL:
        raise InputError(
            f"labels: found more than {MAX_LABEL} different names; use the same name for one organ."
        )
    return numbers.setdefault(name, len(numbers) + 1)


def _renumbered(labels: Volume, own: Mapping[int, int]) -> np.ndarray:
    table = np.zeros(max(own) + 1, np.uint8)
    for number, common_number in own.items():
        table[number] = common_number
    return table[labels.slices]


def _item(case: Case) -> dict[str, Any]:
    return {
        "image": str(case.image),
        "label": str(case.label),
        "case": case.case,
        "patient": case.patient,
        "targets": list(case.targets),
    }

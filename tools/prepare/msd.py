"""The Medical Segmentation Decathlon's ten tasks.

M. Antonelli et al., "The Medical Segmentation Decathlon", Nature Communications 13, 4128 (2022);
http://medicaldecathlon.com, CC BY-SA 4.0. A task is a folder such as Task09_Spleen with `dataset.json`
(labels, modalities, the list of training pairs), `imagesTr`, `labelsTr` and `imagesTs`. The test labels were
never given out, so validation and test come from the training pairs.

Brain and prostate have several MR sequences in one 4D file. One of them is taken out into `out`/images, and
label maps stay where they are.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from tqdm import tqdm

from common.data.datalist import Case, split_by_patient
from common.errors import InputError
from common.files import atomic_path

from ._layout import Source, write_datalist

SOURCE = Source(
    name="MSD",
    description="Medical Segmentation Decathlon",
    reference="M. Antonelli et al., Nature Communications 13, 4128 (2022)",
    licence="CC BY-SA 4.0",
    where="http://medicaldecathlon.com (one tar file a task).",
    layout="dataset.json, imagesTr/*.nii.gz and labelsTr/*.nii.gz in a folder such as Task09_Spleen",
)
SHARES = {"training": Fraction(7, 10), "validation": Fraction(1, 10), "test": Fraction(1, 5)}
SPLIT_SEED = 0
# Each task's own label names, which no other task has alike, and what their voxels are. Organs have the names
# of `common.text.vocabulary`, which describes them; a tumour is no organ, and its name is all the text there
# is. Liver and pancreas hold the tumours that have a number of their own: those voxels are of both. Hepatic
# vessels do not hold the tumours beside them, and of lung and colon only the tumour is labelled.
TASKS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "Task01_BrainTumour": {
        "edema": ("edema",),
        "non-enhancing tumor": ("non-enhancing tumor",),
        "enhancing tumour": ("enhancing tumour",),
    },
    "Task02_Heart": {"left atrium": ("left atrium",)},
    "Task03_Liver": {"liver": ("liver",), "cancer": ("liver", "liver tumour")},
    "Task04_Hippocampus": {"Anterior": ("anterior hippocampus",), "Posterior": ("posterior hippocampus",)},
    "Task05_Prostate": {
        "PZ": ("peripheral zone of the prostate",),
        "TZ": ("transition zone of the prostate",),
    },
    "Task06_Lung": {"cancer": ("lung tumour",)},
    "Task07_Pancreas": {"pancreas": ("pancreas",), "cancer": ("pancreas", "pancreatic tumour")},
    "Task08_HepaticVessel": {"Vessel": ("hepatic vessels",), "Tumour": ("liver tumour",)},
    "Task09_Spleen": {"spleen": ("spleen",)},
    "Task10_Colon": {"colon cancer primaries": ("colon cancer",)},
}


def prepare(source: Path, out: Path, *, sequence: str | None = None) -> None:
    """Write `out`/datalist.json, split by case (the Decathlon says of no two cases that they are one
    patient).

    Args:
        source: a task's folder.
        out: folder to write to.
        sequence: which MR sequence, by its name in `dataset.json`, where a task has several.

    Raises:
        InputError: files are missing, labels of no task, no such sequence, or `out` cannot be written.
    """
    content = _dataset_json(source)
    labels = _labels(source / "dataset.json", content["labels"])
    targets = tuple(dict.fromkeys(name for names in labels.values() for name in names))
    cases = []
    for entry in content["training"]:
        image, label = source / entry["image"], source / entry["label"]
        name = image.name.removesuffix(".nii.gz")
        cases.append(Case(name, image, label, name, targets))
    SOURCE.check_complete(source, [file for case in cases for file in (case.image, case.label) if file])
    channel = _channel(source, content["modality"], sequence)
    if channel is not None:
        cases = [_one_sequence(case, channel, out) for case in tqdm(cases, desc="msd", unit="case")]
    head = SOURCE.notes() | {"name": f"MSD {content.get('name', source.name)}", "licence": SOURCE.licence}
    write_datalist(out, head, labels, split_by_patient(cases, SHARES, SPLIT_SEED))


def _labels(path: Path, given: Mapping[str, str]) -> dict[int, tuple[str, ...]]:
    """{number: its names}, the organ's before that of a tumour in it.

    The labels tell the task. The folder does not: users rename folders and link to them.
    """
    own = {number: str(given[key]) for key in given if (number := int(key)) > 0}
    for names in TASKS.values():
        if sorted(own.values()) == sorted(names):
            return {number: names[own[number]] for number in sorted(own)}
    raise InputError(
        f"{path}: found the labels {', '.join(own.values()) or 'none'}, expected those of a Decathlon task "
        f"({', '.join(TASKS)}); fetch the task again, or prepare data of your own with `python -m "
        "tools.prepare folder`."
    )


def _dataset_json(source: Path) -> dict[str, Any]:
    path = source / "dataset.json"
    SOURCE.check_complete(source, [path])
    try:
        content: dict[str, Any] = json.loads(path.read_text("utf-8-sig"))
        missing = [key for key in ("labels", "modality", "training") if not content[key]]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: not a Decathlon dataset.json ({error!r}); fetch the task again."
        ) from error
    if missing:
        raise InputError(
            f"{path}: {', '.join(missing)} is empty, expected the task's own; fetch the task again."
        )
    return content


def _channel(source: Path, modality: dict[str, str], sequence: str | None) -> int | None:
    """Index of the wanted sequence; None where there is only one."""
    names = {str(name): int(index) for index, name in modality.items()}
    if sequence is None and len(names) == 1:
        return None
    if sequence not in names:
        found = "none" if sequence is None else f"'{sequence}'"
        raise InputError(
            f"--sequence: found {found}, but {source.name} has {', '.join(names)} in its files and one is "
            f"used; name it."
        )
    return names[sequence] if len(names) > 1 else None


def _one_sequence(case: Case, channel: int, out: Path) -> Case:
    path = out / "images" / f"{case.case}.nii.gz"
    if not path.is_file():
        image: Any = nib.load(case.image)
        if len(image.shape) != 4 or image.shape[3] <= channel:
            raise InputError(
                f"{case.image}: an array of {image.shape}, expected four axes with the sequences on the "
                f"last; fetch the task again."
            )
        array = np.asarray(image.dataobj[..., channel], dtype=np.float32)
        taken = nib.Nifti1Image(array, image.affine, image.header)
        taken.set_data_dtype(np.float32)  # in the file's own integers it would be rescaled and rounded
        with atomic_path(path) as temporary:
            nib.save(taken, temporary)
    return replace(case, image=path)

"""QaTa-COV19: chest X-rays with COVID-19 infections outlined, and a sentence for each.

A. Degerli et al., "OSegNet", ICIP 2022 (images and masks, QaTa-COV19 v2); Z. Li et al., "LViT", IEEE TMI 43,
96-107 (2024; sentences). Read in the layout of LViT's authors (`_lvit`), or in that in which S. Ye et al.
(SGSeg) publish them, whichever is there:

    annotation.json   {"train": [{"image_path": "mask_NAME.png", "caption": "...", ...}], "valid": [...]}
    train/images/NAME.png, train/masks/mask_NAME.png, valid/...

The sentences count infected areas and name the thirds of each lung that they lie in. They come from the
masks: of what they say nothing is news to whoever drew the mask. Their "left" is the image's left, so
nothing needs to be mirrored here: where a sentence names one lung only, the half of the image that has
more of the mask is that of the word in 96 % of 272 images (in the usual display of an X-ray it would be
the other one, the patient's).

Names "sub-S<number>_..." say whose image it is; "covid_<number>" do not, and each counts as a patient of
its own.
"""

import json
import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from common.data.datalist import Case, split_by_patient
from common.errors import InputError
from common.weights.pretrained import first_few

from ._layout import Source, patients_in_two, write_datalist
from ._lvit import MASK, read_parts

VALIDATION_SHARE = Fraction(1, 10)  # of the subjects of "train"
SPLIT_SEED = 0
LABELS = {1: "lesion"}
SOURCE = Source(
    name="QaTa-COV19",
    description="Chest X-rays with COVID-19 infections and LViT's sentences",
    reference="A. Degerli et al., ICIP 2022; Z. Li et al., IEEE TMI 43, 96-107 (2024)",
    licence="research use",
    where="X-rays and masks: www.kaggle.com/datasets/aysendegerli/qatacov19-dataset; the sentences: the "
    "authors of LViT (https://github.com/HUANGLIZI/LViT) or SGSeg.",
    layout="annotation.json, train/images/NAME.png, train/masks/mask_NAME.png, and the same in valid/; or "
    "Train_Folder, Val_Folder and Test_Folder, each with img/NAME.png, labelcol/mask_NAME.png and its "
    "_text.xlsx",
)


def prepare(source: Path, out: Path) -> None:
    """Write `out`/datalist.json; nothing is copied.

    "valid" or Test_Folder becomes the test section, and a tenth of the other subjects the validation section:
    LViT's own validation part is drawn by image. A subject in both parts is reported and leaves the
    training.

    Raises:
        InputError: both layouts or none of them, files are missing or broken in `source`, or `out` cannot be
            written.
    """
    parts = _parts_of_lvit(source) if _is_of_lvit(source) else _parts_of_sgseg(source)
    if twice := patients_in_two(parts):
        parts["train"] = [case for case in parts["train"] if case.patient not in twice]
        print(
            f"warning: {len(twice)} subjects are in both parts ({first_few(list(twice))}); they stay in the "
            "test section and their other images are left out."
        )
    shares = {"training": 1 - VALIDATION_SHARE, "validation": VALIDATION_SHARE}
    split = split_by_patient(parts["train"], shares, SPLIT_SEED) | {"test": parts["test"]}
    write_datalist(out, SOURCE.notes(), LABELS, split)


def _is_of_lvit(source: Path) -> bool:
    """Which of the two layouts it is.

    Raises:
        InputError: both, or none.
    """
    found = [name for name in ("annotation.json", "Train_Folder") if (source / name).exists()]
    if len(found) != 1:
        raise InputError(
            f"{source}: found {' and '.join(found) or 'neither annotation.json nor Train_Folder'}, expected "
            f"one of them, {SOURCE.name} as its authors give it: {SOURCE.layout}; name the folder of one. "
            f"Get it: {SOURCE.where} Licence: {SOURCE.licence}."
        )
    return found == ["Train_Folder"]


def _parts_of_lvit(source: Path) -> dict[str, list[Case]]:
    parts = read_parts(source, SOURCE, label=LABELS[1], patient_of=subject)
    return {"train": parts["training"] + parts["validation"], "test": parts["test"]}


def _parts_of_sgseg(source: Path) -> dict[str, list[Case]]:
    captions = read_captions(source)
    parts = {part: _cases(source, part, names) for part, names in captions.items()}
    files = [file for cases in parts.values() for case in cases for file in (case.image, case.label) if file]
    SOURCE.check_complete(source.resolve(), files)
    return {"train": parts["train"], "test": parts["valid"]}


def read_captions(source: Path) -> dict[str, dict[str, list[str]]]:
    """{"train" or "valid": {image's name: its sentences}}.

    Raises:
        InputError: no such file, or another layout.
    """
    path = source / "annotation.json"
    try:
        content: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8-sig"))
        captions: dict[str, dict[str, list[str]]] = {"train": {}, "valid": {}}
        for part, of_part in captions.items():
            for entry in content[part]:
                name = Path(entry["image_path"]).stem.removeprefix(MASK)
                of_part.setdefault(name, []).append(str(entry["caption"]))
        return captions
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: cannot be read as QaTa-COV19's captions ({error!r}), expected "
            '{"train": [{"image_path": ..., "caption": ...}], "valid": [...]}; fetch it again. '
            f"Get it: {SOURCE.where} Licence: {SOURCE.licence}."
        ) from error


def subject(name: str) -> str:
    """Whose image it is: "sub-s09340" of "sub-s09340_ses-e17503_run-1_bp-chest_vp-ap_dx", else the name."""
    found = re.match(r"sub-[sS]\d+", name)
    return found[0].lower() if found else name


def _cases(source: Path, part: str, captions: Mapping[str, Sequence[str]]) -> list[Case]:
    images, masks = (source.resolve() / part / kind for kind in ("images", "masks"))
    return [
        Case(
            name,
            images / f"{name}.png",
            masks / f"{MASK}{name}.png",
            subject(name),
            tuple(LABELS.values()),
            prompts=tuple(dict.fromkeys(texts)),
        )
        for name, texts in captions.items()
    ]

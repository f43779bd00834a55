"""QaTa-COV19: chest X-rays with COVID-19 infections outlined, and a sentence for each.

A. Degerli et al., "OSegNet", ICIP 2022 (images and masks, QaTa-COV19 v2); Z. Li et al., "LViT", IEEE TMI 43,
96-107 (2024; sentences). Read in the layout in which S. Ye et al. (SGSeg) publish them:

    annotation.json   {"train": [{"image_path": "mask_NAME.png", "caption": "...", ...}], "valid": [...]}
    train/images/NAME.png, train/masks/mask_NAME.png, valid/...

The sentences count infected areas and name the thirds of each lung that they lie in. They come from the
masks: of what they say nothing is news to whoever drew the mask. Their "left" is the picture's left, so
nothing needs to be mirrored here: where a sentence names one lung only, the half of the picture that has
more of the mask is that of the word in 96 % of 272 pictures (in the usual display of an X-ray it would be
the other one, the patient's).

Names "sub-S<number>_..." say whose picture it is; "covid_<number>" do not, and each counts as a patient of
its own.
"""

import json
import re
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

from common.data.datalist import Case, split_by_patient
from common.errors import InputError
from common.files import atomic_path
from common.weights import first_few

VALIDATION_SHARE = Fraction(1, 10)  # of the subjects of "train"
SPLIT_SEED = 0
NOTES = {
    "name": "QaTa-COV19",
    "description": "Chest X-rays with COVID-19 infections and LViT's sentences",
    "reference": "A. Degerli et al., ICIP 2022; Z. Li et al., IEEE TMI 43, 96-107 (2024)",
    "licence": "research use",
    "labels": {"1": "lesion"},
}


def prepare(source: Path, out: Path) -> None:
    """Write `out`/datalist.json with the absolute paths of the files under `source`; nothing is copied.

    "valid" becomes the test section, and a tenth of the subjects of "train" the validation section.

    Raises:
        InputError: files are missing or broken in `source`, or `out` cannot be written.
    """
    captions = read_captions(source)
    parts = {part: _cases(source, part, names) for part, names in captions.items()}
    shares = {"training": 1 - VALIDATION_SHARE, "validation": VALIDATION_SHARE}
    split = split_by_patient(parts["train"], shares, SPLIT_SEED) | {"test": parts["valid"]}
    sentences = captions["train"] | captions["valid"]
    sections = {
        section: [_item(case, sentences[case.case]) for case in cases] for section, cases in split.items()
    }
    path = out / "datalist.json"
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(NOTES | sections, indent=1) + "\n", encoding="utf-8")
    counts = ", ".join(f"{len(items)} {section}" for section, items in sections.items())
    print(f"{counts} pictures in {path}")


def read_captions(source: Path) -> dict[str, dict[str, str]]:
    """{"train" or "valid": {picture's name: sentence}}.

    Raises:
        InputError: no such file, or another layout.
    """
    path = source / "annotation.json"
    try:
        content: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return {
            part: {
                Path(entry["image_path"]).stem.removeprefix("mask_"): str(entry["caption"])
                for entry in content[part]
            }
            for part in ("train", "valid")
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: cannot be read as QaTa-COV19's captions ({error!r}), expected "
            '{"train": [{"image_path": ..., "caption": ...}], "valid": [...]}; fetch it again.'
        ) from error


def subject(name: str) -> str:
    """Whose picture it is: "sub-s09340" of "sub-s09340_ses-e17503_run-1_bp-chest_vp-ap_dx", else the name."""
    found = re.match(r"sub-[sS]\d+", name)
    return found[0].lower() if found else name


def _cases(source: Path, part: str, names: Mapping[str, str]) -> list[Case]:
    root = source.resolve() / part
    cases = [
        Case(name, root / "images" / f"{name}.png", root / "masks" / f"mask_{name}.png", subject(name), ())
        for name in names
    ]
    missing = [
        str(file) for case in cases for file in (case.image, case.label) if not Path(str(file)).is_file()
    ]
    if missing:
        raise InputError(
            f"{source}: {len(missing)} files of {len(cases)} pictures are missing ({first_few(missing)}), so "
            "the download is incomplete or of another layout; fetch it again."
        )
    return cases


def _item(case: Case, sentence: str) -> dict[str, Any]:
    files = {"image": str(case.image), "label": str(case.label)}
    return {"case": case.case, **files, "patient": case.patient, "prompts": [sentence]}

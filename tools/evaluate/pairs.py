"""Which prediction belongs to which reference: files of one name, whatever their format.

`ct_seg`, which inference writes for `ct`, belongs to the reference `ct`.
"""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from common.data.label_maps import ENDINGS
from common.data.readers import ending_of
from common.errors import InputError
from common.files import STEM_BYTES, short_name

OF_INFERENCE = "_seg"
_BESIDE = re.compile(r"(.+)_(?:mask|prob)_\d+_.*")  # what inference may write beside its label map


@dataclass(frozen=True)
class Pair:
    """Two files of a case; its name is the reference's without the ending."""

    case: str
    pred: Path
    ref: Path


def find_pairs(pred: Path, ref: Path) -> tuple[list[Pair], list[str]]:
    """Pairs by name, sorted, and one sentence for each file without a partner.

    Raises:
        InputError: no folder, no label map in one, two files of one name, or no pair at all.
    """
    preds, refs = _label_maps(pred, "--pred"), _label_maps(ref, "--ref")
    cut = {short_name(name, STEM_BYTES): name for name in refs}
    preds = {_partner(name, refs, preds, cut): path for name, path in preds.items()}
    problems = [
        f"{refs[case]}: this reference has no prediction in {pred}"
        for case in sorted(refs.keys() - preds.keys())
        if not _in_colour(refs[case])
    ]
    problems += [
        f"{preds[case]}: this prediction has no reference in {ref}"
        for case in sorted(preds.keys() - refs.keys())
        if not _in_colour(preds[case])
    ]
    pairs = [Pair(case, preds[case], refs[case]) for case in sorted(preds.keys() & refs.keys())]
    if not pairs:
        raise InputError(
            f"--pred {pred}: found no file named like one in --ref {ref}; "
            f"name each prediction as its reference (the ending may differ, and {OF_INFERENCE} may follow)."
        )
    return pairs, problems


def named_otherwise(pairs: Sequence[Pair], labels: Mapping[str, Collection[int]]) -> list[str]:
    """One sentence for each prediction whose report gives a name another number than `labels`.

    Inference numbers its labels in the order of its prompts, if these do not say their numbers.
    """
    problems = []
    for pair in pairs:
        try:
            report = json.loads(_report_of(pair.pred).read_text("utf-8"))
            numbers = {str(row["name"]): int(row["label"]) for row in report["prompts"]}
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            continue  # of another program, or none
        wrong = {name: number for name, number in numbers.items() if number not in labels.get(name, [number])}
        if wrong:
            name, number = next(iter(wrong.items()))
            problems.append(
                f"{pair.pred}: its report says that label {number} is '{name}', expected "
                f"{' or '.join(map(str, labels[name]))} as in --labels, so other organs were compared; give "
                'each prompt its number ("label" in a prompts file) and segment again.'
            )
    return problems


def _report_of(pred: Path) -> Path:
    ending = ending_of(pred, ENDINGS) or pred.suffix
    return pred.with_name(pred.name.removesuffix(ending) + ".json")


def _partner(name: str, refs: Mapping[str, Path], preds: Mapping[str, Path], cut: Mapping[str, str]) -> str:
    """The name of the reference that a prediction belongs to; its own where there is none.

    Args:
        cut: {how inference shortens the name of a reference: that name}.
    """
    plain = name.removesuffix(OF_INFERENCE)
    for other in (plain, cut.get(plain, plain), f"{name}{OF_INFERENCE}"):
        if name not in refs and other in refs and other not in preds:
            return other
    return name


def _label_maps(folder: Path, option: str) -> dict[str, Path]:
    if not folder.is_dir():
        raise InputError(f"{option} {folder}: there is no such folder; give the folder of the label maps.")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir(), key=lambda path: (path.suffix.lower() == ".png", path)):
        ending = ending_of(path, ENDINGS)
        if ending is None or path.name.startswith("."):
            continue
        case = path.name.removesuffix(ending)
        if case in found:
            if _in_colour(path):  # the preview of the label map
                continue
            raise InputError(
                f"{option} {folder}: found {found[case].name} and {path.name}; keep one of them."
            )
        found[case] = path
    if not found:
        raise InputError(
            f"{option} {folder}: found no label map; give a folder of {', '.join(ENDINGS)} files."
        )
    beside = ((name, _BESIDE.fullmatch(name)) for name in found)
    left_out = {name for name, of in beside if of and f"{of[1]}{OF_INFERENCE}" in found}
    return {name: path for name, path in found.items() if name not in left_out}


def _in_colour(path: Path) -> bool:
    """Whether it is a preview, as `tools.infer` writes beside a label map, and no label map itself."""
    if path.suffix.lower() != ".png":
        return False
    try:
        with Image.open(path, formats=("PNG",)) as image:
            return image.mode in ("RGB", "RGBA")
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError):  # reading it says what is wrong
        return False

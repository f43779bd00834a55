"""Which prediction belongs to which reference: files of one name, whatever their format."""

from dataclasses import dataclass
from pathlib import Path

from common.errors import InputError

ENDINGS = (".nii.gz", ".nii", ".nrrd")


@dataclass(frozen=True)
class Pair:
    """Two files of a case; its name is theirs without the ending."""

    case: str
    pred: Path
    ref: Path


def find_pairs(pred: Path, ref: Path) -> tuple[list[Pair], list[str]]:
    """Pairs by name, sorted, and one sentence for each file without a partner.

    Raises:
        InputError: no folder, no label map in one, two files of one name, or no pair at all.
    """
    preds, refs = _label_maps(pred, "--pred"), _label_maps(ref, "--ref")
    problems = [
        f"{refs[case]}: this reference has no prediction in {pred}"
        for case in sorted(refs.keys() - preds.keys())
    ]
    problems += [
        f"{preds[case]}: this prediction has no reference in {ref}"
        for case in sorted(preds.keys() - refs.keys())
    ]
    pairs = [Pair(case, preds[case], refs[case]) for case in sorted(preds.keys() & refs.keys())]
    if not pairs:
        raise InputError(
            f"--pred {pred}: found no file named like one in --ref {ref}; "
            "name each prediction as its reference (the ending may differ)."
        )
    return pairs, problems


def _label_maps(folder: Path, option: str) -> dict[str, Path]:
    if not folder.is_dir():
        raise InputError(f"{option} {folder}: there is no such folder; give the folder of the label maps.")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        ending = next((e for e in ENDINGS if path.name.lower().endswith(e)), None)
        if ending is None or path.name.startswith("."):
            continue
        case = path.name[: -len(ending)]
        if case in found:
            raise InputError(
                f"{option} {folder}: found {found[case].name} and {path.name}; keep one of them."
            )
        found[case] = path
    if not found:
        raise InputError(
            f"{option} {folder}: found no label map; give a folder of {', '.join(ENDINGS)} files."
        )
    return found

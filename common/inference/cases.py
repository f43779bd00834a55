"""From what a user names as input to a list of cases, each with its place in the output folder."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError

Inputs = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]

ENDINGS = (".nii.gz", ".nii")


@dataclass(frozen=True)
class Case:
    """An input file and its outputs' common beginning.

    Attributes:
        source: the file to segment.
        stem: folder and case name; outputs are `<stem>_seg.nii.gz` and so on.
    """

    source: Path
    stem: Path

    def output(self, ending: str) -> Path:
        """`<stem>_seg<ending>`."""
        return self.stem.with_name(f"{self.stem.name}_seg{ending}")


def find_cases(inputs: Inputs, output_dir: str | os.PathLike[str]) -> list[Case]:
    """Cases of a file, of a folder (with its subfolders, which the output mirrors), or of a list of these.

    Raises:
        InputError: nothing there, another kind of file, or two inputs with the same output.
    """
    several = [inputs] if isinstance(inputs, str | os.PathLike) else list(inputs)
    if not several:
        raise InputError(
            "input: found an empty list, expected at least one file; name a NIfTI file or folder."
        )
    output = Path(output_dir)
    cases = [case for one in several for case in _cases_of(Path(one), output)]
    _check_distinct(cases)
    return cases


def _cases_of(path: Path, output: Path) -> list[Case]:
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if _is_input(file, root=path, output=output))
        if not files:
            raise InputError(
                f"{path}: found no file in this folder that ends in {' or '.join(ENDINGS)}, expected "
                "at least one; name a folder of NIfTI files."
            )
        return [Case(file, output / file.parent.relative_to(path) / _name(file)) for file in files]
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; check the path of the input.")
    if not path.name.endswith(ENDINGS):
        raise InputError(
            f"{path}: found the ending '{path.suffix}', expected {' or '.join(ENDINGS)}; convert it to NIfTI."
        )
    return [Case(path, output / _name(path))]


def _is_input(file: Path, *, root: Path, output: Path) -> bool:
    """A NIfTI, not hidden (unfinished output is), not in an output folder inside the input folder."""
    hidden = any(part.startswith(".") for part in file.relative_to(root).parts)
    inside_output = output.resolve() != root.resolve() and file.resolve().is_relative_to(output.resolve())
    return file.name.endswith(ENDINGS) and file.is_file() and not hidden and not inside_output


def _name(file: Path) -> str:
    ending = next(ending for ending in ENDINGS if file.name.endswith(ending))
    return file.name.removesuffix(ending)


def _check_distinct(cases: Sequence[Case]) -> None:
    taken: dict[Path, Path] = {}
    for case in cases:
        other = taken.setdefault(case.stem, case.source)
        if other is not case.source:
            raise InputError(
                f"{other} and {case.source}: both would be written to {case.output('.nii.gz')}, expected "
                "different names; rename one or use another output folder for it."
            )

"""From what a user names as input to a list of cases, each with its place in the output folder."""

import logging
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..data.dicom_series import holds_dicom
from ..data.images import ENDINGS as PICTURE_ENDINGS
from ..data.readers import ending_of, endings, expected, image_ending
from ..errors import InputError
from ..files import short_name
from ..text.prompts import Prompt
from .lists import ENDINGS as LIST_ENDINGS
from .lists import Entry, read_list

# Images that people keep in folders and no reader here takes; 2D ones too, where a network takes volumes
OTHER_IMAGES = (
    *(".img", ".hdr", ".mgz", ".mgh", ".nii.bz2", ".nii.zst", ".mnc", ".par", ".rec", ".v", ".vtk", ".vti"),
    *(".tif", ".tiff", ".bmp", ".gif", ".webp", ".svs", ".npy", ".npz", ".h5", ".mat", ".gipl"),
    *PICTURE_ENDINGS,
)
STEM_BYTES = 190  # of an output's name: with the longest ending it fits the 255 bytes of file systems

logger = logging.getLogger(__name__)

Inputs = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


@dataclass(frozen=True)
class InputCase:
    """An input file and its outputs' common beginning.

    Attributes:
        source: the file to segment, or the folder of a DICOM series.
        stem: folder and case name; outputs are `<stem>_seg.nii.gz` and so on.
        prompts: its own; empty = those of the run.
        slice_index: the only slice to segment, 0 the most inferior one; None = as the run says.
    """

    source: Path
    stem: Path
    prompts: tuple[Prompt, ...] = ()
    slice_index: int | None = None

    def output(self, ending: str) -> Path:
        """`<stem>_seg<ending>`."""
        return self.stem.with_name(f"{self.stem.name}_seg{ending}")


def find_cases(
    inputs: Inputs,
    output_dir: str | os.PathLike[str],
    *,
    images_2d: bool = False,
    section: str | None = None,
) -> list[InputCase]:
    """Cases of a file, of a folder (with its subfolders, which the output mirrors), or of a list of these.

    A list may also be a file, see `lists`; `section` is that of a datalist. Without `images_2d`, PNG and JPEG
    files in folders are left out.

    Raises:
        InputError: nothing there, another kind of file, or two inputs with the same output.
    """
    several = [inputs] if isinstance(inputs, str | os.PathLike) else list(inputs)
    if not several:
        raise InputError(
            "input: found an empty list, expected at least one file; name a NIfTI file or folder."
        )
    if section is not None and not any(_is_list(path) for path in map(Path, several)):
        raise InputError(
            f"section: found {section!r} and no datalist as input, expected one; leave section out."
        )
    output = Path(output_dir)
    cases: list[InputCase] = []
    for path in map(Path, several):
        if _is_list(path):
            cases += _cases_listed(path, output, images_2d, section)
        else:
            cases += _cases_of(path, output, images_2d)
    cases = [
        replace(case, stem=case.stem.with_name(short_name(case.stem.name, STEM_BYTES))) for case in cases
    ]
    _check_distinct(cases)
    return cases


def _is_list(path: Path) -> bool:
    return path.name.lower().endswith(LIST_ENDINGS) and path.is_file()


def _cases_of(path: Path, output: Path, images_2d: bool) -> list[InputCase]:
    if path.is_dir():
        if _same(path, output):
            raise InputError(
                f"{path}: input and output are one folder, so that masks would be taken for images; "
                "choose another output folder."
            )
        cases = _cases_in(path, output, images_2d)
        if not cases:
            raise InputError(
                f"{path}: found no image here, expected {expected(images_2d=images_2d)}; name another folder."
            )
        return cases
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; check the path of the input.")
    ending = image_ending(path, images_2d=images_2d)
    stem = path.name.removesuffix(ending)
    if not stem:
        raise InputError(f"{path}: found no name before '{ending}', expected one; rename it.")
    return [InputCase(path, output / stem)]


def _cases_in(root: Path, output: Path, images_2d: bool) -> list[InputCase]:
    """Image files, and folders of DICOM files, in a folder and its subfolders.

    Left out are hidden ones (unfinished output is) and an output folder that lies inside the input folder.
    Links to folders are followed, but for one that leads back to where it is.

    Raises:
        InputError: one of the folders cannot be read.
    """
    cases, others = [], Counter[str]()
    above = {root: {root.resolve()}}  # of each folder: itself and those that led to it, links resolved
    for where, folders, files in os.walk(root, followlinks=True, onerror=_unreadable):
        folder = Path(where)
        trail = above.pop(folder)
        folders[:] = sorted(
            one
            for one in folders
            if not one.startswith(".")
            and not _same(folder / one, output)
            and (folder / one).resolve() not in trail
        )
        above |= {folder / one: trail | {(folder / one).resolve()} for one in folders}
        place = output / folder.relative_to(root)
        for name in sorted(files):
            ending = ending_of(Path(name), endings(images_2d=images_2d))
            if name.startswith("."):
                continue
            if ending:
                cases.append(InputCase(folder / name, place / name.removesuffix(ending)))
            elif other := ending_of(Path(name), OTHER_IMAGES):
                others[other.lower()] += 1
        if holds_dicom(folder):
            cases.append(InputCase(folder, output / folder.resolve().name if folder == root else place))
    if others:
        logger.warning(
            "%s: %d images of other formats are left out (%s), expected %s; convert them if they are wanted.",
            root,
            others.total(),
            ", ".join(f"{count} {ending}" for ending, count in sorted(others.items())),
            expected(images_2d=images_2d),
        )
    return cases


def _cases_listed(path: Path, output: Path, images_2d: bool, section: str | None) -> list[InputCase]:
    """Cases of a list file: paths are from its folder, and the output folder mirrors those inside it."""
    cases = []
    for entry in read_list(path, section):
        source, place = path.parent / entry.image, Path(entry.image).parent
        inside = not place.is_absolute() and ".." not in place.parts
        cases += _as_listed(_cases_of(source, output / place if inside else output, images_2d), entry)
    return cases


def _as_listed(cases: list[InputCase], entry: Entry) -> list[InputCase]:
    """The cases of an entry with what it says of them."""
    if entry.name is not None and len(cases) > 1:
        raise InputError(
            f'{entry.where}: found {len(cases)} images and the one case "{entry.name}", expected one image; '
            "name the images one by one or leave case out."
        )
    prompts = entry.prompts
    stems = [entry.name or f"{case.stem.name}{entry.suffix}" for case in cases]
    return [
        replace(case, stem=case.stem.with_name(stem), prompts=prompts, slice_index=entry.slice_index)
        for case, stem in zip(cases, stems, strict=True)
    ]


def _unreadable(error: OSError) -> None:
    raise InputError(
        f"{error.filename}: cannot be read ({error.strerror}), expected folders of images; allow it, or name "
        "the others one by one."
    ) from error


def _same(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve()


def _check_distinct(cases: Sequence[InputCase]) -> None:
    taken: dict[Path, Path] = {}
    for case in cases:
        other = taken.setdefault(case.stem, case.source)
        if other is not case.source:
            raise InputError(
                f"{other} and {case.source}: both would be written to {case.output('.nii.gz')}, expected "
                "different names; rename one, use another output folder for it, or give it another case in a "
                "list."
            )

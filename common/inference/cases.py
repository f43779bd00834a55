"""Turn a user's inputs into a list of cases, each with its place in the output folder."""

import logging
import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..data.dicom_folder import holds_slices, in_words, kinds_in, no_slices
from ..data.images import ENDINGS as IMAGE_2D_ENDINGS
from ..data.readers import ending_of, endings, expected, image_ending
from ..errors import InputError
from ..files import STEM_BYTES, short_name
from ..text.prompts import Prompt
from .earlier import outputs_in
from .lists import ENDINGS as LIST_ENDINGS
from .lists import Entry, read_list

# Images that people keep in folders and no reader here takes; 2D ones too, where a network takes volumes
OTHER_IMAGES = (
    *(".img", ".hdr", ".mgz", ".mgh", ".nii.bz2", ".nii.zst", ".mnc", ".par", ".rec", ".v", ".vtk", ".vti"),
    *(".tif", ".tiff", ".bmp", ".gif", ".webp", ".svs", ".npy", ".npz", ".h5", ".mat", ".gipl"),
    *IMAGE_2D_ENDINGS,
)

_log = logging.getLogger(__name__)

Inputs = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


@dataclass(frozen=True)
class InputCase:
    """An input file and its outputs' common beginning.

    Attributes:
        source: the file to segment, or the folder of a DICOM series.
        stem: folder and case name; outputs are `<stem>_seg.nii.gz` and so on.
        prompts: its own; empty = those of the run.
        slice_index: the only slice to segment, 0 the most inferior one; None = as the run says.
        clash: why it cannot be done, where another case has the same outputs.
    """

    source: Path
    stem: Path
    prompts: tuple[Prompt, ...] = ()
    slice_index: int | None = None
    clash: str | None = None

    def output(self, ending: str) -> Path:
        """`<stem>_seg<ending>`."""
        return self.stem.with_name(f"{self.stem.name}_seg{ending}")


def find_cases(
    inputs: Inputs,
    output_dir: str | os.PathLike[str],
    *,
    images_2d: bool = False,
    section: str | None = None,
    warn: bool = True,
) -> list[InputCase]:
    """Cases of a file, of a folder (with its subfolders, which the output mirrors), or of a list of these.

    A list may also be a file, see `lists`; `section` is that of a datalist. Without `images_2d`, PNG and JPEG
    files in folders are left out, and so are what reports of earlier runs beside them name as their outputs.
    `warn`: whether to say what was left out.

    Raises:
        InputError: nothing there, another kind of file, or no input with an output of its own.
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
            cases += _cases_listed(path, output, images_2d, section, warn=warn)
        else:
            cases += _cases_of(path, output, images_2d, warn=warn)
    cases = [
        replace(case, stem=case.stem.with_name(short_name(case.stem.name, STEM_BYTES))) for case in cases
    ]
    cases = _with_clashes(cases)
    clashes = [case.clash for case in cases if case.clash is not None]
    if cases and len(clashes) == len(cases):
        raise InputError(clashes[0])
    return cases


def _is_list(path: Path) -> bool:
    return path.name.lower().endswith(LIST_ENDINGS) and path.is_file()


def _cases_of(path: Path, output: Path, images_2d: bool, *, warn: bool) -> list[InputCase]:
    if path.is_dir():
        if _same(path, output):
            raise InputError(
                f"{path}: input and output are the same folder, so masks would be taken for images; choose "
                "another output folder."
            )
        cases = _cases_in(path, output, images_2d, warn=warn)
        if not cases:
            if kinds_in(path):
                raise InputError(no_slices(path))
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


def _cases_in(root: Path, output: Path, images_2d: bool, *, warn: bool) -> list[InputCase]:
    """Image files, and folders of DICOM slices, in a folder and its subfolders.

    Left out are folders whose DICOM files are no slices (CDs and archives add DICOMDIR, SEG, RTSTRUCT, and
    scouts), hidden ones (unfinished output is), an output folder that lies inside the input folder, and
    outputs of earlier runs.
    Links to folders are followed, but for one that leads back to where it is.

    Raises:
        InputError: one of the folders cannot be read.
    """
    cases, left_out = [], _LeftOut()
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
        own = outputs_in(folder, files)
        for name in sorted(files):
            ending = ending_of(Path(name), endings(images_2d=images_2d))
            if name.startswith("."):
                continue
            if ending and name in own:
                left_out.outputs += 1
            elif ending:
                cases.append(InputCase(folder / name, place / name.removesuffix(ending)))
            elif other := ending_of(Path(name), OTHER_IMAGES):
                left_out.formats[other.lower()] += 1
        if holds_slices(folder):
            cases.append(InputCase(folder, output / folder.resolve().name if folder == root else place))
        elif kinds := kinds_in(folder):
            left_out.dicom[folder] = kinds
    if warn:
        left_out.say_of(root, wanted=expected(images_2d=images_2d), found=len(cases))
    return cases


@dataclass
class _LeftOut:
    """What of a folder is no input, in numbers.

    Attributes:
        outputs: files that reports beside them name as outputs.
        formats: images of other formats, by ending.
        dicom: folders whose DICOM files are no slices, with the kinds of these.
    """

    outputs: int = 0
    formats: Counter[str] = field(default_factory=Counter)
    dicom: dict[Path, Counter[str]] = field(default_factory=dict)

    def say_of(self, root: Path, *, wanted: str, found: int) -> None:
        """Warn, a line for each kind. Where no input was found, an error will name the DICOM folders."""
        if self.outputs:
            _log.warning(
                "%s: left out %d files that reports beside them name as outputs.", root, self.outputs
            )
        if self.formats:
            _log.warning(
                "%s: %d images of other formats are left out (%s), expected %s; convert them if they are "
                "wanted.",
                root,
                self.formats.total(),
                ", ".join(f"{count} {ending}" for ending, count in sorted(self.formats.items())),
                wanted,
            )
        if self.dicom and found:
            _log.warning(
                "%s: left out %d folders without CT, MR or PET slices (first %s): %s.",
                root,
                len(self.dicom),
                next(iter(self.dicom)),
                in_words(sum(self.dicom.values(), Counter())),
            )


def _cases_listed(
    path: Path, output: Path, images_2d: bool, section: str | None, *, warn: bool
) -> list[InputCase]:
    """Cases of a list file: paths are from its folder, and the output folder mirrors those inside it."""
    cases = []
    for entry in read_list(path, section):
        source, place = path.parent / entry.image, Path(entry.image).parent
        inside = not place.is_absolute() and ".." not in place.parts
        cases += _as_listed(
            _cases_of(source, output / place if inside else output, images_2d, warn=warn), entry
        )
    return cases


def _as_listed(cases: list[InputCase], entry: Entry) -> list[InputCase]:
    """The cases of an entry with what it says of them."""
    if entry.name is not None and len(cases) > 1:
        raise InputError(
            f'{entry.where}: found {len(cases)} images for the one case "{entry.name}", expected one image; '
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
        f"{error.filename}: cannot be read ({error.strerror}), expected folders of images; give read "
        "permission, or name the others one by one."
    ) from error


def _same(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve()


def _with_clashes(cases: Sequence[InputCase]) -> list[InputCase]:
    """The cases; those that share their outputs with another one say so, and the others can be done."""
    alike = defaultdict(list)
    for case in cases:
        alike[_on_any_disk(case.stem)].append(case)
    return [
        case if len(group := alike[_on_any_disk(case.stem)]) == 1 else replace(case, clash=_clash(group))
        for case in cases
    ]


def _on_any_disk(stem: Path) -> str:
    """What names a file where disks do not tell "A" from "a"."""
    return str(stem).casefold()


def _clash(alike: Sequence[InputCase]) -> str:
    return (
        f"{' and '.join(str(case.source) for case in alike)}: both would be written to "
        f"{alike[0].output('.nii.gz')}, expected different names; rename one, use another output folder for "
        "it, or give it another case in a list."
    )

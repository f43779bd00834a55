"""Where a user's images and label maps lie below a folder."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from common.data.images import ENDINGS as IMAGE_ENDINGS
from common.data.label_maps import ENDINGS as LABEL_ENDINGS
from common.data.readers import VOLUME_ENDINGS, ending_of
from common.errors import InputError

VOLUMES = tuple(ending for ending in VOLUME_ENDINGS if ending != ".zip")
IMAGES = (*VOLUMES, *IMAGE_ENDINGS)
MASKS = (*LABEL_ENDINGS, ".jpg", ".jpeg")
LABEL_FOLDERS = ("labels", "masks")
ORGAN = "{organ}"  # stands in a pattern for the organ's name
# How names of masks often differ from those of their images.
_AROUND = re.compile(r"^(?:mask|seg|label)_|[_-](?:mask|seg|segmentation|label|labels|gt)$", re.IGNORECASE)


@dataclass(frozen=True)
class Found:
    """A case as it lies on the disk.

    Attributes:
        key: its name, which may have "/" in it.
        image: file.
        label: label map or mask, where it is one file.
        organs: {organ: its mask}, where each has a file of its own.
        patient: whom it shows; None: `Options.patient` says it.
        section: of the datalist; None: where the split puts its patient.
        prompts: sentences about it, which all mean the same.
        lesions, slice_index: what the sentences mean and where, see `Case`.
    """

    key: str
    image: Path
    label: Path | None = None
    organs: Mapping[str, Path] = field(default_factory=dict)
    patient: str | None = None
    section: str | None = None
    prompts: tuple[str, ...] = ()
    lesions: tuple[int, ...] | None = None
    slice_index: int | None = None


@dataclass(frozen=True)
class Layout:
    """What was found.

    Attributes:
        name: of the layout, for users.
        cases: in any order.
        names: {label number: its names}, where the layout says so.
        ignore: numbers that the layout says become background.
    """

    name: str
    cases: Sequence[Found]
    names: Mapping[int, Sequence[str]] = field(default_factory=dict)
    ignore: frozenset[int] = frozenset()

    @property
    def has_sentences(self) -> bool:
        return any(case.prompts for case in self.cases)


def by_patterns(source: Path, images: str, labels: str) -> Layout:
    """Pairs whose patterns have the same text for their "*".

    Args:
        images: pattern below `source` with one "*", the case's name.
        labels: the same "*", and perhaps `ORGAN` for the organ's name, which has a file of its own.

    Raises:
        InputError: a pattern without one "*", no pair, or images and label maps without a partner.
    """
    found = _matches(source, images, "--images")
    if ORGAN in labels:
        masks: dict[str, dict[str, Path]] = {}
        for (key, organ), path in _matches_of_organs(source, labels).items():
            masks.setdefault(key, {})[words(organ)] = path
        check_partners(source, found.keys(), masks.keys(), images, labels)
        return Layout("a file for each organ", [Found(key, found[key], organs=masks[key]) for key in found])
    maps = _matches(source, labels, "--labels")
    check_partners(source, found.keys(), maps.keys(), images, labels)
    return Layout("images and label maps", [Found(key, found[key], maps[key]) for key in found])


def by_folders(source: Path) -> Layout:
    """Files of any format in images/, and of the same name in labels/ or masks/.

    There, a folder of a case's name holds a file for each organ. Without images/, each folder holds a case,
    with ct.nii.gz (or mri.nii.gz) and segmentations/ORGAN.nii.gz, as TotalSegmentator publishes them.

    Raises:
        InputError: neither, two files of one name, or images and label maps without a partner.
    """
    if not (source / "images").is_dir():
        for image in ("ct", "mri"):
            if any(visible(source, f"*/{image}.nii.gz")):
                return by_patterns(source, f"*/{image}.nii.gz", f"*/segmentations/{ORGAN}.nii.gz")
    folder = next((name for name in LABEL_FOLDERS if (source / name).is_dir()), LABEL_FOLDERS[0])
    images = by_stem(source / "images", IMAGES)
    if any(path.is_dir() for path in visible(source / folder, "*")):
        return _organs_of_folders(source, images, folder)
    labels = by_stem(source / folder, MASKS)
    if not images.keys() & labels.keys():
        labels = {without_affix(key): path for key, path in labels.items()}
    check_partners(source, images.keys(), labels.keys(), "images/*", f"{folder}/*")
    return Layout("images and label maps", [Found(key, images[key], labels[key]) for key in images])


def _organs_of_folders(source: Path, images: Mapping[str, Path], folder: str) -> Layout:
    organs = {
        case.name: {words(key): path for key, path in by_stem(case, MASKS).items()}
        for case in visible(source / folder, "*")
        if case.is_dir()
    }
    check_partners(source, images.keys(), organs.keys(), "images/*", f"{folder}/*/{ORGAN}")
    return Layout("a file for each organ", [Found(key, images[key], organs=organs[key]) for key in images])


def visible(folder: Path, pattern: str) -> Iterator[Path]:
    """What matches below a folder, but hidden files and what macOS leaves: `._a.nii.gz`, `__MACOSX`."""
    for path in sorted(folder.glob(pattern)):
        parts = path.relative_to(folder).parts
        if not any(part.startswith(".") or part == "__MACOSX" for part in parts):
            yield path


def by_stem(folder: Path, endings: Sequence[str]) -> dict[str, Path]:
    """{name without its ending: file} of the files directly in a folder.

    Raises:
        InputError: two files of one name, such as a.nii and a.nii.gz.
    """
    found: dict[str, Path] = {}
    for path in visible(folder, "*"):
        ending = ending_of(path, endings)
        if ending is None or not path.is_file():
            continue
        key = path.name.removesuffix(ending)
        if key in found:
            raise InputError(
                f"{folder}: found both {found[key].name} and {path.name}, expected one file of a name; "
                "remove or rename one."
            )
        found[key] = path
    return found


def stem_of(path: Path, endings: Sequence[str]) -> str:
    return path.name.removesuffix(ending_of(path, endings) or "")


def without_affix(name: str) -> str:
    """The image's name in that of a mask: "a" of "mask_a", "a_seg"."""
    return _AROUND.sub("", name)


def words(name: str) -> str:
    """An organ's name as words: "kidney_left" -> "kidney left"."""
    return " ".join(name.replace("_", " ").split())


def check_partners(
    source: Path, images: Collection[str], labels: Collection[str], first: str, second: str
) -> None:
    """Check that images and label maps have the same names.

    Args:
        first, second: what was looked for, for the message.

    Raises:
        InputError: there is no pair, or a file has no partner.
    """
    alone = sorted(set(images) ^ set(labels))
    if images and not alone:
        return
    found = f"{len(images)} images ({first}) and {len(labels)} label maps ({second})"
    without = f"; without a partner: {', '.join(alone[:10])}" if alone else ""
    more = f" and {len(alone) - 10} more" if len(alone) > 10 else ""
    raise InputError(
        f"{source}: found {found}{without}{more}; expected one label map for each image: give patterns in "
        "which the * stands for the same text, such as --images 'images/*_0000.nii.gz' --labels "
        f"'labels/*.nii.gz', or --labels 'labels/*/{ORGAN}.nii.gz' for one file for each organ."
    )


def _matches(source: Path, pattern: str, flag: str) -> dict[str, Path]:
    """{what the "*" stands for: file}."""
    if pattern.count("*") != 1 or pattern.startswith("/") or ".." in pattern:
        raise InputError(
            f"{flag}: found '{pattern}', expected a pattern below --source with one *, such as "
            f"images/*.nii.gz."
        )
    expression = "(.+)".join(re.escape(part) for part in pattern.split("*"))
    return {match[1]: path for match, path in _matched(source, pattern, expression)}


def _matches_of_organs(source: Path, pattern: str) -> dict[tuple[str, str], Path]:
    """{(what the "*" stands for, organ): file}."""
    if pattern.count(ORGAN) != 1 or pattern.replace(ORGAN, "").count("*") != 1:
        raise InputError(
            f"--labels: found '{pattern}', expected one * for the case and one {ORGAN} for the organ, such "
            f"as '*/segmentations/{ORGAN}.nii.gz'."
        )
    expression = re.escape(pattern).replace(r"\*", "(?P<case>.+)")
    expression = expression.replace(re.escape(ORGAN), "(?P<organ>[^/]+)")
    found = _matched(source, pattern.replace(ORGAN, "*"), expression)
    return {(match["case"], match["organ"]): path for match, path in found}


def _matched(source: Path, pattern: str, expression: str) -> Iterator[tuple[re.Match[str], Path]]:
    for path in visible(source, pattern):
        match = re.fullmatch(expression, path.relative_to(source).as_posix())
        if match is not None and path.is_file():
            yield match, path

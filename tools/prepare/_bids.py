"""BIDS: sub-01/[ses-1/]anat/sub-01_T1w.nii.gz, and label maps among the derivatives.

    ..._dseg.nii.gz               a label map, with the names of its numbers in ..._dseg.tsv (index, name)
    ..._label-liver_mask.nii.gz   a file for each organ

https://bids-specification.readthedocs.io, "Imaging data types" of derivatives.
"""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.data.readers import ending_of
from common.errors import InputError
from common.user_text import read_user_text

from ._layout import folders_below
from ._layouts import VOLUMES, Found, Layout, visible, words

LABEL_SUFFIXES = ("dseg", "mask")


@dataclass(frozen=True)
class _File:
    """A file by its name: {"sub": "01", "ses": "1"} and the suffix "T1w"."""

    path: Path
    entities: Mapping[str, str]
    suffix: str

    def is_derived(self, source: Path) -> bool:
        return "derivatives" in self.path.relative_to(source).parts

    def is_of(self, image: "_File") -> bool:
        """Whether it is about this image: it contradicts none of the image's entities, and names its scan."""
        own = self.entities
        alike = all(own.get(key, value) == value for key, value in image.entities.items())
        return alike and all(own.get(key) == image.entities.get(key) for key in ("sub", "ses"))


def is_bids(source: Path) -> bool:
    return any(path.is_dir() for path in visible(source, "sub-*"))


def by_bids(source: Path, channel: str | None) -> Layout:
    """Images that have a label map, or masks of organs; others are left out.

    Args:
        channel: suffix of the images to use, such as "T1w"; None where there is one alone.

    Raises:
        InputError: several suffixes and none chosen, no image with labels, two label maps for one image, or
            an unreadable table.
    """
    files = list(_files(source))
    labels = [file for file in files if file.suffix in LABEL_SUFFIXES]
    scans = [file for file in files if not (file.suffix in LABEL_SUFFIXES or file.is_derived(source))]
    images = [scan for scan in scans if any(label.is_of(scan) for label in labels)]
    suffixes = sorted({image.suffix for image in images})
    if (channel is None and len(suffixes) > 1) or (channel is not None and channel not in suffixes):
        found = "none" if channel is None else f"'{channel}'"
        raise InputError(
            f"--channel: found {found}, expected one of {', '.join(suffixes) or 'none'}, the suffixes of "
            f"images with labels in {source}; name the one to use."
        )
    images = [image for image in images if channel in (None, image.suffix)]
    if not images:
        raise InputError(
            f"{source}: found no image with a file ..._dseg.nii.gz or ..._label-ORGAN_mask.nii.gz of the "
            "same sub-, expected BIDS with label maps in derivatives; add them, or give --images and "
            "--labels."
        )
    return Layout("BIDS", [_case(image, labels) for image in images], _names(source))


def _case(image: _File, labels: Sequence[_File]) -> Found:
    own = [label for label in labels if label.is_of(image)]
    maps = [label for label in own if label.suffix == "dseg"]
    organs = {words(label.entities["label"]): label.path for label in own if "label" in label.entities}
    key = image.path.name[: -len(ending_of(image.path, VOLUMES) or "")]
    if len(maps) > 1 or (not maps and len(organs) < len(own)):
        raise InputError(
            f"{image.path}: found {', '.join(label.path.name for label in own)}, expected one ..._dseg file, "
            "or ..._label-ORGAN_mask files; move the others away, or give --images and --labels."
        )
    label, masks = (maps[0].path, {}) if maps else (None, organs)
    return Found(key, image.path, label, organs=masks, patient=f"sub-{image.entities['sub']}")


def _files(source: Path) -> Iterator[_File]:
    for folder in (source, *folders_below(source)):
        for path in visible(folder, "*"):
            ending = ending_of(path, VOLUMES)
            if ending is None or not path.name.startswith("sub-") or not path.is_file():
                continue
            *pairs, suffix = path.name.removesuffix(ending).split("_")
            entities = dict(pair.split("-", 1) for pair in pairs if "-" in pair)
            yield _File(path, entities, suffix)


def _names(source: Path) -> dict[int, list[str]]:
    """{number: its name} of all tables, which have to agree."""
    names: dict[int, list[str]] = {}
    for folder in (source, *folders_below(source)):
        for path in visible(folder, "*dseg.tsv"):
            rows = csv.DictReader(io.StringIO(read_user_text(path, what="table")), delimiter="\t")
            for row in rows:
                number, name = row.get("index") or "", words(row.get("name") or "")
                if not number.isdecimal() or not name:
                    raise InputError(
                        f"{path}: found the row {row}, expected a number in the column index and text in the "
                        "column name."
                    )
                if int(number) and names.setdefault(int(number), [name]) != [name]:
                    raise InputError(
                        f"{path}: label {number} is '{name}' here and '{names[int(number)][0]}' in another "
                        "table, expected the same name in both."
                    )
    return names

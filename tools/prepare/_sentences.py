"""Images with masks, and a CSV that says of each image what its mask shows.

    image,prompt,mask,lesion,slice,patient,split        all but the first two may be left out
    a.jpg,the largest polyp,a_mask.png,,,p1,training

Files are named below the folder, or in images/ and masks/ (or labels/); endings may be left out. Without a
column mask, the mask has its image's name, perhaps with "mask" before or behind it.
"""

import csv
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common.data.datalist import SECTIONS
from common.errors import InputError
from common.user_text import read_rows, read_user_text, whole

from ._layouts import IMAGES, LABEL_FOLDERS, MASKS, Found, Layout, by_stem, stem_of, without_affix

COLUMNS = {
    "image": ("image", "image_path", "file", "filename", "file_name", "img"),
    "prompt": ("prompt", "sentence", "description", "caption", "text", "report"),
    "mask": ("mask", "mask_path", "label", "segmentation"),
    "lesion": ("lesion",),
    "slice": ("slice",),
    "patient": ("patient", "patient_id"),
    "split": ("split", "section"),
}
IMAGE_FOLDERS = ("images", "image", "img", "imgs")
MASK_FOLDERS = (*LABEL_FOLDERS, "mask", "label", "segmentations", "annotations")
_HEAD_BYTES = 4096
SHORT = {"train": "training", "val": "validation", "valid": "validation"}


def by_sentences(source: Path, table: Path) -> Layout:
    """Rows about one mask of one image (and slice, and lesion) are one case with several sentences.

    Raises:
        InputError: an unreadable table, a column that is missing or there twice, or a row whose files are not
            there or whose cells cannot be read.
    """
    places = _Places(source)
    grouped: dict[tuple[Any, ...], list[Mapping[str, str]]] = {}
    for number, row in enumerate(_rows(table), start=2):
        where = f"{table}, row {number}"
        image = places.image(row["image"], where)
        mask = places.mask(row.get("mask"), image, where)
        lesion, plane = (_number(row.get(name), f"{where}, {name}") for name in ("lesion", "slice"))
        key = image, mask, lesion, plane, row.get("patient"), _split(row, where)
        grouped.setdefault(key, []).append(row)
    cases = [
        Found(
            stem_of(image, IMAGES),
            image,
            mask,
            patient=patient,
            section=section,
            prompts=tuple(dict.fromkeys(row["prompt"].strip() for row in rows)),
            lesions=None if lesion is None else (lesion,),
            slice_index=plane,
        )
        for (image, mask, lesion, plane, patient, section), rows in grouped.items()
    ]
    return Layout("images with masks and sentences", cases)


def sentence_columns(table: Path) -> set[str]:
    """Which of "image" and "prompt" a CSV has as columns, in whatever encoding and with whatever separator.

    Other tables, such as a list of patients, often lie beside images.
    """
    with table.open("rb") as file:
        head = file.readline(_HEAD_BYTES).replace(b"\0", b"").decode("latin-1").lower()
    columns = {column.strip(" \"'\xef\xbb\xbf\xff\xfe\r\n") for column in re.split("[,;\t]", head)}
    return {name for name in ("image", "prompt") if columns & set(COLUMNS[name])}


class _Places:
    """Finds the files that a table names."""

    def __init__(self, source: Path) -> None:
        self.source = source
        self._masks: dict[str, Path] = {}
        for folder in (source / name for name in MASK_FOLDERS if (source / name).is_dir()):
            for key, path in by_stem(folder, MASKS).items():
                self._masks.setdefault(key, path)
                self._masks.setdefault(without_affix(key), path)

    def image(self, name: str, where: str) -> Path:
        return self._find(name, IMAGE_FOLDERS, IMAGES, f"{where}, image")

    def mask(self, name: str | None, image: Path, where: str) -> Path:
        if name is not None:
            return self._find(name, MASK_FOLDERS, MASKS, f"{where}, mask")
        stem = stem_of(image, IMAGES)
        if stem not in self._masks:
            raise InputError(
                f"{where}: found no mask of {image.name} in {' or '.join(LABEL_FOLDERS)}/, expected a file "
                "of its name; add it, or a column mask with its path."
            )
        return self._masks[stem]

    def _find(self, name: str, folders: Sequence[str], endings: Sequence[str], where: str) -> Path:
        name = name.strip().replace("\\", "/")
        for folder in (self.source, *(self.source / part for part in folders)):
            for path in (folder / name, *(folder / f"{name}{ending}" for ending in endings)):
                if not Path(name).is_absolute() and ".." not in Path(name).parts and path.is_file():
                    return path
        raise InputError(
            f"{where}: found '{name}', expected a file below {self.source} or its folders "
            f"{', '.join(folders[:2])}; correct the name, or add the file."
        )


def _rows(table: Path) -> list[dict[str, str]]:
    """Rows by our names of the columns."""
    try:
        rows: list[dict[str, Any]] = read_rows(read_user_text(table, what="CSV of sentences"))
    except InputError:  # which is a ValueError too
        raise
    except (ValueError, csv.Error) as error:
        raise InputError(
            f"{table}: cannot be read as a CSV ({error}); save it as CSV with commas."
        ) from error
    names = {alias: name for name, aliases in COLUMNS.items() for alias in aliases}
    found = []
    for number, row in enumerate(rows, start=2):
        cells = {names[column]: cell for column, cell in row.items() if column in names and cell.strip()}
        if None in row or "image" not in cells or "prompt" not in cells:
            columns = ", ".join(str(column) for column in row if column is not None) or "nothing"
            raise InputError(
                f"{table}, row {number}: found {'more cells than columns' if None in row else columns}, "
                "expected "
                'an image and a prompt; add them, and put text with commas between quotation marks ("...").'
            )
        found.append(cells)
    if not found:
        raise InputError(f"{table}: found no row, expected the columns image and prompt; write some.")
    return found


def _number(cell: str | None, where: str) -> int | None:
    value = whole(cell)
    if value is None:
        return None
    if not isinstance(value, str) or not value.isdecimal() or len(value) > 9:
        raise InputError(f"{where}: found '{cell}', expected a whole number from 0 up.")
    return int(value)


def _split(row: Mapping[str, str], where: str) -> str | None:
    if "split" not in row:
        return None
    section = row["split"].strip().lower()
    section = SHORT.get(section, section)
    if section not in SECTIONS:
        raise InputError(
            f"{where}, split: found '{row['split']}', expected {', '.join(SECTIONS)}; correct it or leave "
            "the column out."
        )
    return section

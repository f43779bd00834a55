"""The layout in which LViT's authors keep 2D images with sentences, of which several data sets come.

Z. Li et al., "LViT: Language meets Vision Transformer in Medical Image Segmentation", IEEE TMI 43, 96-107
(2024); https://github.com/HUANGLIZI/LViT (README, "Format Preparation", and Load_Dataset.py):

    Train_Folder/Train_text.xlsx (columns Image, Description)   Train_Folder/img   Train_Folder/labelcol
    Val_Folder/Val_text.xlsx ...                                Test_Folder/Test_text.xlsx ...

The sentences of training and validation may also stand in one Train_Val_text.xlsx beside the folders.
"Image" is the name of the file in labelcol; where that is mask_NAME.png, its image is img/NAME.png.
"""

import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

from common.data.datalist import Case
from common.errors import InputError

from ._layout import Source

PARTS = {"training": "Train", "validation": "Val", "test": "Test"}
MASK = "mask_"
_SHEET = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"


def read_parts(
    source: Path, about: Source, *, label: str, patient_of: Callable[[str], str]
) -> dict[str, list[Case]]:
    """Cases of each part under the sections' names, with their sentences, as published.

    Args:
        source: the folder with Train_Folder, Val_Folder, Test_Folder.
        about: the data set, for messages.
        label: name of what the masks show.
        patient_of: an image's name, without its ending -> its patient.

    Raises:
        InputError: files are missing or unreadable.
    """
    both = source / f"{PARTS['training']}_{PARTS['validation']}_text.xlsx"
    own = {section: _folder(source, section) / f"{part}_text.xlsx" for section, part in PARTS.items()}
    shared = both.is_file() and not own["training"].is_file()
    wanted = [own["test"]] if shared else list(own.values())
    about.check_complete(source, wanted)
    rows = {section: read_sentences(path) for section, path in own.items() if path in wanted}
    if shared:
        for section in ("training", "validation"):
            rows[section] = {}
        for name, texts in read_sentences(both).items():
            in_val = (_folder(source, "validation") / "labelcol" / name).is_file()
            rows["validation" if in_val else "training"][name] = texts
    parts = {
        section: [
            _case(_folder(source, section), name, texts, label, patient_of)
            for name, texts in rows[section].items()
        ]
        for section in PARTS
    }
    about.check_complete(
        source,
        [file for cases in parts.values() for case in cases for file in (case.image, case.label) if file],
    )
    return parts


def read_sentences(path: Path) -> dict[str, list[str]]:
    """{file name: its sentences} from the first sheet of an .xlsx file with columns Image and Description.

    Raises:
        InputError: not such a file.
    """
    try:
        rows = _rows(path)
        head = rows[0]
        image, text = head.index("Image"), head.index("Description")
        found: dict[str, list[str]] = {}
        for row in (row for row in rows[1:] if len(row) > max(image, text) and row[image]):
            found.setdefault(row[image], []).append(row[text].strip())
        return found
    except (OSError, zipfile.BadZipFile, KeyError, IndexError, ValueError, ElementTree.ParseError) as error:
        raise InputError(
            f"{path}: not a sheet with the columns Image and Description ({error!r}); fetch it again."
        ) from error


def _rows(path: Path) -> list[list[str]]:
    """Cells of the first sheet as text (Office Open XML: shared or inline strings)."""
    with zipfile.ZipFile(path) as archive:
        sheet = ElementTree.fromstring(archive.read("xl/worksheets/sheet1.xml"))
        shared: list[str] = []
        if "xl/sharedStrings.xml" in archive.namelist():
            table = ElementTree.fromstring(archive.read("xl/sharedStrings.xml"))
            shared = ["".join(text.text or "" for text in item.iter(f"{_SHEET}t")) for item in table]
    rows = []
    for row in sheet.iter(f"{_SHEET}row"):
        cells: list[str] = []
        for cell in row:
            letters = re.match(r"[A-Z]+", cell.get("r", "A"))
            column = (
                sum((ord(c) - 64) * 26**i for i, c in enumerate(reversed(letters[0]))) - 1 if letters else 0
            )
            value = "".join(text.text or "" for tag in ("v", "t") for text in cell.iter(f"{_SHEET}{tag}"))
            cells += [""] * (column - len(cells))
            cells.append(shared[int(value)] if cell.get("t") == "s" else value)
        rows.append(cells)
    return rows


def _folder(source: Path, section: str) -> Path:
    return source / f"{PARTS[section]}_Folder"


def _case(folder: Path, name: str, texts: list[str], label: str, patient_of: Callable[[str], str]) -> Case:
    image = folder / "img" / name.removeprefix(MASK)
    mask = folder / "labelcol" / f"{Path(name).stem}.png"
    patient = patient_of(image.stem)
    return Case(image.stem, image, mask, patient, (label,), prompts=tuple(dict.fromkeys(texts)))

"""MosMedData+: lung CT slices with COVID-19 infections and a sentence each.

Z. Li et al., "LViT: Language meets Vision Transformer in Medical Image Segmentation", IEEE TMI 43, 96-107
(2024), in the layout of https://github.com/HUANGLIZI/LViT (README, "Format Preparation"):

    Train_Folder/Train_text.xlsx (columns Image, Description)   Train_Folder/img   Train_Folder/labelcol
    Val_Folder/Val_text.xlsx ...                                Test_Folder/Test_text.xlsx ...

The 2,729 slices come from a few dozen CT volumes, and the published split (2,183 / 273 / 273) is by slice:
neighbouring slices of one volume are in training and in test, so its scores say how well a network fills in
between slices that it has seen. Names such as Morozov_study_0255_13.png end in the slice's number; what comes
before it is taken for the patient. Slices of "bjorke" have no patient in their names and count as one.
"""

import re
import zipfile
from fractions import Fraction
from pathlib import Path
from xml.etree import ElementTree

from common.data.datalist import Case, split_by_patient
from common.errors import InputError

from ._layout import Source, patients_in_two, write_datalist

SOURCE = Source(
    name="MosMedData+",
    description="Lung CT slices with COVID-19 infections, a sentence each",
    reference="S. P. Morozov et al., arXiv:2005.06465 (2020); Z. Li et al., IEEE TMI 43, 96-107 (2024)",
    licence="CC BY-NC-ND 3.0 for MosMedData; the other slices' sources and the sentences: research use",
    where="ask the authors of LViT (https://github.com/HUANGLIZI/LViT) for the sentences; slices: mosmed.ai.",
    layout="Train_Folder, Val_Folder and Test_Folder, each with img/, labelcol/ and its _text.xlsx",
)
PARTS = {"training": "Train", "validation": "Val", "test": "Test"}
LABELS = {1: "infection"}
SHARES = {"training": Fraction(8, 10), "validation": Fraction(1, 10), "test": Fraction(1, 10)}
SPLIT_SEED = 0
_SHEET = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"


def prepare(source: Path, out: Path, *, published: bool = False) -> None:
    """Write `out`/datalist.json with the sentences as "prompts".

    Args:
        source: the folder with Train_Folder, Val_Folder, Test_Folder.
        out: folder to write to.
        published: keep the published split; then each slice counts as a patient of its own and the file says
        so.

    Raises:
        InputError: files are missing or unreadable, or `out` cannot be written.
    """
    sections, sentences = {}, {}
    SOURCE.check_complete(source, [_table(source, part) for part in PARTS.values()])
    for section, part in PARTS.items():
        texts = read_sentences(_table(source, part))
        sections[section] = [_case(source / f"{part}_Folder", name) for name in texts]
        sentences.update({Path(name).stem: [text] for name, text in texts.items()})
    files = [
        file for cases in sections.values() for case in cases for file in (case.image, case.label) if file
    ]
    SOURCE.check_complete(source, files)
    twice = patients_in_two(sections)
    head: dict[str, str] = SOURCE.notes()
    if twice:
        shown = ", ".join(f"{patient} in {' and '.join(names)}" for patient, names in list(twice.items())[:5])
        leak = f"the published split has slices of {len(twice)} patients in more than one part ({shown}, ...)"
        print(f"warning: {leak}.")
        head["split"] = f"published, by slice: {leak}" if published else "by patient; the published one leaks"
    if published:
        sections = {name: [_alone(case) for case in cases] for name, cases in sections.items()}
    else:
        every = [case for cases in sections.values() for case in cases]
        sections = split_by_patient(every, SHARES, SPLIT_SEED)
    write_datalist(out, head, LABELS, sections, sentences)


def patient_of(name: str) -> str:
    """Name of a slice without its number: "Morozov_study_0255_13" -> "Morozov_study_0255"."""
    return re.sub(r"_\d+$", "", name)


def read_sentences(path: Path) -> dict[str, str]:
    """{file name: sentence} from the first sheet of an .xlsx file with columns Image and Description.

    Raises:
        InputError: not such a file.
    """
    try:
        rows = _rows(path)
        head = rows[0]
        image, text = head.index("Image"), head.index("Description")
        return {
            row[image]: row[text].strip() for row in rows[1:] if len(row) > max(image, text) and row[image]
        }
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


def _table(source: Path, part: str) -> Path:
    return source / f"{part}_Folder" / f"{part}_text.xlsx"


def _case(folder: Path, name: str) -> Case:
    stem = Path(name).stem
    label = folder / "labelcol" / f"{stem}.png"
    return Case(stem, folder / "img" / name, label, patient_of(stem), tuple(LABELS.values()))


def _alone(case: Case) -> Case:
    return Case(case.case, case.image, case.label, case.case, case.targets)

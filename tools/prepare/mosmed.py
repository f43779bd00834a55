"""MosMedData+: lung CT slices with COVID-19 infections and a sentence each.

Z. Li et al., "LViT: Language meets Vision Transformer in Medical Image Segmentation", IEEE TMI 43, 96-107
(2024), in their layout (`_lvit`).

The 2,729 slices come from a few dozen CT volumes, and the published split (2,183 / 273 / 273) is by slice:
neighbouring slices of one volume are in training and in test, so its scores say how well a network fills in
between slices that it has seen. Names such as Morozov_study_0255_13.png end in the slice's number; what comes
before it is taken for the patient. Slices of "bjorke" have no patient in their names and count as one.
"""

import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from common.data.datalist import Case, split_by_patient

from ._layout import Source, patients_in_two, write_datalist
from ._lvit import read_parts

SOURCE = Source(
    name="MosMedData+",
    description="Lung CT slices with COVID-19 infections, a sentence each",
    reference="S. P. Morozov et al., arXiv:2005.06465 (2020); Z. Li et al., IEEE TMI 43, 96-107 (2024)",
    licence="CC BY-NC-ND 3.0 for MosMedData; the other slices' sources and the sentences: research use",
    where="ask the authors of LViT (https://github.com/HUANGLIZI/LViT) for the sentences; slices: mosmed.ai.",
    layout="Train_Folder, Val_Folder and Test_Folder, each with img/, labelcol/ and its _text.xlsx",
)
LABELS = {1: "infection"}
SHARES = {"training": Fraction(8, 10), "validation": Fraction(1, 10), "test": Fraction(1, 10)}
SPLIT_SEED = 0


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
    sections = read_parts(source, SOURCE, label=LABELS[1], patient_of=patient_of)
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
    write_datalist(out, head, LABELS, sections)


def patient_of(name: str) -> str:
    """Name of a slice without its number: "Morozov_study_0255_13" -> "Morozov_study_0255"."""
    return re.sub(r"_\d+$", "", name)


def _alone(case: Case) -> Case:
    return replace(case, patient=case.case)

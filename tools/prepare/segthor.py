"""SegTHOR: thoracic CT with four organs at risk.

Z. Lambert et al., "SegTHOR: Segmentation of thoracic organs at risk in CT images", IPTA 2020. 40 training
patients with labels; the 20 test patients' labels were never given out.
Layout: https://competitions.codalab.org/competitions/21145.

    train/Patient_01/Patient_01.nii.gz    train/Patient_01/GT.nii.gz
"""

from fractions import Fraction
from pathlib import Path

from common.data.datalist import Case, split_by_patient

from ._layout import Source, write_datalist

SOURCE = Source(
    name="SegTHOR",
    description="Thoracic CT, HU, four organs at risk",
    reference="Z. Lambert et al., IPTA (2020)",
    licence="by a data usage agreement with the organisers, research only",
    where="register at https://competitions.codalab.org/competitions/21145 and sign its data usage "
    "agreement.",
    layout="train/Patient_NN/Patient_NN.nii.gz and train/Patient_NN/GT.nii.gz for 40 patients",
)
LABELS = {1: "esophagus", 2: "heart", 3: "trachea", 4: "aorta"}
PATIENTS = 40
SHARES = {"training": Fraction(28, 40), "validation": Fraction(4, 40), "test": Fraction(8, 40)}
SPLIT_SEED = 0


def prepare(source: Path, out: Path) -> None:
    """Write `out`/datalist.json: 28, 4 and 8 patients, since the published test set has no labels.

    Raises:
        InputError: files are missing, or `out` cannot be written.
    """
    cases = []
    for number in range(1, PATIENTS + 1):
        name = f"Patient_{number:02d}"
        folder = source / "train" / name
        image, label = folder / f"{name}.nii.gz", folder / "GT.nii.gz"
        cases.append(Case(name, image, label, name, tuple(LABELS.values())))
    SOURCE.check_complete(source, [file for case in cases for file in (case.image, case.label) if file])
    write_datalist(out, SOURCE.notes(), LABELS, split_by_patient(cases, SHARES, SPLIT_SEED))

"""FLARE22: abdominal CT with 13 organs.

J. Ma et al., "Unleashing the strengths of unlabelled data in deep learning-assisted pan-cancer abdominal
organ quantification: the FLARE22 challenge", Lancet Digital Health 6, e815-e826 (2024). The challenge's
training set has 50 labelled cases, FLARE22_Tr_0001 to 0050; 50 more (FLARETs_0001 to 0050) served for tuning
and were given out with labels later. Layout and numbers: https://flare22.grand-challenge.org/Dataset/.

    images/FLARE22_Tr_0001_0000.nii.gz    labels/FLARE22_Tr_0001.nii.gz
"""

from fractions import Fraction
from pathlib import Path

from common.data.datalist import Case, split_by_patient

from ._layout import Source, write_datalist

SOURCE = Source(
    name="FLARE22",
    description="Abdominal CT, HU, 13 organs",
    reference="J. Ma et al., Lancet Digital Health 6, e815-e826 (2024)",
    licence="research use under the challenge's rules; images come from several public sets with their own",
    where="join https://flare22.grand-challenge.org and accept its rules.",
    layout="images/FLARE22_Tr_NNNN_0000.nii.gz and labels/FLARE22_Tr_NNNN.nii.gz (or .nii) for 50 cases, "
    "and, where you have it, the tuning set as tuning/images/FLARETs_NNNN_0000.nii.gz and tuning/labels",
)
ORGANS = (
    *("liver", "right kidney", "spleen", "pancreas", "aorta", "inferior vena cava", "right adrenal gland"),
    *("left adrenal gland", "gallbladder", "esophagus", "stomach", "duodenum", "left kidney"),
)
LABELS = dict(enumerate(ORGANS, start=1))
CASES = 50
SPLIT_SEED = 0


def prepare(source: Path, out: Path) -> None:
    """Write `out`/datalist.json. With the tuning set that is the test section, else a fifth of the 50 cases
    is.

    Raises:
        InputError: files are missing, or `out` cannot be written.
    """
    train = _cases(source, "FLARE22_Tr")
    tuning = _cases(source / "tuning", "FLARETs") if (source / "tuning").is_dir() else []
    SOURCE.check_complete(
        source, [file for case in (*train, *tuning) for file in (case.image, case.label) if file]
    )
    if tuning:
        shares = {"training": Fraction(4, 5), "validation": Fraction(1, 5)}
        sections = split_by_patient(train, shares, SPLIT_SEED) | {"test": tuning}
    else:
        shares = {"training": Fraction(7, 10), "validation": Fraction(1, 10), "test": Fraction(1, 5)}
        sections = split_by_patient(train, shares, SPLIT_SEED)
    write_datalist(out, SOURCE.notes(), LABELS, sections)


def _cases(folder: Path, stem: str) -> list[Case]:
    names = [f"{stem}_{number:04d}" for number in range(1, CASES + 1)]
    plain = any((folder / "images").glob(f"{stem}_*_0000.nii"))
    ending = ".nii" if plain else ".nii.gz"
    return [
        Case(
            name,
            folder / "images" / f"{name}_0000{ending}",
            folder / "labels" / f"{name}{ending}",
            name,
            ORGANS,
        )
        for name in names
    ]

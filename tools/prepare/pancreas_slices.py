"""Single CT slices with the pancreas, from NIH Pancreas-CT, in the layout of a public repository of images.

H. Roth et al., "Data From Pancreas-CT", The Cancer Imaging Archive (2016),
https://doi.org/10.7937/K9/TCIA.2016.tNB1kqBU, CC BY 3.0. Read as the repository
github.com/atlan-antillia/Tensorflow-Image-Segmentation-Pancreas has it in dataset/Pancreas/test: `images` and
`masks`, 8-bit images of one name, PANCREAS_<patient>-1<slice>.jpg, upside down (the spine on top).

The images came without a scale. Fat is near 0 and the brightest contrast medium at 255; read as -110 to
290 HU, liver, spleen and muscle lie where they do in venous CT. What is black becomes air, so that the body
can be framed. Only the pancreas was outlined: nothing is said of other organs.
"""

import re
from fractions import Fraction
from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image
from tqdm import tqdm

from common.data.datalist import Case, split_by_patient
from common.errors import InputError
from common.files import atomic_path

from ._layout import Source, write_datalist

SOURCE = Source(
    name="NIH Pancreas-CT as 2D images",
    description="Single CT slices with the pancreas",
    reference="H. Roth et al., Data From Pancreas-CT, The Cancer Imaging Archive (2016)",
    licence="CC BY 3.0",
    where="github.com/atlan-antillia/Tensorflow-Image-Segmentation-Pancreas, dataset/Pancreas/test.",
    layout="images/PANCREAS_0001-1120.jpg and masks of the same names",
)
SHARES = {"training": Fraction(7, 10), "validation": Fraction(1, 10), "test": Fraction(1, 5)}
SPLIT_SEED = 0
LABELS = {1: "pancreas"}
LOW_HU, HIGH_HU, AIR_HU = -110.0, 290.0, -1000.0
BLACK, MASKED = 4, 127  # grey values: JPEG leaves some noise in what was 0; masks are 0 and 255 but for it
PIXEL_MM, SLICE_MM = 0.8, 1.0  # nothing in a JPEG says them: typical of these scans
NAME = re.compile(r"PANCREAS_(\d{4})-1\d+\.(?:jpg|png)")


def prepare(source: Path, out: Path) -> None:
    """Write a NIfTI file of one slice for each image and `out`/datalist.json, split by patient.

    Raises:
        InputError: no such images, masks are missing, or `out` cannot be written.
    """
    images = sorted(path for path in (source / "images").glob("*") if NAME.fullmatch(path.name))
    SOURCE.check_complete(source, [source / "masks" / path.name for path in images])
    cases = []
    for image in tqdm(images, desc="pancreas_slices", unit="slice"):
        patient = f"PANCREAS_{NAME.fullmatch(image.name)[1]}"  # type: ignore[index]  # it matched above
        files = [out / kind / f"{image.stem}.nii.gz" for kind in ("images", "labels")]
        grey, mask = _read_pair(image, source / "masks" / image.name)
        hounsfield = np.where(grey <= BLACK, AIR_HU, LOW_HU + grey * ((HIGH_HU - LOW_HU) / 255.0))
        _write(np.rint(hounsfield).astype(np.int16), files[0])
        _write((mask > MASKED).astype(np.uint8), files[1])
        cases.append(Case(image.stem, files[0], files[1], patient, tuple(LABELS.values())))
    write_datalist(out, SOURCE.notes(), LABELS, split_by_patient(cases, SHARES, SPLIT_SEED))


def _read_pair(image: Path, mask: Path) -> tuple[np.ndarray, np.ndarray]:
    """Grey values (H, W) of both, row 0 at the patient's back as stored."""
    grey, marked = (np.asarray(Image.open(path).convert("L"), dtype=np.float32) for path in (image, mask))
    if grey.shape != marked.shape:
        raise InputError(
            f"{mask}: {marked.shape[1]} x {marked.shape[0]} pixels, but its image has {grey.shape[1]} x "
            f"{grey.shape[0]}, expected the same; fetch both again."
        )
    return grey, marked


def _write(rows: np.ndarray, path: Path) -> None:
    """Rows run from back to front and columns from the patient's right to left: (x, y, z) of LAS."""
    image = nib.Nifti1Image(rows.T[:, :, None], np.diag([-PIXEL_MM, PIXEL_MM, SLICE_MM, 1.0]))
    with atomic_path(path) as temporary:
        nib.save(image, temporary)

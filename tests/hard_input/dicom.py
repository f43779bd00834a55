"""Makers of DICOM folders that other tools' users fell over, and what "right" is of each.

Every header holds `SECRET` wherever a person is named, so that a test can look for it in what is said.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from pydicom.config import disable_value_validation

from tests.common.conftest import write_dicom_series

SECRET = "Geheim"
SHAPE = (5, 6, 7)  # slices, rows, columns
STEP_MM = 2.0


@dataclass(frozen=True)
class Right:
    """What has to come of a folder.

    Attributes:
        values: (slices, rows, columns) from below, None where it is refused.
        refused: what the sentence says, a regular expression.
        warned: what a warning says, a regular expression; None = no warning at all.
        spacing_mm: between slices.
        series: what a user chooses with --series.
    """

    values: np.ndarray | None = None
    refused: str | None = None
    warned: str | None = None
    spacing_mm: float = STEP_MM
    series: str | None = None


def hounsfield() -> np.ndarray:
    """Values from -1000 to 1000 that differ from slice to slice."""
    return np.random.default_rng(3).integers(-1000, 1000, SHAPE)


def write(folder: Path, stored: np.ndarray | None = None, **tags: object) -> np.ndarray:
    """A CT series of stored values, by default signed ones of 16 bits that are HU; returns these."""
    stored = hounsfield() if stored is None else stored
    named = {"PatientName": f"{SECRET}^Anna", "PatientID": SECRET, "SeriesDescription": SECRET}
    layout = {"PixelRepresentation": 1, "RescaleSlope": 1, "RescaleIntercept": 0}
    write_dicom_series(folder, np.zeros_like(stored), **{**named, **layout, **tags})
    change(folder, lambda index, header: put(header, stored[index]))
    return stored


def put(header: pydicom.Dataset, stored: np.ndarray) -> None:
    """Set the pixels of a slice, as many bits as its header allocates."""
    kind = f"u{header.BitsAllocated // 8}"
    little = header.file_meta.TransferSyntaxUID.is_little_endian
    header.PixelData = stored.astype(np.int64).astype(("<" if little else ">") + kind).tobytes()


def change(folder: Path, how: Callable[[int, pydicom.Dataset], None]) -> None:
    """Change each file; `how` gets the slice's index from below."""
    for path in folder.iterdir():
        header = pydicom.dcmread(path)
        with disable_value_validation():
            how(int(header.InstanceNumber) - 1, header)
            header.save_as(path)


def file_of(folder: Path, index: int) -> Path:
    """The file of a slice."""
    return sorted(folder.iterdir(), reverse=True)[index]


def set_in(
    index: int | None, vr: str | None = None, **tags: object
) -> Callable[[int, pydicom.Dataset], None]:
    """A change of one slice, or of all; None takes an element away."""

    def how(at: int, header: pydicom.Dataset) -> None:
        if index is None or at == index:
            for keyword, value in tags.items():
                if keyword in header:
                    del header[keyword]
                if value is not None and vr is not None:
                    header.add_new(keyword, vr, value)
                elif value is not None:
                    setattr(header, keyword, value)

    return how


def refused(message: str, **tags: object) -> Callable[[Path], Right]:
    """A series of which one slice is changed, and refused by name."""

    def make(folder: Path) -> Right:
        write(folder)
        change(folder, set_in(2, **tags))
        return Right(refused=rf"000\d-\d+\.dcm: {message}")

    return make

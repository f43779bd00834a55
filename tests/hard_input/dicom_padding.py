"""DICOM series with pixels that were never measured (PixelPaddingValue), each beside its right value."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
from pydicom import uid

from tests.common.conftest import write_multi_frame

from .dicom import SECRET, SHAPE, Right, change, hounsfield, put, refused, set_in, write


def padding_below(folder: Path, **tags: object) -> Right:
    """As GE writes it: -2000 around the circle that was measured."""
    padded = _ring()
    stored = np.where(padded, -2000, hounsfield())
    write(folder, stored, PixelPaddingValue=-2000, **tags)
    return Right(np.where(padded, min(-1000, stored[~padded].min()), stored))


def padding_above(folder: Path) -> Right:
    """63536 are the bits of -2000, read without a sign."""
    padded = _ring()
    stored = np.where(padded, 63536, hounsfield() + 1024)
    write(folder, stored, PixelRepresentation=0, RescaleIntercept=-1024, PixelPaddingValue=63536)
    return Right(np.where(padded, -1000, stored - 1024))


def padding_above_the_stored_bits(folder: Path) -> Right:
    padded = _ring()
    stored = np.where(padded, 63536, hounsfield() + 1024)
    tags = {"PixelRepresentation": 0, "RescaleIntercept": -1024, "BitsStored": 12, "HighBit": 11}
    write(folder, stored, PixelPaddingValue=63536, **tags)
    return Right(np.where(padded, -1000, stored - 1024))


def padding_with_another_sign(folder: Path) -> Right:
    """The element is written as US 63536 though pixels are signed."""
    right = padding_below(folder)
    change(folder, set_in(None, vr="US", PixelPaddingValue=63536))
    return right


def padding_range(folder: Path, ends: tuple[int, int] = (-2000, -1990)) -> Right:
    padded = _ring()
    stored = np.where(padded, -2000 + np.indices(SHAPE)[2], hounsfield())
    write(folder, stored, PixelPaddingValue=ends[0], PixelPaddingRangeLimit=ends[1])
    return Right(np.where(padded, -1000, stored))


def padding_range_from_above(folder: Path) -> Right:
    return padding_range(folder, (-1990, -2000))


def padding_of_some_slices(folder: Path) -> Right:
    right = padding_below(folder)
    assert right.values is not None
    change(folder, set_in(1, PixelPaddingValue=None))
    values = right.values.copy()
    values[1][_ring()[1]] = -2000
    # what is smallest is the background, and here it is the undeclared padding
    values[_ring()] = -2000
    return Right(values)


def mr_padding_above(folder: Path) -> Right:
    """The background of MR is its smallest value; there is no air that has a number."""
    padded = _ring()
    stored = np.where(padded, 4095, np.abs(hounsfield()) + 40)
    tags = {"PixelRepresentation": 0, "SOPClassUID": uid.MRImageStorage, "Modality": "MR"}
    write(folder, stored, PixelPaddingValue=4095, **tags)
    return Right(np.where(padded, stored[~padded].min(), stored))


def implicit_vr_with_padding(folder: Path) -> Right:
    """PixelPaddingValue then has no type of its own."""
    right = padding_below(folder)
    for path in folder.iterdir():
        header = pydicom.dcmread(path)
        header.file_meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian
        header.save_as(path, implicit_vr=True, little_endian=True)
    return right


def rle_mono1_with_padding(folder: Path) -> Right:
    right = padding_below(folder, PhotometricInterpretation="MONOCHROME1")
    change(folder, lambda _, header: header.compress(uid.RLELossless))
    return right


def enhanced_mono1_with_padding(folder: Path) -> Right:
    values = np.where(_ring(), -1000, hounsfield())
    stored = np.where(_ring(), -1024, hounsfield())  # written as 0
    folder.mkdir()
    order = (2, 0, 3, 1, 4)
    header = write_multi_frame(folder / "ct.dcm", stored, order=order, slopes=[1] * 5, PatientName=SECRET)
    header.PhotometricInterpretation = "MONOCHROME1"
    header.add_new("PixelPaddingValue", "US", 0)
    header.save_as(folder / "ct.dcm")
    return Right(values)


def padding_among_values(folder: Path) -> Right:
    stored = hounsfield()
    write(folder, stored, PixelPaddingValue=0)
    stored = np.where(stored == 0, 1, stored)
    stored[2, 3, 3] = 0
    change(folder, lambda index, header: put(header, stored[index]))
    values = np.where(stored == 0, -1000, stored)
    return Right(values, warned="1 voxels equal a PixelPaddingValue that lies within the range")


def only_padding(folder: Path) -> Right:
    write(folder, np.full(SHAPE, -2000), PixelPaddingValue=-2000)
    return Right(refused=r"found nothing but padding \(PixelPaddingValue\), expected an image")


def _ring() -> np.ndarray:
    """Where nothing was measured: the border of each slice."""
    inside = np.zeros(SHAPE, bool)
    inside[:, 1:-1, 1:-1] = True
    return ~inside


FOLDERS: dict[str, Callable[[Path], Right]] = {
    make.__name__: make
    for make in (
        *(padding_below, padding_above, padding_above_the_stored_bits, padding_with_another_sign),
        *(padding_range, padding_range_from_above, padding_of_some_slices, mr_padding_above),
        *(implicit_vr_with_padding, rle_mono1_with_padding, enhanced_mono1_with_padding),
        *(padding_among_values, only_padding),
    )
} | {
    "padding_limit_alone": refused("found PixelPaddingRangeLimit without PixelPaddingValue", vr="SS",
                                   PixelPaddingRangeLimit=-5),
    "padding_text": refused("PixelPaddingValue is malformed", vr="LO", PixelPaddingValue=SECRET),
}  # fmt: skip

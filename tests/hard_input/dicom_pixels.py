"""DICOM series whose stored bits are easily misread, each beside its right value."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image
from pydicom import uid
from pydicom.encaps import encapsulate

from tests.common.conftest import write_multi_frame

from .dicom import SECRET, SHAPE, Right, change, file_of, hounsfield, put, refused, set_in, write


def mono1_signed(folder: Path) -> Right:
    return Right(write(folder, PhotometricInterpretation="MONOCHROME1"))


def mono1_unsigned(folder: Path) -> Right:
    tags = {"PixelRepresentation": 0, "RescaleIntercept": -1024, "BitsStored": 12, "HighBit": 11}
    return Right(write(folder, hounsfield() + 1024, PhotometricInterpretation="MONOCHROME1", **tags) - 1024)


def mono1_and_mono2_mixed(folder: Path) -> Right:
    values = write(folder)
    change(folder, set_in(2, PhotometricInterpretation="MONOCHROME1"))
    return Right(values)


def bits_12_signed(folder: Path) -> Right:
    return Right(write(folder, BitsStored=12, HighBit=11))


def bits_8(folder: Path) -> Right:
    stored = hounsfield() % 256
    write(folder, stored, BitsAllocated=8, BitsStored=8, HighBit=7, PixelRepresentation=0, RescaleSlope=4)
    return Right(4 * stored)


def bits_32(folder: Path) -> Right:
    stored = hounsfield() * 1000
    write(folder, stored, BitsAllocated=32, BitsStored=32, HighBit=31, RescaleSlope="0.001")
    return Right(hounsfield())


def bits_differ_by_slice(folder: Path) -> Right:
    values = write(folder)

    def unsigned(index: int, header: pydicom.Dataset) -> None:
        if index % 2:
            header.PixelRepresentation, header.BitsStored, header.HighBit = 0, 12, 11
            header.RescaleIntercept = -1024
            put(header, values[index] + 1024)

    change(folder, unsigned)
    return Right(values)


def overlay_in_high_bits(folder: Path) -> Right:
    """Retired, and in old archives: bit 12 is a drawing."""
    stored = hounsfield() + 1024
    tags = {"PixelRepresentation": 0, "BitsStored": 12, "HighBit": 11, "RescaleIntercept": -1024}
    drawing = (stored % 3 == 0) << 12
    write(folder, stored | drawing, **tags)

    def declare(_: int, header: pydicom.Dataset) -> None:
        header.add_new((0x6000, 0x0100), "US", 16)
        header.add_new((0x6000, 0x0102), "US", 12)

    change(folder, declare)
    return Right(stored - 1024)


def slope_of_each_slice(folder: Path) -> Right:
    stored = write(folder, np.abs(hounsfield()), SOPClassUID=uid.PositronEmissionTomographyImageStorage)
    slopes = np.array([0.5, 2, 1.25, 4, 8])
    change(folder, lambda index, header: set_in(index, RescaleSlope=float(slopes[index]))(index, header))
    return Right(stored * slopes[:, None, None])


def negative_slope(folder: Path) -> Right:
    return Right(write(folder, RescaleSlope=-1) * -1)


def mr_without_rescaling(folder: Path) -> Right:
    stored = write(folder, np.abs(hounsfield()), SOPClassUID=uid.MRImageStorage, Modality="MR")
    change(folder, set_in(None, RescaleSlope=None, RescaleIntercept=None, RescaleType=None))
    return Right(stored)


def big_endian(folder: Path) -> Right:
    values = write(folder)
    for path in list(folder.iterdir()):
        header = pydicom.dcmread(path)
        header.file_meta.TransferSyntaxUID = uid.ExplicitVRBigEndian
        put(header, values[header.InstanceNumber - 1])
        pydicom.dcmwrite(path, header, implicit_vr=False, little_endian=False, force_encoding=True)
    return Right(values)


def deflated(folder: Path) -> Right:
    values = write(folder)
    change(folder, lambda _, header: setattr(
        header.file_meta, "TransferSyntaxUID", uid.DeflatedExplicitVRLittleEndian))  # fmt: skip
    return Right(values)


def jpeg2000_mono1(folder: Path) -> Right:
    tags = {"PixelRepresentation": 0, "RescaleIntercept": -1024, "PhotometricInterpretation": "MONOCHROME1"}
    stored = write(folder, hounsfield() + 1024, **tags)

    def compress(index: int, header: pydicom.Dataset) -> None:
        stream = io.BytesIO()
        Image.fromarray(stored[index].astype(np.uint16)).save(stream, "JPEG2000", no_jp2=True)
        header.file_meta.TransferSyntaxUID = uid.JPEG2000Lossless
        header.PixelData = encapsulate([stream.getvalue()])
        header["PixelData"].is_undefined_length = True

    change(folder, compress)
    return Right(stored - 1024)


# Warned


def excess_bits(folder: Path) -> Right:
    """12 bits are announced and 13 are used."""
    tags = {"PixelRepresentation": 0, "BitsStored": 12, "HighBit": 11, "RescaleIntercept": -1024}
    stored = hounsfield() + 1024
    stored[3, 2, 2] = 5000
    write(folder, stored, **tags)
    return Right(stored % 4096 - 1024, warned=r"1 slices \(first .*\) have bits set above BitsStored")


def no_hounsfield(folder: Path) -> Right:
    return Right(write(folder, RescaleType="US"), warned="its RescaleType is not HU")


# Refused


def intercept_missing_once(folder: Path) -> Right:
    write(folder, RescaleIntercept=-1024)
    change(folder, set_in(3, RescaleIntercept=None))
    return Right(refused="found RescaleSlope without RescaleIntercept, expected both")


def rescaling_missing_once(folder: Path) -> Right:
    write(folder, RescaleIntercept=-1024)
    change(folder, set_in(3, RescaleSlope=None, RescaleIntercept=None))
    return Right(
        refused=r"0002-\d+\.dcm \(instance 4\) has no RescaleSlope and RescaleIntercept and .* has them"
    )


def rescaling_missing(folder: Path) -> Right:
    write(folder)
    change(folder, set_in(None, RescaleSlope=None, RescaleIntercept=None))
    return Right(
        refused="found no RescaleSlope and RescaleIntercept in this CT, expected them in every slice"
    )


def enhanced_frame_without_rescaling(folder: Path) -> Right:
    folder.mkdir()
    header = write_multi_frame(folder / "ct.dcm", hounsfield(), order=range(5), slopes=[1] * 5)
    del header.PerFrameFunctionalGroupsSequence[2].PixelValueTransformationSequence
    header.save_as(folder / "ct.dcm")
    return Right(refused="frame 3 has no RescaleSlope and RescaleIntercept and frame 1 has them")


def modality_lut(folder: Path) -> Right:
    write(folder)
    table = pydicom.Dataset()
    table.add_new("LUTDescriptor", "US", [4, 0, 16])
    table.add_new("LUTData", "US", [0, 1, 2, 3])
    change(folder, set_in(2, ModalityLUTSequence=[table]))
    return Right(refused=r"found a table of modality values \(ModalityLUTSequence\)")


def float_pixels(folder: Path) -> Right:
    write(folder)
    pixels = hounsfield()[0].astype("<f4").tobytes()
    change(folder, set_in(2, PixelData=None, FloatPixelData=pixels, BitsAllocated=32))
    return Right(refused=r"found floating-point pixels \(FloatPixelData\), expected whole numbers")


def cut_off_rle(folder: Path) -> Right:
    write(folder)
    change(folder, lambda _, header: header.compress(uid.RLELossless))
    path = file_of(folder, 2)
    path.write_bytes(path.read_bytes()[:-60])
    return Right(refused=r"the pixels cannot be decoded \(RLE Lossless\)")


def stream_of_another_size(folder: Path) -> Right:
    jpeg2000_mono1(folder)

    def halve(_: int, header: pydicom.Dataset) -> None:
        header.Rows = SHAPE[1] // 2

    change(folder, halve)
    return Right(refused=r"the pixels cannot be decoded \(JPEG 2000")


FOLDERS: dict[str, Callable[[Path], Right]] = {
    make.__name__: make
    for make in (
        *(mono1_signed, mono1_unsigned, mono1_and_mono2_mixed, bits_12_signed, bits_8, bits_32),
        *(bits_differ_by_slice, overlay_in_high_bits, slope_of_each_slice, negative_slope),
        *(mr_without_rescaling, big_endian, deflated, jpeg2000_mono1, excess_bits, no_hounsfield),
        *(intercept_missing_once, rescaling_missing_once, rescaling_missing),
        *(enhanced_frame_without_rescaling, modality_lut, float_pixels, cut_off_rle),
        stream_of_another_size,
    )
} | {
    "high_bit": refused("found BitsAllocated 16, BitsStored 12 and HighBit 15", BitsStored=12),
    "stored_above_allocated": refused("found BitsAllocated 16, BitsStored 17", BitsStored=17, HighBit=16),
    "allocated_12": refused("found BitsAllocated 12", BitsAllocated=12, BitsStored=12, HighBit=11),
    "representation": refused("found the PixelRepresentation 2, expected 0", PixelRepresentation=2),
    "representation_missing": refused("found no PixelRepresentation", PixelRepresentation=None),
    "colours": refused("found colours", SamplesPerPixel=3, PhotometricInterpretation="RGB"),
    "palette": refused("found colours", PhotometricInterpretation="PALETTE COLOR"),
    "photometric_unknown": refused("found no grey pixels", PhotometricInterpretation=SECRET),
    "slope_zero": refused("found a RescaleSlope of 0", RescaleSlope=0),
    "slope_nan": refused("RescaleSlope is malformed, expected one finite", vr="DS", RescaleSlope="nan"),
    "slope_text": refused("RescaleSlope is malformed", vr="LO", RescaleSlope=SECRET),
    "slope_empty": refused("found RescaleIntercept without RescaleSlope", RescaleSlope=""),
}  # fmt: skip

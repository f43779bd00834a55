"""DICOM folders that other tools' users fell over, each beside its right value.

Every header holds `SECRET` wherever a person is named, so that a test can look for it in what is said.
"""

import io
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image
from pydicom import uid
from pydicom.config import disable_value_validation
from pydicom.encaps import encapsulate

from tests.common.conftest import write_dicom_series, write_multi_frame

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


# Pixel module: taken


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

    def swap(index: int, header: pydicom.Dataset) -> None:
        header.file_meta.TransferSyntaxUID = uid.ExplicitVRBigEndian
        put(header, values[index])

    for path in sorted(folder.iterdir(), reverse=True):
        header = pydicom.dcmread(path)
        swap(int(header.InstanceNumber) - 1, header)
        pydicom.dcmwrite(path, header, implicit_vr=False, little_endian=False, force_encoding=True)
    return Right(values)


def implicit_vr_with_padding(folder: Path) -> Right:
    """PixelPaddingValue then has no type of its own."""
    right = padding_below(folder)
    for path in folder.iterdir():
        header = pydicom.dcmread(path)
        header.file_meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian
        header.save_as(path, implicit_vr=True, little_endian=True)
    return right


def deflated(folder: Path) -> Right:
    values = write(folder)
    change(folder, lambda _, header: setattr(
        header.file_meta, "TransferSyntaxUID", uid.DeflatedExplicitVRLittleEndian))  # fmt: skip
    return Right(values)


def rle_mono1_with_padding(folder: Path) -> Right:
    right = padding_below(folder, PhotometricInterpretation="MONOCHROME1")
    change(folder, lambda _, header: header.compress(uid.RLELossless))
    return right


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


def _ring() -> np.ndarray:
    """Where nothing was measured: the border of each slice."""
    inside = np.zeros(SHAPE, bool)
    inside[:, 1:-1, 1:-1] = True
    return ~inside


# Pixel module: warned


def padding_among_values(folder: Path) -> Right:
    stored = hounsfield()
    write(folder, stored, PixelPaddingValue=0)
    stored = np.where(stored == 0, 1, stored)
    stored[2, 3, 3] = 0
    change(folder, lambda index, header: put(header, stored[index]))
    values = np.where(stored == 0, -1000, stored)
    return Right(values, warned="1 voxels have a PixelPaddingValue that lies among the other values")


def excess_bits(folder: Path) -> Right:
    """12 bits are announced and 13 are used."""
    tags = {"PixelRepresentation": 0, "BitsStored": 12, "HighBit": 11, "RescaleIntercept": -1024}
    stored = hounsfield() + 1024
    stored[3, 2, 2] = 5000
    write(folder, stored, **tags)
    return Right(stored % 4096 - 1024, warned=r"1 slices \(first .*\) hold something above their BitsStored")


def no_hounsfield(folder: Path) -> Right:
    return Right(write(folder, RescaleType="US"), warned="its RescaleType is not HU")


# Pixel module: refused


def _refused(message: str, **tags: object) -> Callable[[Path], Right]:
    def make(folder: Path) -> Right:
        write(folder)
        change(folder, set_in(2, **tags))
        return Right(refused=rf"000\d-\d+\.dcm: {message}")

    return make


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
    return Right(refused=r"found pixels of floating point \(FloatPixelData\), expected whole numbers")


def only_padding(folder: Path) -> Right:
    write(folder, np.full(SHAPE, -2000), PixelPaddingValue=-2000)
    return Right(refused=r"found nothing but padding \(PixelPaddingValue\), expected an image")


def cut_off_rle(folder: Path) -> Right:
    write(folder)
    change(folder, lambda _, header: header.compress(uid.RLELossless))
    path = file_of(folder, 2)
    path.write_bytes(path.read_bytes()[:-60])
    return Right(refused=r"the pixels cannot be decoded \(RLE Lossless\)")


# Geometry


def rounded_positions(folder: Path) -> Right:
    """0.625 mm written as 0.6, 1.3, 1.9 and so on."""
    values = write(folder)
    heights = (0.0, 0.6, 1.3, 1.9, 2.5)
    change(folder, lambda index, header: set_in(
        index, ImagePositionPatient=[0, 0, heights[index]])(index, header))  # fmt: skip
    return Right(values, warned=r"positions lie up to 0\.0\d+ mm away from even steps", spacing_mm=0.625)


def directions_of_three_decimals(folder: Path) -> Right:
    return Right(write(folder, ImageOrientationPatient=[0.866, 0.5, 0, -0.5, 0.866, 0]))


def thickness_text(folder: Path) -> Right:
    values = write(folder)
    change(folder, set_in(None, vr="LO", SliceThickness=f"4.5 {SECRET}"))
    return Right(values)


def one_slice_with_thickness(folder: Path) -> Right:
    return Right(write(folder, hounsfield()[:1], SliceThickness=4.5), spacing_mm=4.5)


def one_slice(folder: Path, thickness: object = None) -> Right:
    values = write(folder, hounsfield()[:1])
    change(folder, set_in(0, vr="LO", SliceThickness=thickness))
    return Right(values, warned="found one slice without a SliceThickness, so 1 mm is assumed", spacing_mm=1)


def one_slice_of_no_thickness(folder: Path) -> Right:
    return one_slice(folder, "0")


def one_slice_of_thickness_text(folder: Path) -> Right:
    return one_slice(folder, f"4.5 {SECRET}")


def slice_beside_the_stack(folder: Path) -> Right:
    write(folder)
    change(folder, set_in(2, ImagePositionPatient=[20, 20, -26]))
    return Right(refused=r"0003-\d+\.dcm \(instance 3\) lies [\d.]+ mm beside the line of the other slices")


# Folders


def last_slice_empty(folder: Path) -> Right:
    write(folder)
    file_of(folder, 4).write_bytes(b"")
    return Right(refused=r"0001-\d+\.dcm: found an empty file among DICOM slices")


def last_slice_dangles(folder: Path) -> Right:
    write(folder)
    path = file_of(folder, 4)
    path.unlink()
    path.symlink_to(folder / "gone")
    return Right(refused=r"0001-\d+\.dcm: found a link to a file that is not there among DICOM slices")


def last_slice_garbage(folder: Path) -> Right:
    write(folder)
    file_of(folder, 4).write_bytes(bytes(4000))
    return Right(refused=r"0001-\d+\.dcm: found no DICOM file among DICOM slices")


def last_slice_is_a_header_alone(folder: Path) -> Right:
    write(folder)
    path = file_of(folder, 4)
    path.write_bytes(path.read_bytes()[:140])
    return Right(refused=r"0001-\d+\.dcm: cannot be read as DICOM")


def names_without_endings(folder: Path) -> Right:
    """IM0001 and so on, one of them empty."""
    write(folder)
    for number, path in enumerate(sorted(folder.iterdir())):
        path.rename(folder / f"IM{number:04d}")
    (folder / "IM0004").write_bytes(b"")
    return Right(refused="IM0004: found an empty file among DICOM slices")


def other_files_beside(folder: Path) -> Right:
    values = write(folder)
    (folder / "notes.txt").write_text("none")
    (folder / ".DS_Store").write_bytes(b"x")
    (folder / "._0001.dcm").write_bytes(b"x")
    (folder / "Thumbs.db").write_bytes(b"x")
    return Right(values, warned=r"files beside the series are not used: notes\.txt \(no DICOM file\)\.")


def scouts_beside(folder: Path) -> Right:
    values = write(folder, SeriesNumber=2)
    scout = {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"], "SeriesNumber": 1}
    write(folder.with_name("scout"), hounsfield()[:1], **scout)
    for path in folder.with_name("scout").iterdir():
        path.rename(folder / "scout.dcm")
    return Right(values, warned=r"not used: scout\.dcm \(a scout\)")


def scouts_alone(folder: Path) -> Right:
    write(folder, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    return Right(refused=r"found 5 scouts \(ImageType LOCALIZER\), which are no volume")


def enhanced_scouts(folder: Path) -> Right:
    folder.mkdir()
    header = write_multi_frame(folder / "ct.dcm", hounsfield(), order=range(5), slopes=[1] * 5)
    kind = pydicom.Dataset()
    kind.FrameType = ["ORIGINAL", "PRIMARY", "LOCALIZER", "NONE"]
    header.SharedFunctionalGroupsSequence[0].CTImageFrameTypeSequence = [kind]
    header.save_as(folder / "ct.dcm")
    return Right(refused=r"found 1 scouts \(ImageType LOCALIZER\)")


def bad_series_beside_the_chosen(folder: Path) -> Right:
    """A dose report stored as CT has no position."""
    values = write(folder, SeriesNumber=1)
    write(folder.with_name("dose"), hounsfield()[:1], SeriesNumber=999)
    path = file_of(folder.with_name("dose"), 0)
    change(path.parent, set_in(None, ImagePositionPatient=None, PhotometricInterpretation="RGB"))
    path.write_bytes(path.read_bytes()[:-20])
    path.rename(folder / "dose.dcm")
    return Right(values, warned=r"not used: dose\.dcm \(another series\)", series="1")


def equal_series_numbers(folder: Path) -> Right:
    write(folder, SeriesNumber=4)
    write(folder.with_name("other"), SeriesNumber=4)
    for path in folder.with_name("other").iterdir():
        path.rename(folder / f"other-{path.name}")
    return Right(
        refused="found 2 series with the number 4: .*; choose one with --series and its UID", series="4"
    )


def copies(folder: Path) -> Right:
    """One copied by a file manager, one sent again, which changes the bytes before the header."""
    values = write(folder)
    shutil.copy(file_of(folder, 2), folder / "copy (1).dcm")
    header = pydicom.dcmread(file_of(folder, 1))
    header.file_meta.ImplementationVersionName = "OTHER"
    header.save_as(folder / "sent again.dcm")
    return Right(values, warned=r"left out copies: (0003-\d+\.dcm of copy \(1\)\.dcm|.*sent again\.dcm of)")


def one_uid_twice(folder: Path) -> Right:
    write(folder)
    header = pydicom.dcmread(file_of(folder, 2))
    header.ImagePositionPatient = [-10, 20, 50]
    header.save_as(folder / "other.dcm")
    return Right(refused=r"0003-\d+\.dcm and other\.dcm have one SOPInstanceUID and different content")


def without_preamble(folder: Path) -> Right:
    values = write(folder)
    for number, path in enumerate(list(folder.iterdir())):
        header = pydicom.dcmread(path)
        header.preamble = None
        if number % 2:  # some lack the meta information too
            header.file_meta = pydicom.dataset.FileMetaDataset()
            header.save_as(path, implicit_vr=bool(number % 4 == 1), little_endian=True)
        else:
            path.write_bytes(path.read_bytes()[132:])
    return Right(values)


def secondary_capture(folder: Path) -> Right:
    write(folder, SOPClassUID=uid.SecondaryCaptureImageStorage)
    return Right(refused=r"no CT, MR or PET slice but Secondary Capture Image Storage \(5\)")


def legacy_single_slices(folder: Path) -> Right:
    return Right(write(folder, SOPClassUID=uid.LegacyConvertedEnhancedCTImageStorage))


def legacy_multi_frame(folder: Path) -> Right:
    folder.mkdir()
    header = write_multi_frame(folder / "ct.dcm", hounsfield(), order=(1, 0, 2, 4, 3), slopes=[1] * 5)
    header.SOPClassUID = uid.LegacyConvertedEnhancedCTImageStorage
    header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID
    header.save_as(folder / "ct.dcm")
    return Right(hounsfield())


def concatenation(folder: Path) -> Right:
    folder.mkdir()
    tags = {"ConcatenationUID": uid.generate_uid(), "InConcatenationNumber": 1}
    write_multi_frame(folder / "ct.dcm", hounsfield(), order=range(5), slopes=[1] * 5, **tags)
    return Right(refused="found 1 file of a concatenation")


def frames_in_a_single_slice(folder: Path) -> Right:
    write(folder)
    change(folder, set_in(2, vr="OW", PixelData=bytes(2 * 2 * SHAPE[1] * SHAPE[2])))
    change(folder, set_in(2, NumberOfFrames=2))
    return Right(refused=r"found 2 frames in a file of one slice \(CT Image Storage\)")


def names_malformed(folder: Path) -> Right:
    values = write(folder, SpecificCharacterSet=f"{SECRET}")
    change(folder, set_in(None, vr="DA", PatientBirthDate=f"19{SECRET}"))
    return Right(values, warned="headers hold something that DICOM does not allow")


FOLDERS: dict[str, Callable[[Path], Right]] = {
    make.__name__: make
    for make in (
        *(mono1_signed, mono1_unsigned, mono1_and_mono2_mixed, bits_12_signed, bits_8, bits_32),
        *(bits_differ_by_slice, overlay_in_high_bits, slope_of_each_slice, negative_slope),
        *(mr_without_rescaling, big_endian, implicit_vr_with_padding, deflated, rle_mono1_with_padding),
        *(jpeg2000_mono1, padding_below, padding_above, padding_above_the_stored_bits),
        *(padding_with_another_sign, padding_range, padding_range_from_above, padding_of_some_slices),
        *(mr_padding_above, enhanced_mono1_with_padding, padding_among_values, excess_bits, no_hounsfield),
        *(intercept_missing_once, rescaling_missing_once, rescaling_missing),
        *(enhanced_frame_without_rescaling, modality_lut, float_pixels, only_padding, cut_off_rle),
        *(rounded_positions, directions_of_three_decimals, thickness_text, one_slice_with_thickness),
        *(one_slice, one_slice_of_no_thickness, one_slice_of_thickness_text, slice_beside_the_stack),
        *(last_slice_empty, last_slice_dangles, last_slice_garbage, last_slice_is_a_header_alone),
        *(names_without_endings, other_files_beside, scouts_beside, scouts_alone, enhanced_scouts),
        *(bad_series_beside_the_chosen, equal_series_numbers, copies, one_uid_twice, without_preamble),
        *(secondary_capture, legacy_single_slices, legacy_multi_frame, concatenation),
        *(frames_in_a_single_slice, names_malformed),
    )
} | {
    "high_bit": _refused("found BitsAllocated 16, BitsStored 12 and HighBit 15", BitsStored=12),
    "stored_above_allocated": _refused("found BitsAllocated 16, BitsStored 17", BitsStored=17, HighBit=16),
    "allocated_12": _refused("found BitsAllocated 12", BitsAllocated=12, BitsStored=12, HighBit=11),
    "representation": _refused("found the PixelRepresentation 2, expected 0", PixelRepresentation=2),
    "representation_missing": _refused("found no PixelRepresentation", PixelRepresentation=None),
    "colours": _refused("found colours", SamplesPerPixel=3, PhotometricInterpretation="RGB"),
    "palette": _refused("found colours", PhotometricInterpretation="PALETTE COLOR"),
    "photometric_unknown": _refused("found no grey pixels", PhotometricInterpretation=SECRET),
    "slope_zero": _refused("found a RescaleSlope of 0", RescaleSlope=0),
    "slope_nan": _refused("RescaleSlope is malformed, expected one finite", vr="DS", RescaleSlope="nan"),
    "slope_text": _refused("RescaleSlope is malformed", vr="LO", RescaleSlope=SECRET),
    "slope_empty": _refused("found RescaleIntercept without RescaleSlope", RescaleSlope=""),
    "padding_text": _refused("PixelPaddingValue is malformed", vr="LO", PixelPaddingValue=SECRET),
    "position_nan": _refused("ImagePositionPatient is malformed, expected 3 finite numbers", vr="DS",
                             ImagePositionPatient=["1", "2", "nan"]),
    "position_text": _refused("ImagePositionPatient is malformed", vr="LO", ImagePositionPatient=SECRET),
    "position_short": _refused("ImagePositionPatient is malformed", ImagePositionPatient=[1, 2]),
    "position_missing": _refused("found no ImagePositionPatient", ImagePositionPatient=None),
    "spacing_infinite": _refused("PixelSpacing is malformed, expected 2", vr="DS", PixelSpacing=["inf", "1"]),
    "spacing_zero": _refused("found a size or a PixelSpacing that is not above 0", PixelSpacing=[1, 0]),
    "spacing_negative": _refused("found a size or a PixelSpacing", PixelSpacing=[-1, 1]),
    "directions_short": _refused(r"found directions \(ImageOrientationPatient\) of lengths 0\.9 and 0\.9",
                                 ImageOrientationPatient=[0.9, 0, 0, 0, 0.9, 0]),
    "directions_long": _refused("found directions", ImageOrientationPatient=[1.01, 0, 0, 0, 1.01, 0]),
    "directions_zero": _refused("found directions", ImageOrientationPatient=[0, 0, 0, 0, 0, 0]),
    "directions_slanted": _refused("found directions", ImageOrientationPatient=[1, 0, 0, 0.6, 0.8, 0]),
    "directions_nan": _refused("ImageOrientationPatient is malformed", vr="DS",
                               ImageOrientationPatient=["1", "0", "0", "0", "nan", "0"]),
}  # fmt: skip

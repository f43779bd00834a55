"""DICOM folders whose slices lie oddly, or that hold other files than slices, each beside what is right."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pydicom
from pydicom import uid

from tests.common.conftest import write_multi_frame

from .dicom import SECRET, SHAPE, Right, change, file_of, hounsfield, refused, set_in, write

# Where slices lie


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


def one_slice(folder: Path) -> Right:
    values = write(folder, hounsfield()[:1])
    change(folder, set_in(0, SliceThickness=None))
    return Right(values, warned="found one slice without a SliceThickness, so 1 mm is assumed", spacing_mm=1)


def one_slice_of_no_thickness(folder: Path) -> Right:
    write(folder, hounsfield()[:1], SliceThickness=0)
    return Right(refused="its voxels have the size .*, 0 mm, so the voxel size is unknown")


def one_slice_of_thickness_text(folder: Path) -> Right:
    write(folder, hounsfield()[:1])
    change(folder, set_in(0, vr="LO", SliceThickness=f"4.5 {SECRET}"))
    return Right(refused="SliceThickness is malformed, expected one finite number")


def slice_beside_the_stack(folder: Path) -> Right:
    write(folder)
    change(folder, set_in(2, ImagePositionPatient=[20, 20, -26]))
    return Right(refused=r"0003-\d+\.dcm \(instance 3\) lies [\d.]+ mm off the line of the other slices")


# What lies in a folder


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
    return Right(refused=r"found 5 scouts \(ImageType LOCALIZER\), which are not a volume")


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
    return Right(
        values, warned=r"copies are left out: (0003-\d+\.dcm of copy \(1\)\.dcm|.*sent again\.dcm of)"
    )


def one_uid_twice(folder: Path) -> Right:
    write(folder)
    header = pydicom.dcmread(file_of(folder, 2))
    header.ImagePositionPatient = [-10, 20, 50]
    header.save_as(folder / "other.dcm")
    return Right(refused=r"0003-\d+\.dcm and other\.dcm have the same SOPInstanceUID but different content")


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
    return Right(values, warned="headers hold values that DICOM does not allow")


FOLDERS: dict[str, Callable[[Path], Right]] = {
    make.__name__: make
    for make in (
        *(rounded_positions, directions_of_three_decimals, thickness_text),
        *(one_slice_with_thickness, one_slice, one_slice_of_no_thickness),
        *(one_slice_of_thickness_text, slice_beside_the_stack, last_slice_empty),
        *(last_slice_dangles, last_slice_garbage, last_slice_is_a_header_alone),
        *(names_without_endings, other_files_beside, scouts_beside, scouts_alone),
        *(enhanced_scouts, bad_series_beside_the_chosen, equal_series_numbers, copies),
        *(one_uid_twice, without_preamble, secondary_capture, legacy_single_slices),
        *(legacy_multi_frame, concatenation, frames_in_a_single_slice, names_malformed),
    )
} | {
    "position_nan": refused("ImagePositionPatient is malformed, expected 3 finite numbers", vr="DS",
                            ImagePositionPatient=["1", "2", "nan"]),
    "position_text": refused("ImagePositionPatient is malformed", vr="LO", ImagePositionPatient=SECRET),
    "position_short": refused("ImagePositionPatient is malformed", ImagePositionPatient=[1, 2]),
    "position_missing": refused("found no ImagePositionPatient", ImagePositionPatient=None),
    "spacing_infinite": refused("PixelSpacing is malformed, expected 2", vr="DS", PixelSpacing=["inf", "1"]),
    "spacing_zero": refused("found a size or a PixelSpacing of 0 or less", PixelSpacing=[1, 0]),
    "spacing_negative": refused("found a size or a PixelSpacing", PixelSpacing=[-1, 1]),
    "directions_short": refused(r"found directions \(ImageOrientationPatient\) of lengths 0\.9 and 0\.9",
                                ImageOrientationPatient=[0.9, 0, 0, 0, 0.9, 0]),
    "directions_long": refused("found directions", ImageOrientationPatient=[1.01, 0, 0, 0, 1.01, 0]),
    "directions_zero": refused("found directions", ImageOrientationPatient=[0, 0, 0, 0, 0, 0]),
    "directions_slanted": refused("found directions", ImageOrientationPatient=[1, 0, 0, 0.6, 0.8, 0]),
    "directions_nan": refused("ImageOrientationPatient is malformed", vr="DS",
                              ImageOrientationPatient=["1", "0", "0", "0", "nan", "0"]),
}  # fmt: skip

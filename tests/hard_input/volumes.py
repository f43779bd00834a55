"""Hard inputs of the door for volumes, made by hand: headers are text and bytes that no library wrote.

All show one phantom, `VOXELS` at `AFFINE`; what is wrong with a file is the only thing that is changed.
"""

import gzip
import struct
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np

SHAPE = (6, 5, 4)  # stored x, y, z
SPACING_MM = (0.8, 1.1, 2.5)
ORIGIN_LPS = (-11.0, 22.0, 33.0)
VOXELS = (np.arange(np.prod(SHAPE), dtype=np.int16) - 50).reshape(SHAPE, order="F")
RAW = VOXELS.tobytes(order="F")
AFFINE = np.array([[-0.8, 0, 0, 11], [0, -1.1, 0, -22], [0, 0, 2.5, 33], [0, 0, 0, 1]])  # RAS+
SLICES = VOXELS.transpose(2, 1, 0)  # as they lie in `AXES`

OFFSET, QUATERN_B, SROW_X, PIXDIM, QFORM_CODE, SFORM_CODE = 108, 256, 280, 76, 252, 254  # bytes of NIfTI-1


class Hard(NamedTuple):
    """An input and what is right: `make` writes it into a folder, `sentence` is what the user is told."""

    make: Callable[[Path], Path]
    sentence: str


def nifti(folder: Path, changes: Mapping[int, bytes] | None = None, *, qform_alone: bool = False) -> Path:
    """A NIfTI-1 of the phantom with other bytes at some offsets."""
    image = nib.Nifti1Image(VOXELS, AFFINE)
    image.set_qform(AFFINE, 1)
    image.set_sform(AFFINE, 0 if qform_alone else 1)
    content = bytearray(image.to_bytes())
    for at, new in (changes or {}).items():
        content[at : at + len(new)] = new
    return _written(folder / "ct.nii", bytes(content))


def nifti_with_odd_extension(folder: Path) -> Path:
    """The phantom with an extension of 20 bytes, four more than the standard's unit."""
    content = nifti(folder, {OFFSET: _f(384)}).read_bytes()
    extension = b"\1\0\0\0" + struct.pack("<ii", 20, 6) + b"a comment  \n"
    return _written(folder / "ct.nii", content[:348] + extension + bytes(12) + content[352:])


def gzipped(folder: Path, change: Callable[[bytearray], bytes | bytearray]) -> Path:
    """The phantom as .nii.gz whose stream is changed; stored blocks, so that flipped voxels unpack."""
    content = nifti(folder).read_bytes()
    (folder / "ct.nii").unlink()
    packed = bytearray(gzip.compress(content, compresslevel=0))
    return _written(folder / "ct.nii.gz", bytes(change(packed)))


def metaimage(
    folder: Path,
    fields: Mapping[str, str | None] | None = None,
    *,
    data: bytes = RAW,
    header_only: bool = False,
) -> Path:
    """A MetaImage of the phantom with other fields (None leaves one out) or data."""
    header: dict[str, str | None] = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "TransformMatrix": "1 0 0 0 1 0 0 0 1",
        "Offset": " ".join(map(str, ORIGIN_LPS)),
        "ElementSpacing": " ".join(map(str, SPACING_MM)),
        "DimSize": " ".join(map(str, SHAPE)),
        "ElementType": "MET_SHORT",
    }
    header |= {"ElementDataFile": "LOCAL"} if fields is None else dict(fields)
    last = header.pop("ElementDataFile", "LOCAL")  # it ends the header
    lines = [f"{name} = {value}" for name, value in header.items() if value is not None]
    text = "\n".join([*lines, f"ElementDataFile = {last}"]) + "\n"
    name = "ct.mhd" if header_only else "ct.mha"
    return _written(folder / name, text.encode() + (b"" if header_only else data))


def deflated_metaimage(folder: Path, change: Callable[[bytearray], bytes | bytearray]) -> Path:
    """The phantom as compressed MetaImage whose stream is changed."""
    packed = bytes(change(bytearray(zlib.compress(RAW, level=0))))
    return metaimage(folder, {"CompressedData": "True", "CompressedDataSize": str(len(packed))}, data=packed)


def nrrd(folder: Path, fields: Mapping[str, str | None] | None = None, *, data: bytes = RAW) -> Path:
    """A NRRD of the phantom with other fields (None leaves one out) or data."""
    x, y, z = SPACING_MM
    header: dict[str, str | None] = {
        "type": "short",
        "dimension": "3",
        "space": "left-posterior-superior",
        "sizes": " ".join(map(str, SHAPE)),
        "space directions": f"({x},0,0) (0,{y},0) (0,0,{z})",
        "kinds": "domain domain domain",
        "endian": "little",
        "encoding": "raw",
        "space origin": "({},{},{})".format(*ORIGIN_LPS),
    }
    header |= fields or {}
    lines = [f"{name}: {value}" for name, value in header.items() if value is not None]
    return _written(folder / "ct.nrrd", "\n".join(["NRRD0004", *lines, "", ""]).encode() + data)


def gzipped_nrrd(folder: Path, change: Callable[[bytearray], bytes | bytearray]) -> Path:
    """The phantom as compressed NRRD whose stream is changed."""
    packed = bytes(change(bytearray(gzip.compress(RAW, compresslevel=0))))
    return nrrd(folder, {"encoding": "gzip"}, data=packed)


def flipped(at: int) -> Callable[[bytearray], bytearray]:
    """One bit of a stream flipped."""

    def change(stream: bytearray) -> bytearray:
        stream[at] ^= 4
        return stream

    return change


def cut(count: int) -> Callable[[bytearray], bytearray]:
    """The last bytes of a stream cut off."""
    return lambda stream: stream[:-count]


def same(stream: bytearray) -> bytearray:
    """The stream as it is."""
    return stream


def _written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def _f(*numbers: float) -> bytes:
    return struct.pack(f"<{len(numbers)}f", *numbers)


_BROKEN_NIFTI = (
    r"ct\.nii\.gz: cannot be read as NIfTI \(.*\), so the file is broken, cut off or of another kind"
)
_BROKEN_STREAM = (
    r": its compressed voxels cannot be read to their end \(.*\), so the file is broken or cut off"
)
_NO_PATIENT_LEFT = "so the patient's left and right are unknown; convert the series again from DICOM"
_NO_SIZE = "so the voxel size is unknown; convert the series again from DICOM"
_NO_PLACE = "so the positions of voxels are unknown; convert the series again from DICOM"
_CUT_OFF = r": found \d+ bytes of voxels, expected the 240 that its header announces, so the file is cut off"

REFUSED = {
    # checksums
    "nii.gz, a voxel's bit": Hard(
        lambda f: gzipped(f, flipped(-20)), rf"{_BROKEN_NIFTI}.*CRC|{_BROKEN_NIFTI}"
    ),
    "nii.gz, the checksum": Hard(lambda f: gzipped(f, flipped(-7)), _BROKEN_NIFTI),
    "nii.gz, the checksum cut": Hard(lambda f: gzipped(f, cut(8)), _BROKEN_NIFTI),
    "nii.gz, other bytes behind": Hard(lambda f: gzipped(f, lambda s: s + b"more"), _BROKEN_NIFTI),
    "mha, a voxel's bit": Hard(lambda f: deflated_metaimage(f, flipped(-20)), r"ct\.mha" + _BROKEN_STREAM),
    "mha, the checksum": Hard(lambda f: deflated_metaimage(f, flipped(-1)), r"ct\.mha" + _BROKEN_STREAM),
    "mha, the checksum cut": Hard(lambda f: deflated_metaimage(f, cut(4)), r"ct\.mha" + _BROKEN_STREAM),
    "nrrd, a voxel's bit": Hard(lambda f: gzipped_nrrd(f, flipped(-20)), r"ct\.nrrd" + _BROKEN_STREAM),
    "nrrd, the checksum": Hard(lambda f: gzipped_nrrd(f, flipped(-7)), r"ct\.nrrd" + _BROKEN_STREAM),
    "nrrd, the checksum cut": Hard(lambda f: gzipped_nrrd(f, cut(8)), r"ct\.nrrd" + _BROKEN_STREAM),
    # sizes
    "nii, cut": Hard(lambda f: _cut(nifti(f)), r"ct\.nii" + _CUT_OFF),
    "mha, cut": Hard(lambda f: metaimage(f, data=RAW[:99]), r"ct\.mha" + _CUT_OFF),
    "nrrd, cut": Hard(lambda f: nrrd(f, data=RAW[:99]), r"ct\.nrrd" + _CUT_OFF),
    "mha, cut, voxels at the end": Hard(
        lambda f: metaimage(f, {"HeaderSize": "-1"}, data=RAW[:99]), r"ct\.mha" + _CUT_OFF
    ),
    "mha, too little in the stream": Hard(
        lambda f: metaimage(f, {"CompressedData": "True"}, data=zlib.compress(RAW[:99])),
        r"ct\.mha" + _CUT_OFF,
    ),
    "mha, too much in the stream": Hard(
        lambda f: metaimage(f, {"CompressedData": "True"}, data=zlib.compress(RAW + bytes(99))),
        r"ct\.mha: found 339 bytes of voxels, expected the 240 that its header announces",
    ),
    "nrrd, too much in the stream": Hard(
        lambda f: nrrd(f, {"encoding": "gzip"}, data=gzip.compress(RAW + bytes(99))),
        r"ct\.nrrd: found 339 bytes of voxels, expected the 240 that its header announces",
    ),
    "mha, terabytes announced": Hard(
        lambda f: metaimage(f, {"DimSize": "60000 60000 60000"}),
        r"ct\.mha: found 240 bytes of voxels, expected the 432,000,000,000,000 that its header announces",
    ),
    "mhd, no voxels' file": Hard(
        lambda f: metaimage(f, {"ElementDataFile": "gone.raw"}, header_only=True),
        r"ct\.mhd: its header names gone\.raw as the file of its voxels, which is not there; put",
    ),
    "nrrd, no voxels' file": Hard(
        lambda f: nrrd(f, {"data file": "gone.raw"}),
        r"ct\.nrrd: its header names gone\.raw as the file of its",
    ),
    # offsets into the header
    **{
        f"nii, offset {value:g}": Hard(
            lambda f, value=value: nifti(f, {OFFSET: _f(value)}),
            rf"ct\.nii: its header says that the voxels begin at byte {value:g} \(vox_offset\), expected "
            "byte 352, where the header ends, or later; export the image again",
        )
        for value in (0.0, 16.0, 351.0, float("nan"), float("inf"))
    },
    "nii, offset into an extension": Hard(
        lambda f: nifti(f, {348: b"\1\0\0\0" + struct.pack("<ii", 64, 6), OFFSET: _f(368.0)}),
        r"ct\.nii: its header has an extension of 64 bytes at byte 352, expected it to end before the voxels",
    ),
    "mha, HeaderSize 10": Hard(
        lambda f: metaimage(f, {"HeaderSize": "10"}),
        r"ct\.mha: its header says that the voxels begin at byte 10, expected byte \d+, where the header",
    ),
    "nrrd, byte skip -5": Hard(
        lambda f: nrrd(f, {"byte skip": "-5"}),
        r"ct\.nrrd: its header has a byte skip of -5 and a line skip of 0, which point into the header",
    ),
    "nrrd, itself as the voxels' file": Hard(
        lambda f: nrrd(f, {"data file": "ct.nrrd", "byte skip": "20"}),
        r"ct\.nrrd: its header says that the voxels begin at byte 20, expected byte \d+, where the header",
    ),
    # orientation and spacing that would be guessed
    "nii, no orientation": Hard(
        lambda f: nifti(f, {QFORM_CODE: b"\0\0", SFORM_CODE: b"\0\0"}), rf"ct\.nii: .* {_NO_PATIENT_LEFT}"
    ),
    "nii, codes that are none": Hard(
        lambda f: nifti(f, {QFORM_CODE: b"\x09\0", SFORM_CODE: b"\x09\0"}), rf"ct\.nii: .* {_NO_PATIENT_LEFT}"
    ),
    "mha, no orientation": Hard(
        lambda f: metaimage(f, {"TransformMatrix": None}),
        rf"ct\.mha: its header has no TransformMatrix, {_NO_PATIENT_LEFT}",
    ),
    "nrrd, no directions": Hard(
        lambda f: nrrd(f, {"space directions": None, "space": None, "space origin": None}),
        rf"ct\.nrrd: its header has no space directions, {_NO_PATIENT_LEFT}",
    ),
    "nrrd, spacings alone": Hard(
        lambda f: nrrd(f, {"space directions": None, "space": None, "spacings": "1 1 2"}),
        rf"ct\.nrrd: its header has no space directions, {_NO_PATIENT_LEFT}",
    ),
    "nrrd, no space": Hard(
        lambda f: nrrd(f, {"space": None, "space dimension": "3"}),
        rf"ct\.nrrd: its header has no space, expected left-posterior-superior or.*, {_NO_PATIENT_LEFT}",
    ),
    "nii, pixdim 0": Hard(
        lambda f: nifti(f, {PIXDIM + 12: _f(0.0)}, qform_alone=True),
        rf"ct\.nii: its voxels have the size 0\.8, 1\.1, 0 mm, {_NO_SIZE}",
    ),
    "mha, no spacing": Hard(
        lambda f: metaimage(f, {"ElementSpacing": None}),
        rf"ct\.mha: its header has no ElementSpacing, {_NO_SIZE}",
    ),
    "mha, spacing 0 of one slice": Hard(
        lambda f: metaimage(f, {"ElementSpacing": "0.8 1.1 0", "DimSize": "6 5 1"}, data=RAW[:60]),
        rf"ct\.mha: its voxels have the size 0\.8, 1\.1, 0 mm, {_NO_SIZE}",
    ),
    "mha, negative spacing": Hard(
        lambda f: metaimage(f, {"ElementSpacing": "0.8 -1.1 2.5"}),
        rf"ct\.mha: its voxels have the size 0\.8, -1\.1, 2\.5 mm, {_NO_SIZE}",
    ),
    "nrrd, a direction of length 0": Hard(
        lambda f: nrrd(f, {"space directions": "(1,0,0) (0,1,0) (0,0,0)"}),
        rf"ct\.nrrd: its voxels have the size 1, 1, 0 mm, {_NO_SIZE}",
    ),
    "nrrd, micrometres": Hard(
        lambda f: nrrd(f, {"space units": '"um" "um" "um"'}),
        r"ct\.nrrd: its header has the space units um, expected mm; export the image again in millimetres",
    ),
    # numbers that are no geometry
    "nii, sform NaN": Hard(
        lambda f: nifti(f, {SROW_X: _f(float("nan"))}),
        rf"ct\.nii: its affine holds a number that is not finite \(axes nan, .*\), {_NO_PLACE}",
    ),
    "nii, sform infinite": Hard(
        lambda f: nifti(f, {SROW_X + 12: _f(float("inf"))}),
        rf"ct\.nii: its affine holds a number that is not finite \(.* origin inf, -22, 33\), {_NO_PLACE}",
    ),
    "nii, quaternion longer than 1": Hard(
        lambda f: nifti(f, {QUATERN_B: _f(1.3)}, qform_alone=True),
        rf"ct\.nii: its qform is not a rotation \(quaternion b 1\.3, .*\), {_NO_PLACE}",
    ),
    "nii, quaternion NaN": Hard(
        lambda f: nifti(f, {QUATERN_B: _f(float("nan"))}, qform_alone=True),
        rf"ct\.nii: its qform is not a rotation \(quaternion b nan, .*\), {_NO_PLACE}",
    ),
    "mha, directions of length 1.1": Hard(
        lambda f: metaimage(f, {"TransformMatrix": "1 0 0 0 1.1 0 0 0 1"}),
        r"ct\.mha: its axis directions have the lengths 1, 1\.1, 1, expected 1 each, so the voxel size is "
        "uncertain",
    ),
    "mha, a word as spacing": Hard(
        lambda f: metaimage(f, {"ElementSpacing": "0.8 1.1 thick"}),
        rf"ct\.mha: its affine holds a number that is not finite \(.*nan.*\), {_NO_PLACE}",
    ),
    "nrrd, direction NaN": Hard(
        lambda f: nrrd(f, {"space directions": "(nan,0,0) (0,1,0) (0,0,1)"}),
        rf"ct\.nrrd: its affine holds a number that is not finite \(axes nan, .*\), {_NO_PLACE}",
    ),
    "nrrd, directions in one plane": Hard(
        lambda f: nrrd(f, {"space directions": "(1,0,0) (0,1,0) (1,1,0)"}),
        r"ct\.nrrd: the affine is singular",
    ),
    # other shapes and no headers
    "mha, several volumes": Hard(
        lambda f: metaimage(
            f,
            {
                "NDims": "4",
                "DimSize": "6 5 2 2",
                "ElementSpacing": "1 1 1 1",
                "TransformMatrix": "1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1",
                "Offset": "0 0 0 0",
            },
        ),
        r"ct\.mha: the image has 4 axes and 1 channels, expected three axes and one channel",
    ),
    "mha, text": Hard(
        lambda f: _written(f / "ct.mha", b"no image at all"),
        r"ct\.mha: cannot be read as MHA \(found no header",
    ),
    "nrrd, text": Hard(
        lambda f: _written(f / "ct.nrrd", b"no image at all"), r"ct\.nrrd: cannot be read as NRRD \(found no "
    ),
}


def _cut(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:-141])
    return path


TAKEN = {
    "nii": nifti,
    "nii, qform alone": lambda f: nifti(f, qform_alone=True),
    "nii, one extension": lambda f: _with_extension(f),
    "nii.gz": lambda f: gzipped(f, same),
    "nii.gz, two members": lambda f: gzipped(f, _as_two_members),
    "mha": metaimage,
    "mha, compressed": lambda f: deflated_metaimage(f, same),
    "mha, of older names": lambda f: metaimage(
        f,
        {
            "TransformMatrix": None,
            "Orientation": "1 0 0 0 1 0 0 0 1",
            "Offset": None,
            "Position": " ".join(map(str, ORIGIN_LPS)),
        },
    ),
    "mha, HeaderSize -1": lambda f: metaimage(f, {"HeaderSize": "-1"}),
    "mha, a fourth axis of length 1": lambda f: metaimage(
        f,
        {
            "NDims": "4",
            "DimSize": "6 5 4 1",
            "ElementSpacing": "0.8 1.1 2.5 1",
            "TransformMatrix": "1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1",
            "Offset": "-11 22 33 0",
        },
    ),
    "mhd": lambda f: _with_raw(f, metaimage(f, {"ElementDataFile": "ct.raw"}, header_only=True)),
    "mhd, a file a slice": lambda f: _with_slices(f),
    "nrrd": nrrd,
    "nrrd, compressed": lambda f: gzipped_nrrd(f, same),
    "nrrd, skips": lambda f: nrrd(f, {"line skip": "1", "byte skip": "3"}, data=b"a line\nabc" + RAW),
    "nrrd, byte skip -1": lambda f: nrrd(f, {"byte skip": "-1"}, data=RAW),
    "nrrd, of RAS": lambda f: nrrd(
        f,
        {
            "space": "right-anterior-superior",
            "space directions": "(-0.8,0,0) (0,-1.1,0) (0,0,2.5)",
            "space origin": "(11,-22,33)",
        },
    ),
}


def _with_extension(folder: Path) -> Path:
    path = nifti(folder, {348: b"\1\0\0\0", OFFSET: _f(368.0)})
    content = path.read_bytes()
    return _written(path, content[:352] + struct.pack("<ii", 16, 6) + bytes(8) + content[352:])


def _as_two_members(stream: bytearray) -> bytes:
    content = gzip.decompress(bytes(stream))
    return gzip.compress(content[:400]) + gzip.compress(content[400:])


def _with_raw(folder: Path, header: Path) -> Path:
    _written(folder / "ct.raw", RAW)
    return header


def _with_slices(folder: Path) -> Path:
    size = len(RAW) // SHAPE[2]
    for number in range(SHAPE[2]):
        _written(folder / f"slice{number + 1}.raw", RAW[number * size : (number + 1) * size])
    return metaimage(folder, {"ElementDataFile": f"slice%d.raw 1 {SHAPE[2]} 1"}, header_only=True)

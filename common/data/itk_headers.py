"""What headers of NRRD and MetaImage say, checked before ITK reads them: it guesses what they leave out.

ITK takes a missing direction for the identity and a missing spacing for 1 mm, stops before the checksum of a
compressed stream, and calls a file that is cut off "No such file".
"""

import logging
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError
from .affines import check_directions, check_finite, check_not_flat, check_sizes, no_orientation, no_spacing
from .integrity import check_bytes, inflated_bytes, wrong_length

HEADER_BYTES = 1 << 20  # more is no header
MANY_LINES = MANY_FILES = 10_000
META_ENDINGS = (".mha", ".mhd")
_META_BYTES = {
    **dict.fromkeys(("CHAR", "UCHAR", "ASCII_CHAR"), 1),
    **dict.fromkeys(("SHORT", "USHORT"), 2),
    **dict.fromkeys(("INT", "UINT", "LONG", "ULONG", "FLOAT"), 4),
    **dict.fromkeys(("LONG_LONG", "ULONG_LONG", "DOUBLE"), 8),
}
_NRRD_BYTES = {
    **dict.fromkeys(("signed char", "int8", "int8_t", "uchar", "unsigned char", "uint8", "uint8_t"), 1),
    **dict.fromkeys(("short", "short int", "signed short", "signed short int", "int16", "int16_t"), 2),
    **dict.fromkeys(("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"), 2),
    **dict.fromkeys(("int", "signed int", "int32", "int32_t", "uint", "unsigned int", "uint32"), 4),
    **dict.fromkeys(("uint32_t", "float"), 4),
    **dict.fromkeys(("longlong", "long long", "long long int", "signed long long", "int64", "int64_t"), 8),
    **dict.fromkeys(("signed long long int", "ulonglong", "unsigned long long", "uint64", "uint64_t"), 8),
    **dict.fromkeys(("unsigned long long int", "double"), 8),
}
_NRRD_SPACES = (
    "left-posterior-superior",
    "right-anterior-superior",
    "left-anterior-superior",
    *("lps", "ras", "las"),
)
_MILLIMETRES = ("mm", "millimeter", "millimeters", "millimetre", "millimetres")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Voxels:
    """Where the voxels that a header announces stand.

    Attributes:
        files: the files that hold them, each an equal part.
        offset: of the voxels in each file, or of their compressed stream; None: at the file's end.
        skipped: bytes of the unpacked stream before the voxels.
        announced: bytes of all voxels; None where they are written as text.
        compressed: as zlib or gzip.
        header_end: where the header ends, in a file that has both.
    """

    files: Sequence[Path]
    offset: int | None
    skipped: int
    announced: int | None
    compressed: bool
    header_end: int


def check_itk_header(path: Path) -> None:
    """Check that a NRRD or MetaImage file says where its voxels lie, and that they are all there.

    Raises:
        InputError: no orientation or spacing, or one that cannot be; voxels that are missing, cut off, broken
            or begin in the header.
    """
    metaimage = path.name.lower().endswith(META_ENDINGS)
    with path.open("rb") as file:
        lines, end = _header_lines(file.read(HEADER_BYTES), metaimage=metaimage)
    _check_voxels(path, (_metaimage if metaimage else _nrrd)(path, lines, end))


def _check_voxels(path: Path, voxels: Voxels) -> None:
    for file in voxels.files:
        if not file.is_file():
            raise InputError(
                f"{path}: its header names {file.name} as the file of its voxels, which is not there; put "
                "both into one folder."
            )
        if voxels.announced is not None:
            _check_file(path, file, voxels, voxels.announced // len(voxels.files))


def _check_file(path: Path, file: Path, voxels: Voxels, announced: int) -> None:
    """Check one of the files, which holds `announced` bytes of the voxels."""
    size, begins = file.stat().st_size, voxels.header_end if os.path.samefile(file, path) else 0
    if voxels.offset is None:
        check_bytes(file, min(size - begins, announced), announced)
        return
    if voxels.offset < begins:
        raise InputError(
            f"{path}: its header says that the voxels begin at byte {voxels.offset}, expected byte {begins}, "
            "where the header ends, or later; export the image again."
        )
    if not voxels.compressed:
        check_bytes(file, size - voxels.offset, announced)
        return
    found = inflated_bytes(file, voxels.offset, announced + voxels.skipped) - voxels.skipped
    if found != announced:  # of a longer stream ITK gives memory that nobody filled
        raise wrong_length(file, found, announced)


def _metaimage(path: Path, lines: Sequence[str], end: int) -> Voxels:
    """Checked geometry and the place of the voxels of a MetaImage."""
    fields = {key.strip(): value.strip() for key, _, value in (line.partition("=") for line in lines)}
    sizes, name = _whole(fields.get("DimSize", "")), fields.get("ElementDataFile", "")
    element = _META_BYTES.get(fields.get("ElementType", "").removeprefix("MET_"))
    channels = _whole(fields.get("ElementNumberOfChannels", "1"))
    if not sizes or not name or element is None or len(channels) != 1:
        raise _no_header(path, "DimSize, ElementType and ElementDataFile")
    if len(sizes) >= 3:
        _check_metaimage_geometry(path, fields, len(sizes))
    skip = (_whole(fields.get("HeaderSize", "0")) or [0])[0]
    local = name.lower() == "local"
    files = [path] if local else _data_files(path, name, lines)
    offset = None if skip == -1 else max(skip, 0) or (end if local else 0)
    binary, compressed = (
        fields.get(field, default)[:1] in "Tt1"
        for field, default in (("BinaryData", "T"), ("CompressedData", "F"))
    )
    announced = (
        math.prod(sizes) * channels[0] * element
        if binary and (offset is not None or not compressed)
        else None
    )
    return Voxels(files, offset, 0, announced, compressed, end)


def _check_metaimage_geometry(path: Path, fields: Mapping[str, str], axes: int) -> None:
    def numbers(*names: str) -> list[float]:
        return next((_numbers(fields[name]) for name in names if name in fields), [])

    matrix, sizes = (
        numbers("TransformMatrix", "Rotation", "Orientation"),
        numbers("ElementSpacing", "ElementSize"),
    )
    if len(matrix) != axes * axes:
        raise no_orientation(path, "its header has no TransformMatrix")
    if len(sizes) != axes:
        raise no_spacing(path, "its header has no ElementSpacing")
    directions = np.reshape(matrix, (axes, axes))[:3, :3]  # a row is the direction of an axis
    _check_geometry(path, directions.T, sizes[:3], numbers("Offset", "Position", "Origin")[:3])


def _nrrd(path: Path, lines: Sequence[str], end: int) -> Voxels:
    """Checked geometry and the place of the voxels of a NRRD."""
    fields = {
        name.strip().lower(): value.strip()
        for name, colon, value in (line.partition(":") for line in lines)
        if colon and not value.startswith("=") and not name.startswith("#")
    }
    sizes, encoding = _whole(fields.get("sizes", "")), fields.get("encoding", "").lower()
    element = _NRRD_BYTES.get(fields.get("type", "").lower())
    if not lines[0].startswith("NRRD") or not sizes or element is None or not encoding:
        raise _no_header(path, "NRRD, type, sizes and encoding")
    if len(sizes) >= 3:
        _check_nrrd_geometry(path, fields)
    name = fields.get("data file", fields.get("datafile", ""))
    files, offset = (_data_files(path, name, lines), 0) if name else ([path], end)
    line_skip, byte_skip = (
        (_whole(fields.get(f"{unit} skip", fields.get(f"{unit}skip", "0"))) or [0])[0]
        for unit in ("line", "byte")
    )
    compressed = encoding in ("gzip", "gz")
    if byte_skip < (0 if compressed else -1) or line_skip < 0:
        raise InputError(
            f"{path}: its header has a byte skip of {byte_skip} and a line skip of {line_skip}, which point "
            "into the header, expected 0 or more; export the image again."
        )
    if line_skip and files[0].is_file():
        offset = _after_lines(files[0], offset, line_skip)
    announced = math.prod(sizes) * element if compressed or encoding == "raw" else None
    if byte_skip == -1:
        return Voxels(files, None, 0, announced, compressed, end)
    skipped = byte_skip if compressed else 0  # of the unpacked stream
    return Voxels(files, offset + byte_skip - skipped, skipped, announced, compressed, end)


def _check_nrrd_geometry(path: Path, fields: Mapping[str, str]) -> None:
    space, directions = fields.get("space", "").lower(), fields.get("space directions", "")
    if not directions:
        raise no_orientation(path, "its header has no space directions")
    if space not in _NRRD_SPACES:
        found = f"the space {space!r}" if space else "no space"
        raise no_orientation(path, f"its header has {found}, expected {_NRRD_SPACES[0]} or a similar one")
    units = {unit.lower() for unit in re.findall(r'"([^"]*)"', fields.get("space units", ""))} - {""}
    if not units <= set(_MILLIMETRES):
        raise InputError(
            f"{path}: its header has the space units {', '.join(sorted(units))}, expected mm; export the "
            "image again in millimetres."
        )
    vectors = [_numbers(one) for one in re.findall(r"\(([^)]*)\)", directions)]
    if [len(vector) for vector in vectors] != [3, 3, 3]:
        raise no_orientation(
            path, f"its header has the space directions {directions!r}, expected three of three numbers each"
        )
    axes = np.transpose(vectors)
    sizes = np.linalg.norm(axes, axis=0)
    origin = _numbers(fields.get("space origin", "").strip("()"))
    _check_geometry(path, axes / np.where(sizes > 0, sizes, 1), sizes.tolist(), origin)


def _check_geometry(
    path: Path, directions: np.ndarray, sizes_mm: Sequence[float], origin: Sequence[float]
) -> None:
    """Check what both formats say: directions in the columns of (3, 3), voxel sizes and origin in mm."""
    check_finite(path, directions * sizes_mm, origin)
    check_sizes(path, sizes_mm)
    check_directions(path, directions.T)
    check_not_flat(path, directions)
    if len(origin) != 3:
        _log.warning("%s: its header has no origin; the first voxel is put at 0, 0, 0.", path)


def _header_lines(head: bytes, *, metaimage: bool) -> tuple[list[str], int]:
    """Lines of a header, those behind it if they name files, and the byte at which the header ends."""
    lines: list[str] = []
    end, ended = 0, False
    for line in head.split(b"\n"):
        text = line.decode("latin-1").strip()
        if not ended:
            end += len(line) + 1
            ended = text.startswith("ElementDataFile") if metaimage else not text
        elif not text or len(lines) > MANY_LINES:
            break
        lines.append(text)
    return lines, min(end, len(head))


def _data_files(path: Path, name: str, lines: Sequence[str]) -> list[Path]:
    """The files that a header names: one, those of a pattern with numbers, or a list behind the header."""
    if name.split()[0] == "LIST":
        at = next(number for number, line in enumerate(lines) if line.endswith(name))
        names = [line for line in lines[at + 1 :] if line]
    elif pattern := re.fullmatch(r"(.*%\d*d\S*)\s+(-?\d+)\s+(-?\d+)\s+(-?[1-9]\d*)(\s+\d+)?", name):
        first, last, step = (int(pattern[group]) for group in (2, 3, 4))
        numbers = range(first, last + (1 if step > 0 else -1), step)[:MANY_FILES]
        names = [pattern[1] % number for number in numbers]
    else:
        names = [name]
    if not names:
        raise _no_header(path, "files of voxels")
    return [path.parent / one for one in names]


def _after_lines(file: Path, offset: int, count: int) -> int:
    """The byte of a file that is `count` lines behind another one."""
    with file.open("rb") as content:
        content.seek(offset)
        while count and content.readline(HEADER_BYTES):
            count -= 1
        return content.tell()


def _no_header(path: Path, fields: str) -> InputError:
    kind = path.suffix[1:].upper()
    return InputError(
        f"{path}: cannot be read as {kind} (found no header of a known kind with {fields}), so the file is "
        "broken, cut off or of another kind; export it again."
    )


def _whole(text: str) -> list[int]:
    """Whole numbers of a field; none where one of its words is no such number."""
    words = text.split()
    return [int(word) for word in words] if all(re.fullmatch(r"-?\d{1,18}", word) for word in words) else []


def _numbers(text: str) -> list[float]:
    """Numbers of a field, NaN where one of its words is none."""
    return [_number(word) for word in re.split(r"[\s,]+", text.strip()) if word]


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        return math.nan

"""Whether a file is whole: compressed streams are read to their end, where they have their checksum."""

import gzip
import logging
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from ..errors import InputError

BLOCK = 1 << 20
DEFLATE_RATIO = 1100  # no stream of deflate holds more than 1032 times its length
SPARE_BYTES = 64 << 20  # after the voxels of a compressed stream; a header with more is malicious
_ZLIB_OR_GZIP = 32 + zlib.MAX_WBITS
_PNG_START = b"\x89PNG\r\n\x1a\n"
_GZIP_START = b"\x1f\x8b"

_log = logging.getLogger(__name__)


def opened(path: Path) -> BinaryIO:
    """A file, or the content of a .gz, to read from."""
    opener: Any = gzip.open if path.name.lower().endswith(".gz") else open
    return cast(BinaryIO, opener(path, "rb"))


@contextmanager
def opened_whole(path: Path) -> Iterator[BinaryIO]:
    """Open a file, or the content of a .gz; what the block leaves of a compressed stream is read after it.

    A reader that takes the voxels and stops never comes to the checksum behind them.

    Raises:
        OSError, EOFError, zlib.error: the stream is broken, cut off, or its checksum is another one.
        InputError: far more stands behind what was read.
    """
    with opened(path) as stream:
        yield stream
        if not path.name.lower().endswith(".gz"):
            return
        rest = 0
        while block := stream.read(BLOCK):
            rest += len(block)
            _refuse_trap(path, rest)
    warn_of_rest(path, rest)


def inflated_bytes(path: Path, offset: int, announced: int) -> int:
    """Bytes in the zlib or gzip stream at `offset` of a file, read to its end so that its checksum counts.

    Args:
        announced: bytes that a header says are in it.

    Raises:
        InputError: the stream is broken, cut off, has another checksum, or holds far more than announced.
    """
    total = 0
    with path.open("rb") as file:
        file.seek(offset)
        try:
            for size in _inflated_sizes(file):
                total += size
                _refuse_trap(path, total - announced)
        except (zlib.error, EOFError) as error:
            raise InputError(
                f"{path}: its compressed voxels cannot be read to their end ({error}), so the file is broken "
                "or cut off; copy it again or export it again."
            ) from error
    return total


def check_bytes(path: Path, found: int, announced: int) -> None:
    """Refuse a file with fewer bytes of voxels than its header announces; warn of one with more.

    Raises:
        InputError: it has fewer.
    """
    if found < announced:
        raise wrong_length(path, found, announced)
    warn_of_rest(path, found - announced)


def wrong_length(path: Path, found: int, announced: int) -> InputError:
    """The refusal of a file with other bytes of voxels than its header announces."""
    return InputError(
        f"{path}: found {max(found, 0):,} bytes of voxels, expected the {announced:,} that its header "
        "announces, so the file is cut off or broken; copy it again or export it again."
    )


def check_png(path: Path) -> None:
    """Refuse a PNG with a chunk whose checksum is another one; decoders stop before the last ones.

    Raises:
        InputError: a chunk is broken or cut off.
    """
    with path.open("rb") as file:
        if file.read(len(_PNG_START)) != _PNG_START:
            return  # a JPEG, which has no checksums
        kind = b""
        while kind != b"IEND":
            head = file.read(8)
            size, kind = int.from_bytes(head[:4], "big"), head[4:]
            checksum = zlib.crc32(kind)
            while size and (block := file.read(min(size, BLOCK))):
                checksum, size = zlib.crc32(block, checksum), size - len(block)
            if size or file.read(4) != checksum.to_bytes(4, "big"):
                part = kind.decode("latin-1")
                raise InputError(
                    f"{path}: cannot be read as an image (the checksum of its part {part!r} is wrong or "
                    "missing), so the file is broken or cut off; save it again."
                )


def warn_of_rest(path: Path, rest: int) -> None:
    """Warn of bytes after the voxels: a header may announce fewer slices than there are."""
    if rest > 0:
        _log.warning(
            "%s: %s bytes follow the voxels that its header announces; they are not read.",
            path,
            f"{rest:,}",
        )


def _inflated_sizes(file: BinaryIO) -> Iterator[int]:
    """Sizes of the pieces that a zlib stream, or the members of a gzip stream, unpack to."""
    data = file.read(BLOCK)
    while True:
        stream = zlib.decompressobj(_ZLIB_OR_GZIP)
        while True:
            piece = stream.decompress(data, BLOCK)
            yield len(piece)
            if stream.eof:
                break
            data = stream.unconsumed_tail or file.read(BLOCK)
            if not data and not piece:
                raise EOFError("it ends too early")
        data = stream.unused_data
        if len(data) < len(_GZIP_START):
            data += file.read(BLOCK)
        if not data.startswith(_GZIP_START):  # what stands there is no further member
            return


def _refuse_trap(path: Path, rest: int) -> None:
    if rest > SPARE_BYTES:
        raise InputError(
            f"{path}: more than {SPARE_BYTES >> 20} MiB follow the voxels that its header announces, so the "
            "header is wrong or the file is malicious; export it again."
        )

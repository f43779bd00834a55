"""Zips that others made: what is refused before a byte of them is unpacked."""

import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PureWindowsPath

from .errors import InputError

LIMIT_BYTES = 8 << 30  # of what comes out of one; the largest frozen encoders are 2 to 3 GB
UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError)  # what zipfile raises


def unpack_zip(path: Path, folder: Path, *, again: str, room: str = "free space there") -> None:
    """Unpack a zip into `folder`, which is made where it is absent, in a folder that is there.

    Args:
        again: what a user does about a damaged zip, for the message.
        room: what a user does about a full disk.

    Raises:
        InputError: one of the `faults`, no zip, a damaged one, or more than the disk has room for. After a
            damaged one `folder` may hold a part.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            for fault in faults(archive):
                raise InputError(f"{path}: {fault}; do not use this file.")
            needed, free = _unpacked_bytes(archive), shutil.disk_usage(folder.parent).free
            if needed > free:
                raise InputError(
                    f"{path}: found {needed / 1e9:.1f} GB in it, expected at most the {free / 1e9:.1f} GB "
                    f"free in {folder.parent}; {room}."
                )
            folder.mkdir(exist_ok=True)
            archive.extractall(folder)
    except InputError:
        raise
    except (*UNREADABLE, OSError) as error:
        raise InputError(f"{path}: cannot be unpacked ({error}); {again}.") from error


def faults(archive: zipfile.ZipFile) -> Iterator[str]:
    """Yield what speaks against unpacking: zipfile would put escaping members elsewhere without a word."""
    for member in archive.infolist():
        name = member.orig_filename  # zipfile itself cuts a name at a NUL and turns a backslash on Windows
        path = PureWindowsPath(name)  # which knows both slashes, and drives
        if path.anchor or ".." in path.parts:
            yield f"its member {name!r:.80} leads out of the folder"
        if member.header_offset < 0:  # zipfile would seek there, and the system refuse it
            yield f"its member {name!r:.80} begins before the file does"
        kind = stat.S_IFMT(member.external_attr >> 16)
        if kind not in (0, stat.S_IFDIR if member.is_dir() else stat.S_IFREG):
            yield f"its member {name!r:.80} is a link or a special file, expected plain ones"
    if (size := _unpacked_bytes(archive)) > LIMIT_BYTES:  # a small one can hold any number of zeros
        yield f"its content is {size / 1e9:.1f} GB, expected at most {LIMIT_BYTES / 1e9:.1f} GB"


def _unpacked_bytes(archive: zipfile.ZipFile) -> int:
    return sum(member.file_size for member in archive.infolist())

"""Files: written so that no half of one is ever seen, under names that fit, and known by how they begin."""

import hashlib
import io
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import InputError

NOT_UTF8 = "backslashreplace"  # how bytes of paths are written that are no UTF-8; JSON reads them back
STEM_BYTES = 190  # of an output's name: with the longest ending it fits the 255 bytes of file systems
START_BYTES = 1024  # that tell a web page
_HTML = (b"<!doctype html", b"<html", b"<head", b"<body")


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`, which becomes `path` when the block ends without an error.

    The temporary name ends like the final one (writers choose a format by the ending, `.nii.gz` too).
    On an error the temporary file is removed and an older `path` stays as it was.

    Raises:
        InputError: the folder cannot be made or written to.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = tempfile.mkdtemp(prefix=".partial-", dir=path.parent)
    except OSError as error:
        raise InputError(
            f"{path.parent}: cannot write there ({error.strerror}); choose another folder."
        ) from error
    temporary = Path(folder) / path.name
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
        os.rmdir(folder)


def write_synced(path: str | os.PathLike[str], content: bytes) -> None:
    """Write `content` to `path` so that a power cut, a killed process or a full disk leaves an older file
    whole.

    Raises:
        InputError: the disk is full or broken, or the folder cannot be written to.
    """
    path = Path(path)
    with atomic_path(path) as temporary:
        try:
            with open(temporary, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise InputError(
                f"{path}: cannot be written ({error.strerror}, {len(content) / 2**20:.1f} MiB); make room "
                f"on the disk, then start the same command again."
            ) from error
    if os.name == "posix":  # the renaming is on the disk only when the folder is
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def cut_to_bytes(name: str, limit: int) -> str:
    """The longest beginning of a name that takes at most `limit` bytes in a file system."""
    while len(name.encode("utf-8", "surrogateescape")) > limit:
        name = name[:-1]
    return name


def short_name(name: str, limit: int) -> str:
    """A name of at most `limit` bytes: as it is, or its beginning and a hash of all of it."""
    raw = name.encode("utf-8", "surrogateescape")  # bytes that are no UTF-8 come from paths
    if len(raw) <= limit:
        return name
    mark = f"~{hashlib.sha256(raw).hexdigest()[:8]}"
    return cut_to_bytes(name, limit - len(mark)) + mark


@contextmanager
def utf8_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a path to the same file for libraries that know UTF-8 alone: by way of links, where it has other
    bytes.
    """
    path = Path(path)
    if _is_utf8(str(path)):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="path-") as room:
        folder = Path(room) / "folder"
        folder.symlink_to(path.parent.absolute())
        plain = folder / path.name
        if not _is_utf8(path.name):
            plain = Path(room) / f"file{''.join(path.suffixes[-1:])}"
            plain.symlink_to(path.absolute())
        yield plain


def show_any_path() -> None:
    """Let stdout show paths with bytes that are no UTF-8, as stderr does."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors=NOT_UTF8)


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def remove_partial_files(folder: str | os.PathLike[str]) -> None:
    """Remove files that killed processes left in `folder`; no other process may be writing there."""
    for left in Path(folder).glob(".partial-*"):
        shutil.rmtree(left, ignore_errors=True)


def is_html(start: bytes) -> bool:
    """Whether a file that begins with these bytes is a web page: of a login, an error, or a network's portal.

    Checkpoints, zips and JSON never look so.
    """
    text = start[:START_BYTES].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    return text.startswith(b"<") and any(mark in text for mark in _HTML)

"""Writing files so that no half-written one is ever seen."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import InputError


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


def remove_partial_files(folder: str | os.PathLike[str]) -> None:
    """Remove what killed processes left half-written in `folder`; nobody else may be writing there."""
    for left in Path(folder).glob(".partial-*"):
        shutil.rmtree(left, ignore_errors=True)

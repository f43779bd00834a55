"""All outputs of a case or none: they are made in a hidden folder and moved when all are there."""

import errno
import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType

import numpy as np

from ..errors import InputError
from ..inference.cases import InputCase

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:
    fcntl = None

CHUNK = 2**24  # bytes


def check_writable(folder: Path) -> None:
    """Refuse an output folder that cannot be made or written to, before hours of work.

    Raises:
        InputError: names the folder, or the nearest one above it that exists.
    """
    nearest = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not nearest.is_dir():
        raise _cannot_write(nearest, "not a folder")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise _cannot_write(nearest, os.strerror(errno.EACCES))


def _cannot_write(folder: Path, reason: str) -> InputError:
    return InputError(
        f"{folder}: cannot write there ({reason}), expected a folder with space and write permission; "
        "choose another output folder or free space."
    )


@contextmanager
def staged(case: InputCase) -> Iterator[Path]:
    """Yield a hidden folder beside the case's outputs, which is removed at the end.

    Raises:
        InputError: the output folder cannot be written to.
    """
    with writing_to(case.stem.parent):
        case.stem.parent.mkdir(parents=True, exist_ok=True)
        clear(case)
        hidden = tempfile.TemporaryDirectory(prefix=_prefix(case), dir=case.stem.parent)
    with hidden as name, _locked(Path(name)):
        yield Path(name)


@contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Say of an OSError that `folder` cannot be written to; only for work that writes there.

    Raises:
        InputError: no permission, or the disk is full.
    """
    try:
        yield
    except OSError as error:
        raise _cannot_write(folder, error.strerror or str(error)) from error


def clear(case: InputCase) -> None:
    """Remove what runs left behind that were killed at this case.

    A folder in use is locked, so that runs side by side do not disturb each other.
    """
    for folder in case.stem.parent.glob(f"{glob.escape(_prefix(case))}*"):
        # Another run may remove it first, or it is another user's.
        with suppress(FileNotFoundError, PermissionError), _locked(folder) as free:
            if free:
                shutil.rmtree(folder, ignore_errors=True)


def _prefix(case: InputCase) -> str:
    return f".partial-{case.stem.name}-"


@contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Hold the folder's lock, which ends with the process; False when another process has it."""
    if fcntl is None:  # Windows: nobody can tell, so nothing is taken for left behind
        yield False
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True
    finally:
        os.close(handle)


def scratch_array(folder: Path, shape: tuple[int, ...]) -> np.ndarray:
    """A uint8 array in a file of `folder`: memory does not grow with it.

    Raises:
        OSError: no space. It is asked for at once, since a write to a mapped file cannot fail with grace.
    """
    path, size = folder / "scratch.bin", int(np.prod(shape))
    with path.open("wb") as file:
        if hasattr(os, "posix_fallocate"):  # at once, where the system can
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            for start in range(0, size, CHUNK):
                file.write(bytes(min(CHUNK, size - start)))
    return np.memmap(path, dtype=np.uint8, mode="r+", shape=shape)

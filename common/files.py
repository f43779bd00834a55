"""Writing files so that no half-written one is ever seen."""

import os
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

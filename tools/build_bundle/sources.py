"""What git knows of the files that a bundle is built from."""

import subprocess
from pathlib import Path

from common.errors import InputError

from .documents import SHARED

# What is packed of a bundle's folder: results (eval/), inputs and caches that runs leave there never are.
PARTS = ("LICENSE", "configs", "docs", "models", "scripts")


def commit(repository: Path) -> str:
    """Return the hash of the commit that is checked out."""
    return _git(repository, "rev-parse", "HEAD").strip()


def changed_paths(repository: Path, name: str, *, apart_from: set[str]) -> list[str]:
    """Return the paths that matter for a bundle and are not as committed, new ones included.

    Args:
        repository: root of the checkout.
        name: of the bundle.
        apart_from: paths whose bytes something else vouches for (large files with a hash).
    """
    # The builder counts as well: other code packs other bytes.
    parts = [f"bundles/{name}/{part}" for part in PARTS] + [f"bundles/{page}" for page in SHARED]
    status = _git(
        repository,
        *("status", "--porcelain", "-z", "--no-renames", "--untracked-files=all", "--"),
        *(*parts, "common", "tools/build_bundle"),
    )
    return sorted({line[3:] for line in status.split("\0") if line} - apart_from)


def read_files(repository: Path, folder: str, *parts: str) -> dict[str, bytes]:
    """Return {path below `folder`: content} of the files that git does not ignore.

    Args:
        repository: root of the checkout.
        folder: relative to it, e.g. "common".
        parts: what to read below `folder`; all of it where none is given.

    Raises:
        InputError: a symbolic link is among them.
    """
    wanted = [f"{folder}/{part}" for part in parts] or [folder]
    listed = _git(repository, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *wanted)
    paths = [repository / name for name in sorted(set(listed.split("\0"))) if name]
    for path in paths:
        if path.is_symlink():
            raise InputError(f"{path}: found a symbolic link, expected a file; put the file itself there.")
    return {
        path.relative_to(repository / folder).as_posix(): path.read_bytes()
        for path in paths
        if path.is_file()
    }


def _git(repository: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(repository), *arguments], check=True, capture_output=True, text=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", None) or str(error)
        raise InputError(
            f"{repository}: git cannot tell what is committed there ({' '.join(said.split())}); build from a "
            "clone of the repository."
        ) from error
    return done.stdout

"""The zip of a bundle: looked through before a byte of it is written, then unpacked, every hash checked."""

import hashlib
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from common.errors import InputError
from common.zips import UNREADABLE, faults

from .manifest import Manifest, Record, refuse_twins, safe_path

BLOCK = 1 << 20
MANIFEST = "manifest.json"  # the copy in an installed bundle
PLAIN = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
CACHES = ("__pycache__",)  # what running a bundle leaves among its code


def unpack(archive: Path, manifest: Manifest, folder: Path) -> None:
    """Write the bundle in `archive` to `folder`, which is not there before and is complete or absent after.

    Raises:
        InputError: the zip is not the manifest's, is damaged, or holds anything but the files listed there.
    """
    _check_whole(archive, manifest.zip)
    with _opened(archive) as file:
        entries = _entries(file, manifest, archive)
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder.parent))
        try:
            for path, entry in entries.items():
                target = temporary / "bundle" / path
                target.parent.mkdir(parents=True, exist_ok=True)
                with file.open(entry) as source, open(target, "xb") as copy:
                    _copy(source, copy, manifest.files[path], f"{archive}: {path}")
            (temporary / "bundle" / MANIFEST).write_bytes(manifest.text)
            (temporary / "bundle").rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def differences(folder: Path, manifest: Manifest) -> list[str]:
    """Return what in an installed bundle is not as in its manifest, one line each; nothing is run.

    Files that a run adds (results, caches) are listed only where code or settings could hide: in configs,
    models and scripts.
    """
    found = []
    for path, record in manifest.files.items():
        file = folder / path
        if file.is_symlink() or not file.is_file():
            found.append(f"{path}: missing")
        elif file.stat().st_size != record.bytes or _sha256(file) != record.sha256:
            found.append(f"{path}: changed")
    for top in ("configs", "models", "scripts"):
        for file in sorted((folder / top).rglob("*")):
            path = file.relative_to(folder).as_posix()
            if not file.is_dir() and path not in manifest.files and not set(CACHES) & set(file.parts):
                found.append(f"{path}: not in the manifest")
    return found


def _check_whole(archive: Path, expected: Record) -> None:
    size = archive.stat().st_size
    if size != expected.bytes:
        raise InputError(
            f"{archive}: has {size:,} bytes, expected {expected.bytes:,} of its manifest; it was cut short "
            "or changed, so fetch it again."
        )
    if (found := _sha256(archive)) != expected.sha256:
        raise InputError(
            f"{archive}: has sha256 {found[:12]}..., expected {expected.sha256[:12]}... of its manifest; it "
            "was changed or damaged, so fetch it again from its authors."
        )


@contextmanager
def _opened(archive: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(archive) as file:
            yield file
    except InputError:
        raise
    except UNREADABLE as error:
        raise InputError(
            f"{archive}: cannot be read as a zip ({type(error).__name__}: {error}); fetch it again."
        ) from error


def _entries(file: zipfile.ZipFile, manifest: Manifest, archive: Path) -> dict[str, zipfile.ZipInfo]:
    """Return {path below the bundle: entry} once all of them are plain and exactly those of the manifest."""
    entries: dict[str, zipfile.ZipInfo] = {}
    for entry in file.infolist():
        path = _inner_path(entry, manifest.name, archive)
        if path in entries:
            raise InputError(f"{archive}: holds {path} twice, expected once; do not use it.")
        if path not in manifest.files:
            raise InputError(f"{archive}: holds {path}, which its manifest does not list; do not use it.")
        if entry.file_size != manifest.files[path].bytes:
            raise InputError(
                f"{archive}: {path} unpacks to {entry.file_size:,} bytes, expected "
                f"{manifest.files[path].bytes:,} of its manifest; do not use it."
            )
        entries[path] = entry
    for fault in faults(file):
        raise InputError(f"{archive}: {fault}; do not use it.")
    refuse_twins(entries, str(archive))
    if missing := sorted(manifest.files.keys() - entries.keys()):
        raise InputError(f"{archive}: lacks {missing[0]}, which its manifest lists; fetch it again.")
    return entries


def _inner_path(entry: zipfile.ZipInfo, name: str, archive: Path) -> str:
    found = entry.orig_filename  # zipfile itself cuts a name at a NUL and turns a backslash on Windows
    if entry.flag_bits & 1 or entry.compress_type not in PLAIN:
        raise InputError(f"{archive}: {found!r:.80} is encrypted or packed in an unusual way; do not use it.")
    try:
        top, _, path = safe_path(found).partition("/")
        if top != name or not path:
            raise ValueError(f"{found!r:.80} lies outside the folder {name}")
    except ValueError as error:
        raise InputError(f"{archive}: {error}; an archive may write only there, so do not use it.") from error
    return path


def _copy(source: IO[bytes], copy: IO[bytes], expected: Record, where: str) -> None:
    """Copy at most the expected bytes, and check them."""
    digest, left = hashlib.sha256(), expected.bytes
    while block := source.read(min(BLOCK, left + 1)):
        left -= len(block)
        if left < 0:
            break
        digest.update(block)
        copy.write(block)
    if left or digest.hexdigest() != expected.sha256:
        raise InputError(f"{where} does not have the bytes that its manifest lists; fetch it again.")


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

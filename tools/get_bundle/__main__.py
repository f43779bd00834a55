"""Command line: `python -m tools.get_bundle medvlm_organ --index ADDRESS`."""

import os
import shutil
import sys
import tempfile
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common.errors import InputError
from tools.command_line import Parser, says_input_errors

from .archive import MANIFEST, differences, unpack
from .sources import Release, find

EPILOG = """Nothing of the bundle is run. Give the same command again to continue a download that was cut off.
exit codes: 0 the bundle is there and as published; 2 it is not, for the reason printed."""


@says_input_errors(exit_code=2)
def main(arguments: list[str] | None = None) -> int:
    """Fetch, check and install one bundle; returns the exit code."""
    parser = Parser(
        prog="python -m tools.get_bundle",
        description="Fetch a bundle, check every byte against its manifest, put it in a folder of its name.",
        epilog=EPILOG,
    )
    add = parser.add_argument
    add("source", help="name of a bundle such as medvlm_organ, or path or URL of its NAME_v<version>.zip")
    add("--version", help="of a named bundle (default: the newest)")
    add("--index", help="address or folder with model_info.json, zips and manifests: a release or a mirror")
    add("--sha256", help="of the zip, as its authors publish it; refuse anything else")
    add("--out", type=Path, default=Path(), help="where the bundle's folder is made (default: here)")
    add("--force", action="store_true", help="replace another version or a changed copy")
    options = parser.parse_args(arguments)
    try:
        release = find(options.source, version=options.version, index=options.index, sha256=options.sha256)
        folder = install(release, options.out, force=options.force)
    except KeyboardInterrupt:
        print("\nstopped; give the same command again to continue.", file=sys.stderr)
        return 130
    print(
        f"{folder}: version {release.manifest.version}, all {len(release.manifest.files)} files as published."
    )
    print("Running a bundle runs the code in it; SECURITY.md says what to look at first.")
    return 0


def install(release: Release, out: Path, *, force: bool = False) -> Path:
    """Fetch a release's zip and unpack it to `out/<name>`; returns that folder.

    Raises:
        InputError: the zip cannot be fetched or is not the manifest's, or something else is in that place.
    """
    manifest, folder = release.manifest, out / release.manifest.name
    if os.path.lexists(folder):
        if _is_it(folder, release):
            return folder
        if not force:
            raise InputError(
                f"{folder}: something else is there already; choose another --out, or give --force to put "
                f"version {manifest.version} in its place."
            )
    if release.vouched is None and urllib.parse.urlsplit(release.zip).scheme == "http":
        print(
            f"warning: {release.zip} comes over an unprotected connection and nothing else confirms its "
            "content; give --sha256 with the hash that its authors publish.",
            file=sys.stderr,
        )
    try:
        with _local(release, out) as archive:
            _put(archive, release, folder)
    except OSError as error:
        raise InputError(
            f"{error.filename or out}: cannot write there ({error.strerror}); choose another --out."
        ) from error
    return folder


@contextmanager
def _local(release: Release, out: Path) -> Iterator[Path]:
    """Yield the zip as a local file; one that was fetched is gone afterwards."""
    if release.zip.startswith("file:"):
        yield Path(urllib.request.url2pathname(urllib.parse.urlsplit(release.zip).path))
        return
    from tools.download import bar, download

    name, expected = release.manifest.zip_file, release.manifest.zip
    path = out / f".{name}"  # not a user's own zip
    download(release.zip, path, size=expected.bytes, sha256=expected.sha256, progress=bar(name))
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _put(archive: Path, release: Release, folder: Path) -> None:
    """Unpack beside the place, and change places only with something complete."""
    if not archive.is_file():
        raise InputError(f"{archive}: there is no such file; give the zip and its manifest.")
    if not os.path.lexists(folder):
        unpack(archive, release.manifest, folder)
        return
    aside = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder.parent))
    try:
        unpack(archive, release.manifest, aside / "new")
        folder.rename(aside / "old")
        try:
            (aside / "new").rename(folder)
        except OSError:
            (aside / "old").rename(folder)
            raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _is_it(folder: Path, release: Release) -> bool:
    """Whether exactly this release is there, unchanged."""
    copy = folder / MANIFEST
    same = copy.is_file() and copy.read_bytes() == release.manifest.text
    return same and not differences(folder, release.manifest)


if __name__ == "__main__":
    sys.exit(main())

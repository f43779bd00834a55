"""Download one file from http(s) or file://: resume it, and check it before it gets its name."""

import hashlib
import http.client
import shutil
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from common.errors import InputError
from common.files import is_html

BLOCK = 1 << 20
TIMEOUT_S = 30.0  # without a byte
RANGE_UNKNOWN = 416  # HTTP: there is no such range in the file
ATTEMPTS = 3  # in a row without one new byte; any new byte resets the count
SCHEMES = ("http", "https", "file")

Progress = Callable[[int, int | None], None]  # bytes so far, bytes in all where known


def address_of(place: str) -> str:
    """Return a URL as it is and a path as a file:// URL.

    Raises:
        InputError: another scheme than http, https and file.
    """
    scheme = urllib.parse.urlsplit(place).scheme
    if len(scheme) < 2:  # none, or the letter of a Windows drive
        return Path(place).expanduser().absolute().as_uri()
    if scheme not in SCHEMES:
        raise InputError(f"{place}: found a {scheme} address, expected {', '.join(SCHEMES)}; use one.")
    return place


def beside(address: str, name: str) -> str:
    """Return the URL of the file `name` in the folder of the file at `address`, or in a folder's own."""
    parts = urllib.parse.urlsplit(address)
    folder = parts.path[: parts.path.rfind("/") + 1]
    return urllib.parse.urlunsplit(parts._replace(path=folder + urllib.parse.quote(name), fragment=""))


def read_small(address: str, limit: int) -> bytes:
    """Return the content of a small file.

    Raises:
        InputError: not there, or more than `limit` bytes.
    """
    try:
        with _open(address) as answer:
            content: bytes = answer.read(limit + 1)
    except (OSError, http.client.HTTPException) as error:
        raise InputError(f"{address}: cannot be read ({_reason(error)}); check the address.") from error
    _refuse_html(address, content)
    if len(content) > limit:
        raise InputError(
            f"{address}: found more than {limit:,} bytes, expected a smaller file; check the address."
        )
    return content


def download(
    address: str,
    path: Path,
    *,
    size: int | None = None,
    sha256: str | None = None,
    progress: Progress | None = None,
) -> None:
    """Download `address` to `path`, and continue what an earlier try left beside it.

    The bytes arrive in `.<name>.<sha256>.part`, which stays when a download is cut off and goes when it is
    found to be wrong.

    Args:
        address: http, https or file URL.
        path: replaced once all bytes are there and right.
        size: of the file in bytes; never more are written. None if unknown.
        sha256: of the file, or its first digits as some publishers give them in the name.
        progress: told after every block.

    Raises:
        InputError: it cannot be fetched, is cut off, or other bytes than expected.
    """
    if path.is_file() and sha256 and _sha256(path).startswith(sha256):
        return
    part = path.with_name(f".{path.name}.{(sha256 or 'unknown')[:12]}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    if not sha256:
        part.unlink(missing_ok=True)  # nothing would tell a piece of another file
    _fill(address, part, size, progress)
    found = part.stat().st_size
    if size is not None and found < size:
        raise InputError(f"{address}: ended after {found:,} of {size:,} bytes; run this again to continue.")
    if sha256 and not (real := _sha256(part)).startswith(sha256):
        part.unlink()
        raise InputError(
            f"{address}: has sha256 {real[:12]}..., expected {sha256[:12]}...; the file was changed or "
            "damaged in transit, so nothing of it was kept; get it from its authors again."
        )
    part.replace(path)


def _fill(address: str, part: Path, size: int | None, progress: Progress | None) -> None:
    """Append to the part file until all is there or nothing more comes."""
    tries = 0
    while True:
        before = part.stat().st_size if part.is_file() else 0
        if size is not None and before >= size:
            return
        try:
            _append(address, part, before, size, progress)
            return
        except (OSError, http.client.HTTPException) as error:
            code = getattr(error, "code", 0)
            if code == RANGE_UNKNOWN and before:
                part.unlink()  # longer than the file now is
            elif 400 <= code < 500:
                raise InputError(f"{address}: cannot be fetched ({_reason(error)}); check it.") from error
            now = part.stat().st_size if part.is_file() else 0
            tries = 1 if now > before else tries + 1
            if tries >= ATTEMPTS:
                kept = f"; {now:,} bytes are kept, run this again to continue." if now else "; try again."
                raise InputError(f"{address}: cannot be fetched ({_reason(error)}){kept}") from error
            time.sleep(0.2 * tries)


def _append(address: str, part: Path, start: int, size: int | None, progress: Progress | None) -> None:
    """Ask for what is missing; a server that sends the whole file is taken from the beginning."""
    with _open(address, start) as answer:
        block, continues = answer.read(BLOCK), _continues(answer, start)
        if not continues:
            _refuse_html(address, block)  # before a good part makes way for it
        if start and address.startswith("file:"):
            answer.seek(start)
            block, continues = answer.read(BLOCK), True
        start = start if continues else 0
        stated = answer.headers.get("Content-Length")
        total = size if size is not None else (start + int(stated) if stated else None)
        with open(part, "ab" if start else "wb") as file:
            while block:
                start += len(block)
                if size is not None and start > size:
                    file.close()
                    part.unlink()
                    raise InputError(
                        f"{address}: longer than the {size:,} bytes announced; nothing was kept."
                    )
                file.write(block)
                if progress is not None:
                    progress(start, total)
                block = answer.read(BLOCK)
        if total is not None and start < total:
            raise http.client.IncompleteRead(b"", total - start)


def _continues(answer: Any, start: int) -> bool:
    """Whether a server's answer continues at byte `start`."""
    return start > 0 and (answer.headers.get("Content-Range") or "").startswith(f"bytes {start}-")


def _refuse_html(address: str, content: bytes) -> None:
    """Refuse a web page: networks with a sign-in page send one with status 200 for any address.

    Raises:
        InputError: it is one.
    """
    if is_html(content):
        raise InputError(
            f"{address}: answered with a web page (HTML), expected the file itself; sign in to the network "
            "or check the address, then run this again. What had arrived before is kept."
        )


def _open(address: str, start: int = 0) -> Any:
    """Open a URL of one of SCHEMES, from byte `start` on where the server can do that."""
    headers = {"Range": f"bytes={start}-"} if start else {}
    request = urllib.request.Request(address_of(address), headers={"Accept-Encoding": "identity", **headers})
    return urllib.request.urlopen(request, timeout=TIMEOUT_S)


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _reason(error: BaseException) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"the server says {error.code} {error.reason}"
    if isinstance(error, http.client.IncompleteRead):
        return "the connection was cut off"
    return str(getattr(error, "reason", None) or error) or type(error).__name__


def bar(name: str) -> Progress:
    """Return a progress that writes one line of megabytes, where a person looks on."""

    def show(done: int, total: int | None) -> None:
        of = f" of {total / 1e6:.1f}" if total else ""
        width = shutil.get_terminal_size().columns
        sys.stderr.write(f"\r{name}: {done / 1e6:.1f}{of} MB"[: width - 1])
        if done == total:
            sys.stderr.write("\n")
        with suppress(OSError):
            sys.stderr.flush()

    def silent(_done: int, _total: int | None) -> None:
        pass

    return show if sys.stderr.isatty() else silent

"""The manifest of a packed bundle, read as something that a stranger may have written."""

import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PureWindowsPath
from typing import Any

from common import zips
from common.errors import InputError

LIMIT_BYTES = 4 << 20  # of a manifest; 10,000 files need about 1.5 MB
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,99}")
VERSION = re.compile(r"[0-9]\.[0-9]\.[0-9]")  # as tools.build_bundle writes them; sorts as text as by number
SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Record:
    """Size and hash of a file."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What `tools.build_bundle` writes beside a zip.

    Attributes:
        name: of the bundle, and of the only folder in the zip.
        version: three digits.
        zip_file: name of the zip.
        zip: its record.
        files: {path below the bundle's folder: record} of every file in it.
        text: the manifest itself, as it was read.
    """

    name: str
    version: str
    zip_file: str
    zip: Record
    files: Mapping[str, Record]
    text: bytes

    @classmethod
    def read(cls, content: bytes, where: str) -> "Manifest":
        """Parse and check.

        Args:
            content: of the manifest file.
            where: it came from, for messages.

        Raises:
            InputError: not a manifest, a name or path that could lead out of the target folder, or sizes
                beyond the limit of zips.
        """
        try:
            raw = json.loads(content)
            name, version = _matching(NAME, raw["name"]), _matching(VERSION, raw["version"])
            files = {safe_path(path): _record(entry) for path, entry in raw["files"].items()}
            zip_file, whole = raw["zip"]["file"], _record(raw["zip"])
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise InputError(
                f"{where}: cannot be read as a bundle's manifest ({_short(error)}); give the .manifest.json "
                "that tools.build_bundle wrote beside the zip."
            ) from error
        if zip_file != f"{name}_v{version}.zip":
            raise InputError(
                f"{where}: names {zip_file!r:.80}, expected {name}_v{version}.zip; do not use it."
            )
        total = sum(record.bytes for record in files.values())
        if max(total, whole.bytes) > zips.LIMIT_BYTES:
            raise InputError(
                f"{where}: announces {max(total, whole.bytes) / 1e9:.1f} GB, expected at most "
                f"{zips.LIMIT_BYTES / 1e9:.1f}; do not use it."
            )
        refuse_twins(files, where)
        return cls(name, version, zip_file, whole, files, content)


def safe_path(path: Any) -> str:
    """Return a path if it names a file below a folder on every system, and nothing else.

    Raises:
        ValueError: absolute, with `..`, a drive, a backslash, a control character, a device's name, or an
            ending that Windows drops.
    """
    if not isinstance(path, str) or not 0 < len(path) <= 400:
        raise ValueError(f"{path!r:.80} is not a path")
    parts = path.split("/")
    odd = any(character in '\\:*?"<>|' or unicodedata.category(character)[0] == "C" for character in path)
    bad = any(part in ("", ".", "..") or part[-1] in ". " or part[0] == " " for part in parts)
    if odd or bad or any(_is_device(part) for part in parts):
        raise ValueError(f"{path!r:.80} is not a plain path below the bundle")
    return path


def _is_device(part: str) -> bool:
    """Whether Windows takes a name for a device: CON, NUL.txt."""
    stem = PureWindowsPath(part).name.split(".")[0].upper().strip()
    return re.fullmatch(r"CON|PRN|AUX|NUL|(COM|LPT)[0-9]", stem) is not None


def refuse_twins(paths: Mapping[str, Any], where: str) -> None:
    """Refuse two paths that are one on a system that ignores letter case, or a file that is also a folder."""
    seen: dict[str, str] = {}
    for path in paths:
        key = unicodedata.normalize("NFC", path).casefold()
        if key in seen:
            raise InputError(f"{where}: {seen[key]} and {path} are one file on some systems; do not use it.")
        seen[key] = path
    for key, path in seen.items():
        ends = [index for index, character in enumerate(key) if character == "/"]
        if any(key[:end] in seen for end in ends):
            raise InputError(f"{where}: {path} lies in a folder that is also a file; do not use it.")


def _record(entry: Any) -> Record:
    size = entry["bytes"]
    if type(size) is not int or size < 0:
        raise ValueError(f"{size!r:.40} is not a number of bytes")
    return Record(size, _matching(SHA256, entry["sha256"]))


def _matching(pattern: re.Pattern[str], value: Any) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise ValueError(f"{value!r:.80} is not a valid value of a manifest")
    return value


def _short(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:160]}"

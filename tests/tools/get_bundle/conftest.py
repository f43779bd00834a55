"""Releases in a folder, right and wrong ones, written by zipfile alone."""

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import pytest

# More than a block, so that a download comes in pieces.
FILES = {
    "LICENSE": b"Apache-2.0",
    "configs/metadata.json": b"{}",
    "configs/inference.json": b'{"a": "$1+1"}',
    "models/model.pt": bytes(range(256)) * 10_000,
    "scripts/__init__.py": b"",
}
Entry = tuple[str | zipfile.ZipInfo, bytes]


class Release(NamedTuple):
    zip: Path
    manifest: dict[str, Any]

    def write_manifest(self, **changes: Any) -> None:
        path = self.zip.with_suffix(".manifest.json")
        path.write_text(json.dumps(self.manifest | changes))


def record(content: bytes) -> dict[str, Any]:
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def write_release(
    folder: Path,
    *,
    name: str = "mini",
    version: str = "0.1.0",
    files: dict[str, bytes] | None = None,
    entries: list[Entry] | None = None,
    compress: int = zipfile.ZIP_STORED,
) -> Release:
    """Write zip, manifest and model_info.json; `entries` replaces what the zip really holds."""
    files = dict(FILES if files is None else files)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}_v{version}.zip"
    with zipfile.ZipFile(path, "w", compress) as archive:
        for entry, content in entries or [(f"{name}/{inner}", content) for inner, content in files.items()]:
            archive.writestr(entry, content)
    whole = path.read_bytes()
    manifest = {
        "name": name,
        "version": version,
        "zip": {"file": path.name, **record(whole)},
        "files": {inner: record(content) for inner, content in files.items()},
    }
    index = folder / "model_info.json"
    listed = json.loads(index.read_text()) if index.is_file() else {}
    listed[path.stem] = {"source": path.name, "sha256": manifest["zip"]["sha256"], "checksum": "0"}
    index.write_text(json.dumps(listed))
    release = Release(path, manifest)
    release.write_manifest()
    return release


@pytest.fixture
def write():
    return write_release


@pytest.fixture
def files():
    return dict(FILES)

"""Find a bundle's zip and manifest, and the hash that a trusted source gives for them."""

import json
import re
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import InputError
from tools.download import address_of, beside, read_small

from .manifest import LIMIT_BYTES, NAME, SHA256, VERSION, Manifest

INDEX = "model_info.json"  # in the layout of MONAI's model zoo, with a sha256 besides
PUBLISHED = Path(__file__).parents[2] / "bundles" / INDEX
RELEASE = re.compile(rf"({NAME.pattern})_v({VERSION.pattern})")


@dataclass(frozen=True)
class Release:
    """One version of a bundle.

    Attributes:
        zip: its URL.
        manifest: the checked manifest beside it.
        vouched: the source that confirms the zip's hash, other than its own place; None without one.
    """

    zip: str
    manifest: Manifest
    vouched: str | None


def find(
    source: str,
    *,
    version: str | None = None,
    index: str | None = None,
    sha256: str | None = None,
    published: Path = PUBLISHED,
) -> Release:
    """Return the release that is meant, its manifest read and held against every hash that is known.

    Args:
        source: name of a bundle, or path or URL of a `NAME_v<version>.zip`.
        version: of a named bundle; None takes the newest.
        index: folder or URL with model_info.json, zips and manifests (a release, a mirror, a USB stick).
        sha256: of the zip, from a place that is trusted more than the index.
        published: model_info.json of this clone; its hashes count, whatever a mirror says.

    Raises:
        InputError: not found, no manifest beside it, or other bytes than were published.
    """
    records = read_index(published.read_bytes(), str(published)) if published.is_file() else {}
    if source.endswith(".zip"):
        address = address_of(source)
    else:
        name, listed = _named(source), records
        if index is not None:
            address = _index_address(index)
            listed = read_index(read_small(address, LIMIT_BYTES), address)
        elif not any(key.startswith(f"{name}_v") for key in records):
            raise InputError(
                f"{name}: {published} lists no release of it; give --index with the address of a release "
                "or a mirror, or a path or URL of its zip."
            )
        chosen = _chosen(name, version, listed, index or str(published))
        address = beside(address, f"{chosen}.zip") if index is not None else listed[chosen]["source"]
    manifest = _manifest_of(address)
    asked = Path(urllib.parse.unquote(urllib.parse.urlsplit(address).path)).name
    if manifest.zip_file != asked:
        raise InputError(
            f"{address}: its manifest is of {manifest.zip_file}; give both files of one version."
        )
    known = records.get(asked.removesuffix(".zip"), {}).get("sha256")
    for who, expected in (("--sha256", sha256 and sha256.lower()), ("this repository", known)):
        if expected and expected != manifest.zip.sha256:
            raise InputError(
                f"{address}: its manifest says sha256 {manifest.zip.sha256[:12]}..., but {who} says "
                f"{expected[:12]}...; this is not what was published, do not use it."
            )
    return Release(address, manifest, "--sha256" if sha256 else "this repository" if known else None)


def read_index(content: bytes, where: str) -> Mapping[str, Mapping[str, Any]]:
    """Return the releases in a model_info.json, {NAME_v<version>: {"source": URL, "sha256": ...}}.

    Raises:
        InputError: something else.
    """
    try:
        entries = json.loads(content)
        for key, entry in entries.items():
            if not RELEASE.fullmatch(key) or not isinstance(entry["source"], str):
                raise ValueError(f"{key!r:.80} is not a release")
            if not SHA256.fullmatch(entry["sha256"]):
                raise ValueError(f"{key}: {entry['sha256']!r:.80} is not a sha256")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{where}: cannot be read as a list of releases ({error!r:.160}); give the folder or address "
            f"with the {INDEX} that tools.build_bundle wrote."
        ) from error
    return dict(entries)


def _named(name: str) -> str:
    if not NAME.fullmatch(name):
        raise InputError(f"{name}: neither a bundle's name nor a .zip; give a name, a path or a URL.")
    return name


def _index_address(index: str) -> str:
    """The URL of model_info.json, of a folder or of the file itself."""
    address = address_of(index)
    return address if address.endswith(".json") else beside(f"{address.rstrip('/')}/", INDEX)


def _chosen(name: str, version: str | None, listed: Mapping[str, Any], where: str) -> str:
    """The key of the wanted version, or of the newest."""
    keys = sorted(key for key in listed if RELEASE.fullmatch(key)[1] == name)  # type: ignore[index]
    if version is not None:
        keys = [key for key in keys if key == f"{name}_v{version}"]
    if not keys:
        wanted = name if version is None else f"{name} {version}"
        raise InputError(
            f"{where}: lists no {wanted}, but {', '.join(sorted(listed)) or 'nothing'}; choose one."
        )
    return keys[-1]


def _manifest_of(address: str) -> Manifest:
    where = beside(address, Path(urllib.parse.urlsplit(address).path).stem + ".manifest.json")
    try:
        content = read_small(where, LIMIT_BYTES)
    except InputError as error:
        raise InputError(
            f"{error} A zip is never unpacked without the .manifest.json that belongs beside it."
        ) from error
    return Manifest.read(content, where)

"""What has to be right before a bundle is packed: version, weights, large files."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import yaml

from common.errors import InputError
from common.weights.checkpoints import read_model_json, read_tensors
from common.weights.pretrained import FrozenBase, first_few
from tools.engine import prompt_kinds

LARGE_FILES = "large_files.yml"


def read_metadata(bundle: Path) -> dict[str, Any]:
    """Return configs/metadata.json, the one place of version and changelog, once these are in order.

    Raises:
        InputError: not readable, a version with a part above 9 (MONAI sorts versions as text, where 0.10.0
            comes before 0.9.0), a changelog whose newest entry is not this version, or see `prompt_kinds`.
    """
    path = bundle / "configs" / "metadata.json"
    try:
        metadata = json.loads(path.read_text(encoding="utf-8"))
        version, changelog = metadata["version"], metadata["changelog"]
        known = [version, *changelog]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: cannot be read as a bundle's metadata ({error!r}); name a bundle and give its metadata "
            "version and changelog."
        ) from error
    for found in known:
        if not re.fullmatch(r"\d\.\d\.\d", found):
            raise InputError(
                f"{path}: found version {found!r}, expected three numbers below 10 such as 0.9.1, since "
                "versions are sorted as text; raise the number before it."
            )
    if max(changelog, default=None) != version:
        raise InputError(
            f"{path}: version is {version}, but the newest entry of changelog is "
            f"{max(changelog, default='none')}; say in changelog what this version changes."
        )
    prompt_kinds(bundle)
    return metadata


def check_weights(bundle: Path) -> dict[str, FrozenBase]:
    """Read models/model.pt as it will be read, and return the frozen bases that its model.json names.

    Raises:
        InputError: either is missing or unreadable, or a value is not finite.
    """
    path = bundle / "models" / "model.pt"
    tensors = read_tensors(path)
    broken = [name for name, value in tensors.items() if not value.isfinite().all()]
    if broken or not tensors:
        found = f"values that are not finite in {first_few(broken)}" if broken else "no tensor"
        raise InputError(f"{path}: found {found}, expected trained weights; train the model again.")
    return read_model_json(path)


def read_large_files(bundle: Path) -> dict[str, bytes]:
    """Return {path: content} of what large_files.yml names: already fetched, and with the recorded bytes.

    Raises:
        InputError: a file is absent, outside the bundle, has no sha256, or has another one.
    """
    listing = bundle / LARGE_FILES
    if not listing.is_file():
        return {}
    try:
        entries = yaml.safe_load(listing.read_text(encoding="utf-8"))["large_files"]
        wanted = [(str(entry["path"]), str(entry["hash_val"])) for entry in entries]
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise InputError(
            f"{listing}: cannot be read as a list of large files ({error!r}); give every entry path, url, "
            "hash_type: sha256 and hash_val."
        ) from error
    return {name: _read_checked(bundle / name, sha256) for name, sha256 in wanted}


def _read_checked(path: Path, sha256: str) -> bytes:
    if not path.is_file():
        raise InputError(
            f"{path}: {LARGE_FILES} names this file, but it is not there; fetch it with "
            "python -m monai.bundle download_large_files."
        )
    content = path.read_bytes()
    if (found := hashlib.sha256(content).hexdigest()) != sha256:
        raise InputError(
            f"{path}: has sha256 {found[:12]}..., expected {sha256[:12]}... of {LARGE_FILES}; fetch it again."
        )
    return content

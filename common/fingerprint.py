"""Hashes that say whether two results are of the same input, weights and settings."""

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

import torch
from torch import nn

HEADERS = (".mhd", ".nhdr")  # whose voxels are in a file of their own
OF_SYSTEMS = ("thumbs.db", "ehthumbs.db", "desktop.ini")  # left in folders by Windows; macOS's are hidden
_DATA_FILE = re.compile(r"^(?:ElementDataFile\s*=|data ?file:)[ \t]*(.*?)\s*$", re.MULTILINE)


def source_sha256(path: str | os.PathLike[str]) -> str:
    """sha256 of a file, or of the files directly in a folder: their names and hashes in sorted order.

    Hidden files and those that file managers leave in folders do not count.
    A header without voxels stands for itself and the file that it names, or for its folder if it names more.
    """
    path = Path(path)
    if path.suffix.lower() in HEADERS:
        found = _DATA_FILE.search(path.read_text("latin-1"))
        data = path.parent / found[1] if found else path.parent
        parts = [path, data] if data.is_file() else [one for one in path.parent.iterdir() if one.is_file()]
        return value_sha256([(part.name, _sha256(part)) for part in sorted(parts)])
    if not path.is_dir():
        return _sha256(path)
    files = sorted(file for file in path.iterdir() if file.is_file() and not _of_system(file.name))
    return value_sha256([(file.name, _sha256(file)) for file in files])


def _of_system(name: str) -> bool:
    return name.startswith(".") or name.lower() in OF_SYSTEMS


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def weights_sha256(network: nn.Module) -> str:
    """sha256 of names and values in the network's state dict: what a checkpoint of it would hold."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def value_sha256(value: Any) -> str:
    """sha256 of anything that JSON can hold; equal values have equal hashes."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()

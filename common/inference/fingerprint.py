"""Hashes that say whether two results are of the same input, weights and settings."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import torch
from torch import nn


def source_sha256(path: str | os.PathLike[str]) -> str:
    """sha256 of a file, or of the files directly in a folder: their names and hashes in sorted order."""
    path = Path(path)
    if not path.is_dir():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    files = sorted(file for file in path.iterdir() if file.is_file())
    return value_sha256([(file.name, source_sha256(file)) for file in files])


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

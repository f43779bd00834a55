"""A system more takes a module in common/networks and a folder in bundles/, and no edit elsewhere.

`sixth_system/` has what whoever adds one writes. The rest of its bundle is copied from an existing one, as
common/networks/README.md says. In a copy of this repository without the other bundles, all that is asked of
every bundle is asked of it.
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.bundles.commands import environment, options, run
from tests.bundles.subjects import REPOSITORY, write_data

pytestmark = pytest.mark.slow

NAME = "toy_organ"
TEMPLATE = REPOSITORY / "bundles" / "medvlm_organ"
SYSTEM = Path(__file__).parent / "sixth_system"
COPIED = (
    *("LICENSE", "docs/data_license.txt", "docs/prompts.txt", "scripts/__init__.py", "configs/logging.conf"),
    *("configs/evaluate.json", "configs/multi_gpu_train.json", "configs/multi_gpu_evaluate.json"),
    "configs/mlflow.json",
)
SECONDS = 1500


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=Somebody", "-c", "user.email=somebody@example.org")
    return subprocess.run(
        ["git", "-C", str(folder), *who, *arguments], check=True, capture_output=True, text=True
    ).stdout


WHOLE = ("changelog", "channel_def")  # objects that replace the template's


def merged(content: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    both = {
        key: merged(content[key], value) if isinstance(value, dict) and key not in WHOLE else value
        for key, value in changes.items()
    }
    return {**content, **both}


def write_bundle(bundle: Path) -> None:
    """The toy's own files, and those that are the same in every bundle of organs."""
    shutil.copytree(SYSTEM / "configs", bundle / "configs")
    shutil.copytree(SYSTEM / "docs", bundle / "docs")
    for name in COPIED:
        (bundle / name).parent.mkdir(exist_ok=True)
        text = (TEMPLATE / name).read_text("utf-8")
        (bundle / name).write_text(text.replace(TEMPLATE.name, NAME), "utf-8")
    own = bundle / "configs" / "metadata.json"
    metadata = json.loads((TEMPLATE / "configs" / "metadata.json").read_text("utf-8"))
    own.write_text(json.dumps(merged(metadata, json.loads(own.read_text("utf-8"))), indent=4))


def train(bundle: Path, folder: Path) -> None:
    """A few steps, whose weights are the bundle's; by Dice alone, so that they find something so soon."""
    folder.mkdir()
    write_data("organ", folder)
    few = {"epochs": 2, "draws_per_epoch": 48, "batch_size": 4, "device": "cpu"}
    few |= {"loss_weights": {"dice": 1.0, "bce": 0.0, "competition": 0.0}}
    places = {"dataset_dir": folder, "ckpt_dir": folder / "models", "output_dir": folder / "logs"}
    run(
        *("-m", "monai.bundle", "run", "training", *options(bundle, "train.json", **few, **places)),
        cwd=folder,
    )
    (bundle / "models").mkdir()
    shutil.copy(folder / "models" / "model.pt", bundle / "models")
    record = json.loads((folder / "models" / "model.json").read_text("utf-8"))
    said = {"trained_on": "two synthetic CT phantoms, for 24 steps"}
    (bundle / "models" / "model.json").write_text(json.dumps({**record, **said}, indent=2))


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This repository with the toy in the place of its bundles, committed."""
    root = tmp_path_factory.mktemp("sixth") / "repository"
    tracked = git(REPOSITORY, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    for name in filter(None, tracked):
        if not re.match(r"bundles/\w+/", name) and (REPOSITORY / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, root / name)
    shutil.copy(SYSTEM / "toy.py", root / "common" / "networks")
    bundle = root / "bundles" / NAME
    write_bundle(bundle)
    train(bundle, root.parent / "data")
    git(root, "init", "-q")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "A system more")
    return root


@pytest.mark.parametrize("folder", ["bundles", "release"])
def test_all_that_is_asked_of_every_bundle(repository: Path, folder: str) -> None:
    # every module that asks something of every bundle; what a system has beside is asked in files of its own
    command = [sys.executable, "-m", "pytest", "-q", "-rs", f"tests/{folder}", "-k", NAME]
    done = subprocess.run(
        command, cwd=repository, env=environment(), capture_output=True, text=True, timeout=SECONDS
    )
    assert done.returncode == 0, done.stdout[-6000:]


def test_the_benchmark_finds_it(repository: Path) -> None:
    counted = ("-m", "tools.benchmark", "networks", "--only", "Toy compact", "--counts")
    said = run(*counted, cwd=repository)
    # 16 * (25 + 1) and 16 * (16 * 9 + 1) of the convolutions, 16 * (32 + 1) of the words
    assert "Toy compact, 64 pixels" in said
    assert "| **sum** | 0.00 |" in said

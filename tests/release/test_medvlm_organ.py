"""The packed bundle on a machine that has nothing else: no repository, no hub, no environment.

Only subprocesses import the bundle's code here. They get the installed requirements and an empty environment.
"""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pytest

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]
NAME = "medvlm_organ"
SECONDS = 900  # for a busy machine; a quiet one needs 20
PROMPTS = {"the liver": "liver", "stomach": "stomach"}


def run(
    *arguments: str, cwd: Path, environment: dict[str, str], fails: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run python; its exit code has to be 0, or with `fails` anything else."""
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=SECONDS)
    assert (done.returncode != 0) == fails, (done.stdout + done.stderr)[-4000:]
    return done


def in_repository(*arguments: str) -> None:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    run(*arguments, cwd=REPOSITORY, environment=environment)


@pytest.fixture
def empty(tmp_path: Path) -> dict[str, str]:
    """An environment with a home of its own, so that no cache of the user's is found."""
    (tmp_path / "home").mkdir()
    return {"HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = REPOSITORY / "bundles" / NAME / "models" / "model.pt"
    if not model.is_file():
        pytest.skip(f"THE RELEASE IS NOT TESTED: {model} is not there; train the bundle or fetch its weights")
    folder = tmp_path_factory.mktemp("dist")
    in_repository("-m", "tools.build_bundle", NAME, "--out", str(folder), "--allow-dirty")
    return next(folder.glob("*.zip"))


@pytest.fixture
def bundle(archive: Path, tmp_path: Path) -> Path:
    with zipfile.ZipFile(archive) as file:
        file.extractall(tmp_path / "unzipped")
    return tmp_path / "unzipped" / NAME


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, int]]:
    """Image, label map and {organ: value} of a phantom."""
    folder = tmp_path_factory.mktemp("phantoms")
    options = ["--cases", "3", "--validation", "1", "--test", "1", "--seed", "5"]
    in_repository("-m", "tools.phantom", "--out", str(folder), *options)
    datalist = json.loads((folder / "datalist.json").read_text())
    item = datalist["test"][0]
    values = {name: int(value) for value, name in datalist["labels"].items()}
    return folder / item["image"], folder / item["label"], values


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.txt"
    path.write_text("\n".join(PROMPTS))
    return path


def options(image: Path, prompts: Path, output: Path) -> list[str]:
    given = {"input": image, "prompts_file": prompts, "output_dir": output}
    return [part for name, value in given.items() for part in (f"--{name}", str(value))]


def labels(path: Path) -> np.ndarray:
    return np.asarray(nibabel.load(path).dataobj)


def dice(mask: np.ndarray, truth: np.ndarray) -> float:
    return 2.0 * np.count_nonzero(mask & truth) / (np.count_nonzero(mask) + np.count_nonzero(truth))


def test_inference_from_its_folder_and_from_elsewhere(bundle, case, prompts, empty, tmp_path):
    image, truth, values = case
    (tmp_path / "elsewhere").mkdir()
    # The repository is not on the path of what follows.
    alone = run("-c", "import common", cwd=tmp_path / "elsewhere", environment=empty, fails=True)
    assert "No module named 'common'" in alone.stderr

    start = ["-m", "monai.bundle", "run"]
    here = [*start, "--config_file", "configs/inference.json", *options(image, prompts, tmp_path / "here")]
    done = run(*here, cwd=bundle, environment=empty)
    assert "the same weights in another precision" in done.stdout + done.stderr
    there = [*start, "--bundle_root", str(bundle), "--config_file", str(bundle / "configs/inference.json")]
    run(*there, *options(image, prompts, tmp_path / "there"), cwd=tmp_path / "elsewhere", environment=empty)
    assert list((tmp_path / "elsewhere").iterdir()) == []

    name = f"{image.name.removesuffix('.nii.gz')}_seg.nii.gz"
    found = labels(tmp_path / "here" / name)
    assert np.array_equal(found, labels(tmp_path / "there" / name))
    source = REPOSITORY / "bundles" / NAME
    whole = ["--bundle_root", str(source), "--config_file", str(source / "configs/inference.json")]
    in_repository(*start, *whole, *options(image, prompts, tmp_path / "repository"))
    unpacked, reference = labels(tmp_path / "repository" / name), labels(truth)
    for value, organ in enumerate(PROMPTS.values(), start=1):
        # Float16 text weights move single voxels; the words still name the same organ.
        assert dice(found == value, unpacked == value) >= 0.999, organ
        overlaps = {other: dice(found == value, reference == at) for other, at in values.items()}
        assert max(overlaps, key=overlaps.__getitem__) == organ, overlaps
        assert overlaps[organ] > 0.5, overlaps


def test_the_text_encoder_in_use_is_the_packed_one(bundle, case, prompts, empty, tmp_path):
    (bundle / "models" / "text_encoder").rename(tmp_path / "taken away")
    command = ["-m", "monai.bundle", "run", "--config_file", "configs/inference.json"]
    command += options(case[0], prompts, tmp_path / "out")
    done = run(*command, cwd=bundle, environment=empty, fails=True)
    assert "./models/text_encoder: there is no such folder" in done.stderr

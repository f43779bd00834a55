"""Every bundle unzipped: inference, evaluation and training, from its folder and from elsewhere."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]
BUNDLES = sorted(path.parents[1].name for path in REPOSITORY.glob("bundles/*/models/model.pt"))
MONAI = ["-m", "monai.bundle", "run"]

WORKFLOW = """
import json, sys
from monai.bundle import ConfigWorkflow
root, kind, *configs = sys.argv[1:]
files = [f"{root}/configs/{name}" for name in configs]
overrides = json.loads(sys.stdin.read())
workflow = ConfigWorkflow(files, workflow_type=kind, logging_file=False, bundle_root=root, **overrides)
workflow.initialize()
faults = workflow.check_properties()
assert faults == [], faults
workflow.run()
workflow.finalize()
assert "common" not in sys.modules
"""


@pytest.fixture(params=BUNDLES)
def bundle(request, unzip, tmp_path) -> Path:
    return unzip(request.param, tmp_path / "unzipped")


@pytest.fixture
def elsewhere(tmp_path) -> Path:
    (tmp_path / "elsewhere").mkdir()
    return tmp_path / "elsewhere"


def given(**values: object) -> list[str]:
    return [part for key, value in values.items() for part in (f"--{key}", str(value))]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_nothing_of_the_repository_is_in_reach(elsewhere, empty, run):
    for name in ("common", "tools", "scripts"):
        done = run("-c", f"import {name}", cwd=elsewhere, environment=empty, fails=True)
        assert f"No module named '{name}'" in done.stderr


def test_inference_from_its_folder_and_from_elsewhere(bundle, image, elsewhere, empty, run, labels, tmp_path):
    image = image(bundle.name)
    here = given(input=image, output_dir=tmp_path / "here")
    done = run(*MONAI, "--config_file", "configs/inference.json", *here, cwd=bundle, environment=empty)
    if (bundle / "models" / "text_encoder").is_dir():
        assert "the same weights in another precision" in done.stdout + done.stderr  # of the text encoder
    there = given(bundle_root=bundle, input=image, output_dir=tmp_path / "there")
    run(*MONAI, "--config_file", f"{bundle}/configs/inference.json", *there, cwd=elsewhere, environment=empty)
    assert list(elsewhere.iterdir()) == []  # nothing is left where one happens to be
    name = f"{image.name.removesuffix('.nii.gz')}_seg.nii.gz"
    found = labels(tmp_path / "here" / name)
    assert np.array_equal(found, labels(tmp_path / "there" / name))
    assert found.any()
    assert found.shape == nibabel.load(image).shape
    np.testing.assert_array_equal(nibabel.load(tmp_path / "here" / name).affine, nibabel.load(image).affine)


def test_its_words_mean_what_they_mean_in_the_repository(
    bundle, image, empty, run, in_repository, labels, tmp_path
):
    """The prompts that it ships with, read by its own text encoder; float16 moves single voxels."""
    image, source = image(bundle.name), REPOSITORY / "bundles" / bundle.name
    own = given(input=image, output_dir=tmp_path / "own")
    run(*MONAI, "--config_file", "configs/inference.json", *own, cwd=bundle, environment=empty)
    whole = given(bundle_root=source, config_file=source / "configs/inference.json")
    in_repository(*MONAI, *whole, *given(input=image, output_dir=tmp_path / "repository"))
    name = f"{image.name.removesuffix('.nii.gz')}_seg.nii.gz"
    found, reference = (labels(tmp_path / folder / name) for folder in ("own", "repository"))
    assert reference.any()
    for value in set(np.unique(found)) | set(np.unique(reference)):
        one, other = found == value, reference == value
        assert 2 * (one & other).sum() / (one.sum() + other.sum()) >= 0.99, value


def test_the_text_encoder_in_use_is_the_packed_one(bundle, image, empty, run, tmp_path):
    packed = bundle / "models" / "text_encoder"
    if not packed.is_dir():
        assert not json.loads((bundle / "models" / "model.json").read_text())["frozen_bases"]
        return
    packed.rename(tmp_path / "taken away")
    options = given(input=image(bundle.name), output_dir=tmp_path / "out")
    command = [*MONAI, "--config_file", "configs/inference.json", *options]
    done = run(*command, cwd=bundle, environment=empty, fails=True)
    assert "./models/text_encoder: there is no such folder" in done.stderr


def test_an_epoch_of_training_then_evaluation_by_command_line(
    bundle, dataset, elsewhere, empty, run, tiny, tmp_path
):
    """Training in the bundle's folder, evaluation of what it made from elsewhere, by plain monai.bundle."""
    options = {**tiny(bundle), "dataset_dir": dataset(bundle.name), "ckpt_dir": tmp_path / "models"}
    training = given(**options, output_dir=tmp_path / "training")
    command = [*MONAI, "training", "--config_file", "configs/train.json"]
    run(*command, *training, cwd=bundle, environment=empty)
    left = sorted(path.name for path in (tmp_path / "models").iterdir())
    assert left == ["model.json", "model.pt", "states"]
    configs = [f"{bundle}/configs/{name}.json" for name in ("train", "evaluate")]
    evaluating = given(bundle_root=bundle, **options, output_dir=tmp_path / "scores")
    command = [*MONAI, "evaluating", "--config_file", str(configs)]
    run(*command, *evaluating, cwd=elsewhere, environment=empty)
    assert any(rows(path) for path in (tmp_path / "scores").glob("*.csv"))
    assert list(elsewhere.iterdir()) == []


def test_the_same_through_config_workflow(bundle, dataset, image, elsewhere, empty, tiny, tmp_path):
    """ConfigWorkflow in a script of the user's, from a folder that is not the bundle's."""
    overrides = {**tiny(bundle), "dataset_dir": str(dataset(bundle.name))}
    jobs = [
        (["train", "train.json"], {**overrides, "ckpt_dir": str(tmp_path / "m")}),
        (["train", "train.json", "evaluate.json"], {**overrides, "ckpt_dir": str(tmp_path / "m")}),
        (["infer", "inference.json"], {"input": str(image(bundle.name))}),
    ]
    for index, (arguments, values) in enumerate(jobs):
        values["output_dir"] = str(tmp_path / f"out{index}")
        done = subprocess.run(
            [sys.executable, "-c", WORKFLOW, str(bundle), *arguments],
            input=json.dumps(values),
            cwd=elsewhere,
            env=empty,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr[-3000:]
    assert any(rows(path) for path in (tmp_path / "out1").glob("*.csv"))
    assert [path.suffixes for path in sorted((tmp_path / "out2").glob("*_seg.nii.gz"))] == [[".nii", ".gz"]]

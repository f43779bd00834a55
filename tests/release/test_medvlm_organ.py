"""medvlm_organ unzipped: the words name the organs, and its own text encoder reads them."""

from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]
NAME = "medvlm_organ"
PROMPTS = {"the liver": "liver", "stomach": "stomach"}


@pytest.fixture
def bundle(unzip, tmp_path: Path) -> Path:
    return unzip(NAME, tmp_path / "unzipped")


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.txt"
    path.write_text("\n".join(PROMPTS))
    return path


def options(image: Path, prompts: Path, output: Path) -> list[str]:
    given = {"input": image, "prompts_file": prompts, "output_dir": output}
    return [part for name, value in given.items() for part in (f"--{name}", str(value))]


def dice(mask: np.ndarray, truth: np.ndarray) -> float:
    return 2.0 * np.count_nonzero(mask & truth) / (np.count_nonzero(mask) + np.count_nonzero(truth))


def test_inference_finds_the_organs_as_the_repository_does(
    bundle, case, prompts, empty, run, in_repository, labels, tmp_path
):
    image, truth, values = case
    start = ["-m", "monai.bundle", "run"]
    here = [*start, "--config_file", "configs/inference.json", *options(image, prompts, tmp_path / "here")]
    done = run(*here, cwd=bundle, environment=empty)
    assert "the same weights in another precision" in done.stdout + done.stderr
    name = f"{image.name.removesuffix('.nii.gz')}_seg.nii.gz"
    found = labels(tmp_path / "here" / name)
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


def test_the_text_encoder_in_use_is_the_packed_one(bundle, case, prompts, empty, run, tmp_path):
    (bundle / "models" / "text_encoder").rename(tmp_path / "taken away")
    command = ["-m", "monai.bundle", "run", "--config_file", "configs/inference.json"]
    command += options(case[0], prompts, tmp_path / "out")
    done = run(*command, cwd=bundle, environment=empty, fails=True)
    assert "./models/text_encoder: there is no such folder" in done.stderr

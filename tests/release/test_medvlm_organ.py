"""medvlm_organ unzipped: the words name the organs."""

from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]
NAME = "medvlm_organ"
PROMPTS = {"the liver": "liver", "stomach": "stomach"}


def dice(mask: np.ndarray, truth: np.ndarray) -> float:
    return 2.0 * np.count_nonzero(mask & truth) / (np.count_nonzero(mask) + np.count_nonzero(truth))


def test_inference_finds_the_organs(unzip, case, empty, run, labels, tmp_path):
    image, truth, values = case
    (tmp_path / "prompts.txt").write_text("\n".join(PROMPTS))
    given = {"input": image, "prompts_file": tmp_path / "prompts.txt", "output_dir": tmp_path / "out"}
    options = [part for name, value in given.items() for part in (f"--{name}", str(value))]
    command = ["-m", "monai.bundle", "run", "--config_file", "configs/inference.json", *options]
    run(*command, cwd=unzip(NAME, tmp_path / "unzipped"), environment=empty)
    found = labels(tmp_path / "out" / f"{image.name.removesuffix('.nii.gz')}_seg.nii.gz")
    reference = labels(truth)
    for value, organ in enumerate(PROMPTS.values(), start=1):
        overlaps = {other: dice(found == value, reference == at) for other, at in values.items()}
        assert max(overlaps, key=overlaps.__getitem__) == organ, overlaps
        assert overlaps[organ] > 0.5, overlaps

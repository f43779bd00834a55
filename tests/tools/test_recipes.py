"""The recipes of shipped weights, in a short form: their commands run, and go on where they were stopped."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tools.phantom.__main__ import main as phantom

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]


def write_pancreas_slices(folder: Path) -> Path:
    """Grey squares with a brighter one in them, in the authors' layout: a slice of each of 8 patients."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    mask = np.zeros((64, 64), np.uint8)
    mask[20:36, 24:44] = 255
    for patient in range(1, 9):
        name = f"PANCREAS_{patient:04d}-1050.jpg"
        Image.fromarray(np.where(mask > 0, 140, 90).astype(np.uint8)).save(folder / "images" / name)
        Image.fromarray(mask).save(folder / "masks" / name)
    return folder


def test_medvlm_organ(tmp_path: Path) -> None:
    """From phantoms that stand for the patients; a second start finds all done but the test."""
    assert (
        phantom(["--out", str(tmp_path / "patients"), "--cases", "3", "--validation", "1", "--test", "1"])
        == 0
    )
    pancreas = write_pancreas_slices(tmp_path / "nih")
    command = [
        str(REPOSITORY / "tools" / "recipes" / "medvlm_organ"),
        str(tmp_path / "patients"),
        str(pancreas),
    ]
    short = {"PATIENTS": "6", "EPOCHS": "1", "DRAWS": "24"}
    for _ in range(2):
        run = subprocess.run(
            [*command, str(tmp_path / "work")],
            env={**os.environ, **short},
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-2000:]
    assert "-m tools.phantom" not in run.stdout
    work = tmp_path / "work"
    assert (work / "models" / "model.pt").stat().st_size < 16e6
    assert (work / "evaluation" / "volumes.csv").is_file()
    record = json.loads((work / "models" / "model.json").read_text("utf-8"))
    assert len(record["network_def"]["framing"]["channels"]) == 5

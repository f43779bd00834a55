"""The command for machines with a GPU, tried on a CPU with small sizes."""

import json
from pathlib import Path

import pytest
import torch

from tools.benchmark.__main__ import main
from tools.benchmark._networks import build
from tools.benchmark._steps import Steps, blobs

TESTS = Path(__file__).parents[2] / "common" / "training" / "test_augmentation.py"


def test_discs_are_brighter_than_what_is_around_them() -> None:
    image, mask = blobs(6, (3, 64, 64), torch.device("cpu"))
    assert image.shape == (6, 3, 64, 64)
    areas = mask.sum(dim=(1, 2, 3)) / 64**2
    assert (areas > 0.9 * torch.pi * 0.08**2).all()
    assert (areas < 1.1 * torch.pi * 0.18**2).all()
    inside = mask.bool().expand_as(image)
    assert image[inside].min() > image[~inside].max()


def test_a_network_learns_discs_by_heart() -> None:
    torch.manual_seed(0)
    steps = Steps(build("LSMS", "compact", side=64), batch_size=2, amp=False, learning_rate=2e-3)
    first, before = float(steps()), steps.dice()
    for _ in range(40):
        last = float(steps())
    assert last < 0.5 * first
    assert steps.dice() > max(before, 0.8)


def test_every_part_runs_and_stands_in_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tools.benchmark.gpu.TESTS_FOLDER", TESTS)
    out = tmp_path / "gpu.json"
    given = ["gpu", "--device", "cpu", "--out", str(out), "--presets", "MedVLM:compact", "--minutes", "5"]
    assert main([*given, "--slices", "2", "--side", "64"]) == 0
    found = json.loads(out.read_text("utf-8"))
    assert found["not_run"] == []
    assert found["parts"]["tests"]["tests"] == 1  # of a GPU
    parts = found["parts"]
    assert parts.keys() == {"tests", "training MedVLM:compact", "volume", "overfit MedVLM:compact"}
    training = parts["training MedVLM:compact"]
    assert training["tflops"] == pytest.approx(training["tflop_a_step"] * training["images_per_s"] / 2)
    assert parts["volume"]["volume"] == [2, 64, 64]
    assert parts["volume"]["seconds"].keys() == {"engine, 1 prompts", "engine, 13 prompts"}
    first, last = parts["overfit MedVLM:compact"]["loss"]
    assert last < first


def test_parts_without_time_are_named(tmp_path: Path) -> None:
    out = tmp_path / "gpu.json"
    given = ["gpu", "--device", "cpu", "--out", str(out), "--presets", "MedVLM:compact", "--minutes", "0"]
    assert main(given) == 1
    assert len(json.loads(out.read_text("utf-8"))["not_run"]) == 4


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gpu", "--out", str(tmp_path / "gpu.json")]) == 2
    assert "--device: found no GPU that torch" in capsys.readouterr().err


def test_another_preset_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["gpu", "--device", "cpu", "--out", str(tmp_path / "gpu.json"), "--presets", "MedVLM:huge"]
    assert main(given) == 2
    assert "--presets: found MedVLM:huge, expected some of" in capsys.readouterr().err

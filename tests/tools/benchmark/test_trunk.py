"""The trunk's benchmark: all ways that it measures compute one function."""

import json
from pathlib import Path

import pytest
import torch

from common.layers.efficientnet_lite import EfficientNetLite0
from tools.benchmark.__main__ import main
from tools.benchmark.trunk import apart


def test_norms_apart_and_folded_give_the_same_maps() -> None:
    torch.manual_seed(0)
    trunk = EfficientNetLite0()
    for module in trunk.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # else they change nothing
            module.running_mean.normal_(0, 0.1)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
    image = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        folded, pooled = trunk(image)
        apart(trunk)
        maps, vector = trunk(image)
    torch.testing.assert_close(vector, pooled, rtol=1e-4, atol=1e-5)
    for found, expected in zip(maps, folded, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_every_way_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "trunk.json"
    assert main(["trunk", "--side", "32", "--batch-size", "1", "--rounds", "1", "--out", str(out)]) == 0
    speeds = json.loads(out.read_text("utf-8"))["images_per_s"]
    assert len(speeds) == 8
    assert all(speed > 0 for speed in speeds.values())
    assert "| norms apart | " in capsys.readouterr().out

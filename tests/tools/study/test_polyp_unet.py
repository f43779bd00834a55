"""The recipe of the U-Net on the trunk, in seconds."""

import json
from pathlib import Path

import pytest

from tests.tools.study.test_polyps import write_source
from tools.study import polyp_unet, training
from tools.study.trunk_unet import TrunkUNet


def test_the_recipe_runs_and_says_what_it_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(polyp_unet, "SIDE", 64)
    monkeypatch.setattr(polyp_unet, "RECIPE", polyp_unet.Recipe(batch_size=2, learning_rate=2e-3))
    monkeypatch.setattr(polyp_unet, "TrunkUNet", lambda *sizes: TrunkUNet(*sizes, pretrained=False))
    monkeypatch.setattr(training, "TURNS", 2)
    source = write_source(tmp_path)
    found = polyp_unet.run(source, tmp_path / "work", minutes=0.05, seed=0, device="cpu")
    assert found["images"] == {"training": 6, "test": 3}
    assert 0 <= found["dice"]["mean"] <= 1
    assert json.loads((tmp_path / "work" / "results.json").read_text("utf-8")) == found
    assert (tmp_path / "work" / "model.pt").is_file()
    assert "Dice of 3 images after 0.05 min: mean 0." in capsys.readouterr().out
    again = polyp_unet.run(source, tmp_path / "work", minutes=0.05, seed=0, device="cpu")
    assert again["training"]["steps"] == found["training"]["steps"]  # it had ended
    assert again["dice"] == found["dice"]

"""The command line on the shipped bundle, and what it refuses."""

from pathlib import Path

import pytest
import torch

from common.errors import InputError
from common.networks.medvlm.network import MedVLM
from common.weights.checkpoints import load_trained
from common.weights.pretrained import find_pretrained
from tools import export_full
from tools.export_full import main

BUNDLE = Path(__file__).parents[2] / "bundles" / "medvlm_organ"
PROMPTS = ["liver", "the spleen, left of the stomach"]


@pytest.mark.slow
def test_shipped_checkpoint_needs_nothing_but_the_folder(tmp_path: Path) -> None:
    try:
        find_pretrained("sentence-transformers/all-MiniLM-L6-v2")
    except InputError as error:
        pytest.skip(f"the compact text encoder is not on this machine: {error}")
    out = tmp_path / "full"
    assert main(["--bundle", str(BUNDLE), "--out", str(out)]) == 0
    shipped = load_trained(MedVLM.from_preset("compact").eval(), BUNDLE / "models" / "model.pt")
    alone = MedVLM.from_preset("compact", text_model=str(out / "text_encoder")).eval()
    load_trained(alone, out / "model.pt")
    image = torch.rand(1, 5, 128, 128, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(alone(image, PROMPTS), shipped(image, PROMPTS), rtol=0, atol=1e-5)


def test_what_cannot_be_exported_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--bundle", str(tmp_path), "--out", str(tmp_path / "out")]) == 1
    assert "found no configs/inference.json in it, expected the folder of a bundle" in capsys.readouterr().err
    for entry in ("preset", "network_def#preset=$print(1)", "network_def#=paper", "=x"):
        assert main(["--bundle", str(BUNDLE), "--out", str(tmp_path / "out"), "--set", entry]) == 1
        assert f"--set: found '{entry}', expected KEY=VALUE" in capsys.readouterr().err


@pytest.mark.parametrize("key", ["preset", "train#amp", "network_def#presets", "device#index"])
def test_a_key_that_the_config_lacks_is_refused(
    key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """MONAI would take it and nothing would read it: the default network would be exported."""
    config = (BUNDLE / "configs/inference.json").resolve()
    assert main(["--bundle", str(BUNDLE), "--out", str(tmp_path / "out"), "--set", f"{key}=paper"]) == 1
    assert capsys.readouterr().err == (
        f"error: --set: found the key '{key}', expected one of {config}, "
        "such as that of network_def#preset=paper_qv.\n"
    )


def test_settings_reach_the_network_by_their_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = []
    monkeypatch.setattr(export_full, "run_in_bundle", lambda bundle, module, job: jobs.append(job) or 0)
    settings = ["--set", "network_def#preset=paper_qv", "--set", "network_def#image_size=256"]
    assert main(["--bundle", str(BUNDLE), "--out", str(tmp_path / "out"), *settings]) == 0
    overrides = jobs[0]["overrides"]
    assert overrides["network_def#preset"] == "paper_qv"
    assert overrides["network_def#image_size"] == 256

"""Every bundle's exported graphs, and its folder with everything, against the network itself."""

import importlib
import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.bundles.commands import run

PACKAGES = {"torchscript": (), "onnx": ("onnx", "onnxscript", "onnxruntime")}


def built(trained: Any, **overrides: Any) -> torch.nn.Module:
    """The network of inference.json with the weights of the tiny training."""
    workflow = trained.subject.inference(overrides.pop("checkpoint", trained.checkpoint), **overrides)
    workflow.initialize()
    return workflow.parser.get_parsed_content("network").eval()


def logits(network: Any, words: tuple[str, ...]) -> torch.Tensor:
    image = torch.rand(len(words), *network.field_shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return network(image, list(words))


@pytest.mark.parametrize("form", ["torchscript", pytest.param("onnx", marks=pytest.mark.slow)])
def test_image_encoder_and_decoder_give_the_same_logits(trained: Any, form: str, tmp_path: Path) -> None:
    """The model zoo scripts whole networks; a language model cannot be, what is behind its words can."""
    if missing := [name for name in PACKAGES[form] if importlib.util.find_spec(name) is None]:
        pytest.skip(f"NOT TESTED: {', '.join(missing)} not installed (pip install '.[export]')")
    network, words = built(trained), (*trained.subject.prompts, "something else than these")
    export = importlib.import_module("scripts.common.export")
    before = logits(network, words)
    export.export_graphs(network, tmp_path, formats=[form])
    graphs = export.ExportedSegmenter(network, tmp_path, form)
    image = torch.rand(len(words), *network.field_shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(graphs(image, list(words)), before, rtol=1e-3, atol=1e-3)


def test_readme_says_what_does_not_trace(bundle: Path) -> None:
    assert "TorchScript" in (bundle / "docs" / "README.md").read_text("utf-8")


@pytest.mark.slow
def test_export_full_needs_nothing_but_its_folder(trained: Any, tmp_path: Path) -> None:
    subject, out = trained.subject, tmp_path / "full"
    options = ["--checkpoint", str(trained.checkpoint), "--out", str(out)]
    options += ["--set", f"network_def#image_size={subject.side}"]
    run(
        *("-m", "tools.export_full", "--bundle", str(subject.root), *options),
        cwd=subject.root.parents[1],
    )
    bases = [path.name for path in out.iterdir() if path.is_dir()]
    models = {f"network_def#{name.removesuffix('_encoder')}_model": str(out / name) for name in bases}
    full = built(trained, checkpoint=out / "model.pt", **models)
    torch.testing.assert_close(
        logits(full, subject.prompts), logits(built(trained), subject.prompts), rtol=0, atol=1e-5
    )

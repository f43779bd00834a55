"""The study of polyps in seconds, and the U-Net on the trunk."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from common.data.datalist import load_referring
from common.networks.lsms.network import LSMS
from common.text.encoders import TextEncoder
from tests.tools.study.test_qata import BERT, TINY
from tools.study import image_arms, polyps, training
from tools.study.trunk_unet import TrunkUNet

COUNTS = {"training": 6, "validation": 3}


def write_source(folder: Path) -> Path:
    """Images with a bright square each, and prompts of the levels that the study asks."""
    rng = np.random.default_rng(0)
    content: dict[str, list[dict[str, Any]]] = {}
    for section, count in COUNTS.items():
        content[section] = []
        for index in range(count):
            mask = np.zeros((48, 64), np.uint8)
            top, left = rng.integers(0, 24, 2)
            mask[top : top + 20, left : left + 24] = 1
            image = np.stack([mask * 180, mask * 60, mask * 40], axis=-1) + 30
            name = f"{section}{index}"
            Image.fromarray(image.astype(np.uint8)).save(folder / f"{name}.png")
            Image.fromarray(mask).save(folder / f"{name}_mask.png")
            levels = {"p0": [""], "p1": ["polyp"], "p6": [f"one polyp, located in area {index % 2}"]}
            item = {"image": f"{name}.png", "label": f"{name}_mask.png", "levels": levels, "patient": name}
            content[section].append(item)
    (folder / "datalist.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(preset: str, *, image_size: int, framing: Any) -> LSMS:
        assert preset == "compact"
        encoder = TextEncoder(None, config=BERT, max_tokens=16)
        return LSMS(text_encoder=encoder, image_size=image_size, framing=framing, **TINY)

    monkeypatch.setattr(polyps.LSMS, "from_preset", build)
    monkeypatch.setattr(
        polyps, "TrunkUNet", lambda channels, maps, *, pretrained: TrunkUNet(channels, maps, pretrained=False)
    )
    monkeypatch.setattr(polyps, "SIDES", {"lsms": 64, "unet": 64})
    monkeypatch.setattr(image_arms, "BATCH", 2)
    monkeypatch.setattr(training, "TURNS", 2)


def test_each_network_is_asked_by_its_level_and_stands_in_the_tables(
    tmp_path: Path, small: None, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_source(tmp_path)
    report = polyps.run(source, tmp_path / "work", minutes=0.4 / 60, seeds=[0], device="cpu")
    names = {polyps.UNET, polyps.PLAIN, "LSMS by P0", "LSMS by P1", "LSMS by P6"}
    assert set(report["networks"]) == names
    assert report["images"] == {"training": 6, "test": 3}
    assert report == json.loads((tmp_path / "work" / "results.json").read_text())
    assert f"| LSMS by P6 - {polyps.UNET} |" in capsys.readouterr().out
    datalist = source / "datalist.json"
    items = {level: load_referring(datalist, "training", level=level) for level in polyps.LEVELS}
    built = polyps.build(items, minutes=1, seed=0, device="cpu")
    drawn = {name: next(arm._batches) for name, arm in built.items()}
    assert drawn["LSMS by P0"]["prompt"] == ["", ""]
    assert drawn["LSMS by P1"]["prompt"] == ["polyp", "polyp"]
    assert all("located in area" in text for text in drawn["LSMS by P6"]["prompt"])
    assert drawn[polyps.UNET]["image"].shape == (2, 3, 64, 64)


def test_maps_of_all_strides_reach_the_logits_of_any_size() -> None:
    network = TrunkUNet(3, 2, pretrained=False)
    image = torch.rand(2, 3, 75, 101)
    logits = network(image)
    assert logits.shape == (2, 2, 75, 101)
    logits.sum().backward()
    learnt = [parameter for parameter in network.parameters() if parameter.requires_grad]
    assert all(parameter.grad is not None for parameter in learnt)
    # No norm over the batch: an image's logits do not depend on its neighbours.
    torch.testing.assert_close(network(image[:1]), logits[:1], rtol=1e-4, atol=1e-5)

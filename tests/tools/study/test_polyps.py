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
from tools.study.image_only import ImageOnlyUNet
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

    def trunk(channels: int, maps: int, *, width: int, pretrained: bool) -> TrunkUNet:
        return TrunkUNet(channels, maps, width=width, pretrained=False)

    monkeypatch.setattr(polyps.LSMS, "from_preset", build)
    monkeypatch.setattr(polyps, "TrunkUNet", trunk)
    monkeypatch.setattr(polyps, "SIDES", {"lsms": 64, "unet": 64})
    monkeypatch.setattr(image_arms, "BATCH", 2)
    monkeypatch.setattr(training, "TURNS", 1)


def test_each_network_is_asked_by_its_level_and_stands_in_the_tables(
    tmp_path: Path, small: None, capsys: pytest.CaptureFixture[str]
) -> None:
    source, work = write_source(tmp_path), tmp_path / "work"
    given = {"minutes": 0.4 / 60, "cap_minutes": 0.2 / 60, "device": "cpu"}
    report = polyps.run(source, work, seeds=[0], **given)
    names = {polyps.UNET, polyps.PLAIN, "LSMS by P0", "LSMS by P1", "LSMS by P6"}
    long = f"{polyps.UNET}, until it no longer gains"
    assert set(report["networks"]) == names | {long}
    assert report["images"] == {"training": 6, "of these held back in the search": 1, "test": 3}
    assert report == json.loads((work / "results.json").read_text())
    assert set(report["search"]["dice"]) == {setting.name for setting in polyps.SETTINGS}
    said = capsys.readouterr().out
    assert f"| LSMS by P6 - {polyps.UNET} |" in said
    assert f"| **{report['search']['winner']}** |" in said


def test_arms_draw_the_words_of_their_level(tmp_path: Path, small: None) -> None:
    datalist = write_source(tmp_path) / "datalist.json"
    items = {level: load_referring(datalist, "training", level=level) for level in polyps.LEVELS}
    built = polyps.arms(items, items, polyps.SETTINGS[3])
    drawn = {
        name: next(arm.training(minutes=1, seed=0, device="cpu")._batches) for name, arm in built.items()
    }
    assert drawn["LSMS by P0"]["prompt"] == ["", ""]
    assert drawn["LSMS by P1"]["prompt"] == ["polyp", "polyp"]
    assert all("located in area" in text for text in drawn["LSMS by P6"]["prompt"])
    assert drawn[polyps.UNET]["image"].shape == (2, 3, 64, 64)
    unet = built[polyps.UNET].network()
    assert isinstance(unet, ImageOnlyUNet)
    assert isinstance(unet.unet.head, torch.nn.Conv2d)
    assert unet.unet.head.in_channels == polyps.SETTINGS[3].width == 128


def test_the_search_sees_no_image_of_the_test(tmp_path: Path, small: None) -> None:
    datalist = write_source(tmp_path) / "datalist.json"
    training_items, test = (load_referring(datalist, name, level="p0") for name in COUNTS)
    rest, held_back = polyps.held_back_of(training_items)
    assert {item.case for item in [*rest, *held_back]} == {item.case for item in training_items}
    opponent = polyps.opponent(rest, held_back, test)
    asked = opponent.searching(polyps.SETTINGS[0]).asked(0)
    assert {name: [cases[0].case] for name, cases in asked.items()} == {"validation": [held_back[0].case]}
    (question,) = opponent.converging(polyps.SETTINGS[0]).asked(0).values()
    assert question.images == [item.image for item in test]


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

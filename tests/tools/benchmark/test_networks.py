"""The counts of the networks' benchmark against the fact sheets', and what its tables add up."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from common import networks
from common.errors import InputError
from tools.benchmark._counting import Cost, costs, flops_by_module, kinds
from tools.benchmark._networks import SENTENCE, WORD_PIECES, build, peers, systems
from tools.benchmark.networks import count_tables, main, speed_tables


def total(parts: dict[str, Cost], *without: str) -> tuple[float, float]:
    kept = [cost for part, cost in parts.items() if part not in ("text encoder", *without)]
    return sum(cost.millions for cost in kept), sum(cost.gmac for cost in kept)


def test_parts_of_paper_t_add_up_to_the_sheet() -> None:
    """SegNeXt-T's widths: 8.10 M and 8.67 GMAC, of which the head 0.90 M and 3.73."""
    parts = costs(build("LSMS", "paper_t"), SENTENCE)
    assert total(parts) == pytest.approx((8.10, 8.67), rel=5e-3)
    assert parts["decoder"] == pytest.approx((0.90, 3.73), rel=5e-3)
    language = parts["language branches"]
    assert total(parts, "language branches") == pytest.approx(
        (8.10 - language[0], 8.67 - language[1]), rel=1e-2
    )
    # BERT-base: 12 layers of 7.09 M weights, each used once for each of 20 word pieces
    assert parts["text encoder"].gmac == pytest.approx(12 * 7.08e-3 * WORD_PIECES, rel=0.02)


def test_parts_of_compact_med_vlm_are_all_its_parameters() -> None:
    network = build("MedVLM", "compact")
    parts = costs(network, SENTENCE)
    trained = sum(p.numel() for p in network.parameters() if p.requires_grad)
    assert total(parts)[0] * 1e6 == pytest.approx(trained)  # 4,462,096 of the bundle's README
    assert trained == 4_462_096


def test_macs_of_a_convolution() -> None:
    image = torch.rand(1, 3, 20, 30)
    flops = flops_by_module(lambda: nn.Sequential(nn.Conv2d(3, 8, 5, padding=2))(image))
    assert flops["Global"] / 2 == 3 * 8 * 25 * 20 * 30


def test_kinds_cover_all_macs_and_all_time() -> None:
    network = build("LSMS", "compact", side=64).eval()
    image = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        text = network.encode_text([SENTENCE])
    found = kinds(network, image, text, rounds=1)
    assert sum(kind.gmac for kind in found.values()) * 2e9 == pytest.approx(
        flops_by_module(lambda: network(image, text))["Global"]
    )
    assert all(kind.seconds >= 0 for kind in found.values())
    strips = sum(
        2 * d * c * n * (64 / s) ** 2
        for d in (7, 11, 21)
        for c, n, s in zip((32, 64, 128, 256), (2, 2, 4, 2), (4, 8, 16, 32), strict=True)
    )
    assert found["strip convolutions"].gmac * 1e9 == pytest.approx(strips)


def test_systems_are_those_in_the_folder() -> None:
    folder = Path(networks.__path__[0])
    texts = {path: path.read_text("utf-8") for path in folder.rglob("*.py")}
    classes = {
        name for text in texts.values() for name in re.findall(r"^class (\w+)\(TextSegmenter\)", text, re.M)
    }
    assert systems().keys() == classes
    for name, system in systems().items():
        assert system.network.__name__ == name
        assert "compact" in system.presets


def test_peers_give_one_logit_a_pixel() -> None:
    for name, network in peers().items():
        with torch.no_grad():
            assert network.eval()(torch.rand(1, 1, 64, 64)).shape == (1, 1, 64, 64), name


def test_tables() -> None:
    parts: dict[str, Any] = {
        "stages": (2.0, 4.0),
        "language branches": (1.0, 0.5),
        "text encoder": (22.0, 1.0),
    }
    table = count_tables({"LSMS x, 64 pixels": parts})
    assert "| **sum** | 3.00 | 4.50 |" in table
    assert "| **sum without language** | 2.00 | 4.00 |" in table
    speed = {"LSMS x": {"gmac": 2.0, "latency_s": 0.25, "images_per_s": 5.0}}
    kind = {"LSMS x": {"strips": (0.3, 0.5), "rest": (0.1, 0.0)}}
    table = speed_tables(
        {"side": 64, "batch": 4, "device": "cpu", "threads": 1, "speed": speed, "kinds": kind}
    )
    assert "| LSMS x | 2.00 | 250 | 5.0 | 10 |" in table
    assert "| strips | 100% | 75% | 1.7 |" in table
    assert "| rest | 0% | 25% | - |" in table


def test_only_those_asked_for_are_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["--only", "LSMS compact", "MONAI UNet", "--side", "64", "--batch", "2", "--rounds", "1"]) == 0
    )
    said = capsys.readouterr().out
    rows = re.findall(r"^\| ((?:MONAI|MedVLM|LSMS) \w+) \| [\d.]+ \| \d+ \|", said, re.MULTILINE)
    assert rows == ["MONAI UNet", "LSMS compact"]
    assert "LSMS compact, 192 pixels" in said  # the size of the preset
    assert "MedVLM" not in said
    with pytest.raises(
        InputError, match=r"--only: found LSMS huge, expected some of MONAI UNet, .*LSMS paper"
    ):
        main(["--only", "LSMS huge"])


def test_help_says_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "with and without the language branch" in " ".join(capsys.readouterr().out.split())

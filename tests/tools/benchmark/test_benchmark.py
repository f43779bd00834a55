"""The command finds its benchmarks, the clock sees memory, and the peers of the metrics benchmark agree."""

import subprocess
import sys

import numpy as np
import pytest

from tools.benchmark import _peers
from tools.benchmark.__main__ import main, names
from tools.benchmark._clock import take_turns
from tools.benchmark._volumes import Scene


def test_help_names_the_benchmarks_at_once() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "tools.benchmark", "--help"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0
    assert "metrics" in done.stdout
    assert "_clock" not in done.stdout
    assert "numpy" not in done.stderr, "heavy imports belong to a benchmark's own work"


def test_every_benchmark_says_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    for name in names():
        with pytest.raises(SystemExit) as stop:
            main([name, "--help"])
        assert stop.value.code == 0
        assert f"tools.benchmark {name}" in capsys.readouterr().out


def test_an_unknown_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["nothing"])
    assert stop.value.code == 2
    assert "invalid choice: 'nothing'" in capsys.readouterr().err


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="NOT TESTED: peak memory is read on Linux only"
)
def test_clock_sees_memory_that_a_call_gives_back() -> None:
    order: list[str] = []

    def hungry() -> int:
        order.append("hungry")
        return int(np.ones(64 * 2**20, np.uint8)[-1])

    timings = take_turns({"hungry": hungry, "modest": lambda: order.append("modest")}, 2, note=lambda _: None)
    assert order == ["hungry", "modest"] * 2
    assert timings["hungry"].result == 1
    assert 60 < timings["hungry"].peak_mb < 80
    assert timings["modest"].peak_mb < 8
    assert len(timings["hungry"].seconds) == 2


def test_libraries_of_one_definition_give_one_number() -> None:
    rng = np.random.default_rng(4)
    pred, ref = (np.pad(rng.integers(0, 3, (8, 12, 14)).astype(np.uint8), 1) for _ in range(2))
    spacing = (2.5, 0.8, 0.7)  # and a margin: SimpleITK's contours are open at the image's border
    several, single = Scene("", pred, ref, 2, spacing), Scene("", pred % 2, ref % 2, 1, spacing)
    for scene in (several, single):
        voxel, surfel = _peers.ours(scene, "voxel")(), _peers.ours(scene, "surfel")()
        assert _peers.monai(scene)() == pytest.approx(voxel, rel=1e-5)
        assert _peers.simpleitk(scene)() == pytest.approx(voxel, rel=1e-5)
        assert _peers.surface_distance(scene)() == pytest.approx(surfel, abs=1e-9)
    from common.metrics import measure_mask

    pooled = measure_mask(single.pred, single.ref, spacing_mm=spacing, boundaries=["voxel"])
    assert _peers.medpy(single)() == pytest.approx(pooled["voxel_hd95_pooled_mm"], abs=1e-9)

"""The benchmark's volume, its prediction from FLOPs, and the ratios of its table."""

import json
import sys

import nibabel as nib
import numpy as np
import pytest

from common.data.framing import RGB, Framing
from tests.common.training.parts import Tiny
from tools.benchmark._networks import build
from tools.benchmark._volumes import ORGANS, write_volume
from tools.benchmark.inference import _flops_ratio, _table, main


def test_the_volume_is_a_body_in_air(tmp_path):
    image = nib.load(write_volume(tmp_path / "case.nii.gz", slices=3, side=64))
    voxels = np.asarray(image.dataobj)
    assert voxels.shape == (64, 64, 3)
    assert voxels.dtype == np.int16
    assert np.median(voxels[32, 32]) == pytest.approx(40, abs=40)
    assert np.median(voxels[0, 0]) == pytest.approx(-1000, abs=40)


def test_13_prompts_cost_more_than_one_and_less_than_13_by_flops():
    assert 1.0 < _flops_ratio(build("MedVLM", "compact"), ORGANS) < 13.0


@pytest.mark.parametrize("channels", [("grey",), RGB])
def test_flops_are_counted_on_the_networks_own_field(channels):
    network, seen = Tiny(Framing(channels=channels)), []
    network.pixel.register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0].shape))
    _flops_ratio(network, ORGANS)
    assert seen == [(1, len(channels), 16, 16)]


@pytest.mark.parametrize(("device", "cost", "naive"), [("cpu", 1.60, 20.0), ("cuda", 0.80, 10.0)])
def test_the_table_holds_the_ratios_of_medians(device, cost, naive):
    """By the processor's seconds on a CPU, by the wall clock on a GPU; the naive loop had 4 of 40 slices."""
    parts = {"read": 1.0, "text": 0.5, "encode": 2.0, "decode": 0.5, "write labels": 1.0}
    cpu = {
        "engine": {1: [5.0, 4.0, 9.0], 13: [8.0, 8.0, 8.0]},
        "network alone": {1: [4.0], 13: [6.0]},
        "naive loop": {1: [1.0], 13: [16.0]},
    }
    wall = {
        "engine": {1: [10.0], 13: [8.0]},
        "network alone": {1: [4.0], 13: [6.0]},
        "naive loop": {1: [1.0], 13: [8.0]},
    }
    runs = {
        f"{name}, {count} prompts": {
            "cpu_seconds": values, "seconds": wall[name][count], "peak_mb": None, "parts": parts
        }
        for name, of_count in cpu.items()
        for count, values in of_count.items()
    }  # fmt: skip
    table = _table(
        {
            **{
                "preset": "compact",
                "volume": [40, 512, 512],
                "naive_slices": 4,
                "device": device,
                "threads": 2,
            },
            **{"amp": False, "channels_last": True, "compile": False},
            **{"flops_ratio": 1.7, "gpu_peak_mb": None, "input_and_output_mb": 50.0, "runs": runs},
        }
    )
    assert "2 threads, switches: channels_last" in table
    assert "| engine, 1 prompts | 10.00 | 0.125 | not measured |" in table
    assert f"13 prompts cost {cost:.2f} times one; the network alone 1.50 times, by its FLOPs 1.70" in table
    assert f"The naive loop takes {naive:.1f} times as long with 13 prompts" in table
    assert "Outside the network: 40% of the time with one prompt, 40% with 13." in table


@pytest.mark.slow
@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="NOT TESTED: peak memory is read on Linux only"
)
def test_memory_is_measured_in_a_round_whose_time_does_not_count(tmp_path, capsys):
    out = tmp_path / "numbers.json"
    sizes = ["--slices", "16", "--side", "256", "--naive-slices", "1", "--rounds", "1"]
    assert main([*sizes, "--out", str(out)]) == 0
    results = json.loads(out.read_text())
    assert len(results["runs"]) == 6
    for run in results["runs"].values():
        assert len(run["seconds"]) == len(run["cpu_seconds"]) == 1
    held_mb = 16 * 256 * 256 * 5 / 2**20  # the volume in float32, its label map in uint8
    assert all(results["runs"][f"engine, {count} prompts"]["peak_mb"] > held_mb for count in (1, 13))
    assert "not measured" not in capsys.readouterr().out

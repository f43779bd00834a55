"""The training benchmark on one small round: its numbers agree with each other."""

import json
from pathlib import Path

import pytest

from tools.benchmark.training import main, table


@pytest.mark.slow
def test_numbers_of_one_round(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "numbers.json"
    options = ["--batch-size", "2", "--prompts", "2", "--steps", "1", "--rounds", "1", "--out", str(out)]
    assert main(options) == 0
    numbers = json.loads(out.read_text())
    assert table(numbers) in capsys.readouterr().out
    speeds = numbers["slices_per_s"]
    assert speeds.keys() == {"feed", "step", "together", "words as drawn"}
    seconds = {name: numbers["batch_size"] / speed for name, speed in speeds.items()}
    assert numbers["tflops"] == pytest.approx(numbers["tflop_a_step"] / seconds["step"])
    assert set(numbers["ms_a_slice"]) == {"memory", "slice store", "MONAI PersistentDataset"}
    # Twice the images and the prompts are twice the operations.
    more = tmp_path / "more.json"
    main([*options[:1], "4", *options[2:-1], str(more)])
    assert json.loads(more.read_text())["tflop_a_step"] == pytest.approx(
        2 * numbers["tflop_a_step"], rel=0.02
    )


def test_table_says_the_share_and_the_utilisation() -> None:
    numbers = {
        **{"preset": "paper", "image_size": 512, "batch_size": 8, "prompts": 4, "workers": 4, "threads": 8},
        **{"device": "NVIDIA H100 80GB HBM3", "amp": True, "tflop_a_step": 4.945, "tflops": 98.9},
        "slices_per_s": {"feed": 400.0, "step": 160.0, "together": 152.0, "words as drawn": 140.0},
        "texts": 2000,
        "encoding_s": 30.0,
        "ms_a_slice": {"slice store": 0.25},
    }
    text = table(numbers)
    assert "Feed: 2.5 times what the step takes." in text
    assert "Together: 95% of the slower one alone; with words as drawn 88%." in text
    assert "Model FLOP utilisation: 10.0% of 989 TFLOP/s" in text
    assert "| slice store | 0.25 |" in text

"""One real command line for each config, from a folder that is not the bundle's."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.bundles.commands import options, run


def test_training(bundle: Path, minilm: None, tiny: dict[str, Any], phantoms: Path, tmp_path: Path) -> None:
    places = {"dataset_dir": phantoms, "ckpt_dir": tmp_path / "models", "output_dir": tmp_path / "logs"}
    changes = {**tiny, **places, "epochs": 1, "draws_per_epoch": 8}
    said = run(
        "-m", "monai.bundle", "run", "training", *options(bundle, "train.json", **changes), cwd=tmp_path
    )
    assert "val_mean_dice" in said
    assert "is the best so far: saved" in said
    assert sorted(path.name for path in (tmp_path / "models").iterdir()) == [
        "model.json",
        "model.pt",
        "states",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["logs", "models"]  # nothing beside these


@pytest.mark.slow
def test_evaluating(bundle: Path, trained: Any, tmp_path: Path) -> None:
    changes = {**trained.overrides, "output_dir": tmp_path / "scores"}
    configs = options(bundle, "train.json", "evaluate.json", **changes)
    run("-m", "monai.bundle", "run", "evaluating", *configs, cwd=tmp_path)
    written = sorted(path.name for path in (tmp_path / "scores").iterdir())
    assert written == ["evaluation.json", "slices.csv", "summary.json", "volumes.csv"]


@pytest.mark.slow
def test_inferring(bundle: Path, trained: Any, phantoms: Path, tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("the liver\n# a comment\nspleen\n")
    image = json.loads((phantoms / "datalist.json").read_text())["test"][0]["image"]
    changes = {
        "device": "cpu",
        "image_size": trained.overrides["image_size"],
        "input": phantoms / image,
        "output_dir": tmp_path / "masks",
        "prompts_file": tmp_path / "prompts.txt",
        "checkpoint": trained.models / "model.pt",
    }
    configs = options(bundle, "inference.json", **changes)
    run("-m", "monai.bundle", "run", "inferring", *configs, cwd=tmp_path)
    case = Path(image).name.removesuffix(".nii.gz")
    written = sorted(path.name for path in (tmp_path / "masks").iterdir())
    assert written == [f"{case}_seg{ending}" for ending in (".json", ".nii.gz", ".png")]
    report = json.loads((tmp_path / "masks" / f"{case}_seg.json").read_text())
    assert [row["prompt"] for row in report["prompts"]] == ["the liver", "spleen"]


@pytest.mark.slow
def test_own_data_in_three_commands(bundle: Path, minilm: None, phantoms: Path, tmp_path: Path) -> None:
    """A folder of images and label maps, a training from the shipped weights, a report, as in the README."""
    labels = json.loads((phantoms / "datalist.json").read_text())["labels"]
    names = [part for number, name in labels.items() for part in ("--name", f"{number}={name}")]
    shares = ["--validation", "0.25", "--test", "0.25"]
    data = tmp_path / "data"
    preparing = ["--source", str(phantoms), "--out", str(data), *names, *shares]
    run("-m", "tools.prepare", "folder", *preparing, cwd=bundle.parents[1])
    places = {"dataset_dir": data, "ckpt_dir": tmp_path / "model", "device": "cpu"}
    few = {
        "epochs": 1,
        "draws_per_epoch": 8,
        "batch_size": 4,
        "init_checkpoint": bundle / "models" / "model.pt",
    }
    training = options(bundle, "train.json", **places, **few, output_dir=tmp_path / "run")
    said = run("-m", "monai.bundle", "run", "training", *training, cwd=tmp_path)
    assert f"weights of {bundle / 'models' / 'model.pt'}" in said
    evaluating = options(bundle, "train.json", "evaluate.json", **places, output_dir=tmp_path / "report")
    run("-m", "monai.bundle", "run", "evaluating", *evaluating, cwd=tmp_path)
    summary = json.loads((tmp_path / "report" / "summary.json").read_text())["volumes"]
    assert summary["labels"].keys() == set(labels.values())
    assert summary["labels"]["liver"]["metrics"]["dsc"]["mean"] > 0.5  # the shipped weights, two steps on

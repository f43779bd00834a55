"""One real command line for each config, from a folder that is not the bundle's."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

SECONDS = 550  # for a busy machine; a quiet one needs 20


def run(*arguments: str, cwd: Path) -> str:
    """Run python with `arguments`; returns what it said, and fails with it on another exit code than 0."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment = {**kept, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=SECONDS)
    said = done.stdout + done.stderr
    errors = [line for line in said.splitlines() if re.match(r"[\w.]*(Error|Exception)\b", line)]
    assert done.returncode == 0, "\n".join([*errors, said[-1000:]])
    return said


def options(bundle: Path, *configs: str, **overrides: Any) -> list[str]:
    files = [str(bundle / "configs" / name) for name in configs]
    given = {"bundle_root": bundle, "config_file": files[0] if len(files) == 1 else files, **overrides}
    return [part for name, value in given.items() for part in (f"--{name}", str(value))]


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
    assert written == ["slices.csv", "summary.json", "volumes.csv"]


@pytest.mark.slow
def test_evaluating_in_two_processes_gives_the_tables_of_one(
    bundle: Path, trained: Any, phantoms: Path, tmp_path: Path
) -> None:
    """On three cases, so that one process has one more than the other."""
    datalist = json.loads((phantoms / "datalist.json").read_text())
    datalist["test"], datalist["training"] = datalist["training"] + datalist["test"], []
    for item in datalist["test"]:
        item |= {kind: str(phantoms / item[kind]) for kind in ("image", "label")}
    (tmp_path / "datalist.json").write_text(json.dumps(datalist))
    changes = {**trained.overrides, "datalist": tmp_path / "datalist.json"}
    one = options(bundle, "train.json", "evaluate.json", **{**changes, "output_dir": tmp_path / "one"})
    run("-m", "monai.bundle", "run", "evaluating", *one, cwd=tmp_path)
    configs = ("train.json", "evaluate.json", "multi_gpu_evaluate.json")
    two = options(bundle, *configs, **{**changes, "output_dir": tmp_path / "two"})
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    run(*launcher, "-m", "monai.bundle", "run", "evaluating", *two, cwd=tmp_path)
    for name in ("volumes.csv", "slices.csv"):
        first, second = (sorted((tmp_path / part / name).read_text().splitlines()) for part in ("one", "two"))
        assert first == second
        assert len(first) > 3


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
def test_training_in_two_processes(
    bundle: Path, minilm: None, tiny: dict[str, Any], phantoms: Path, tmp_path: Path
) -> None:
    places = {"dataset_dir": phantoms, "ckpt_dir": tmp_path / "models", "output_dir": tmp_path / "logs"}
    changes = {**tiny, **places, "epochs": 1, "draws_per_epoch": 16, "batch_size": 2}
    configs = options(bundle, "train.json", "multi_gpu_train.json", **changes)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    said = run(*launcher, "-m", "monai.bundle", "run", "training", *configs, cwd=tmp_path)
    assert said.count("is the best so far: saved") == 1  # by the first process alone
    assert sorted(path.name for path in (tmp_path / "models").iterdir()) == [
        "model.json",
        "model.pt",
        "states",
    ]
    steps: list[int] = []
    for file in (tmp_path / "logs").glob("events.out.tfevents.*"):
        events = EventAccumulator(str(file)).Reload()
        if "train_loss" in events.Tags()["scalars"]:
            steps += [event.step for event in events.Scalars("train_loss")]
    assert steps == [1, 2, 3, 4]  # 16 draws in batches of 2 are 8 steps, 4 for each process

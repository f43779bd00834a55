"""One real command line for each config of every bundle, from a folder that is not the bundle's."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.bundles.commands import options, run
from tests.bundles.subjects import Subject

pytestmark = pytest.mark.slow
BUNDLE_RUN = ("-m", "monai.bundle", "run")


def test_training_from_the_shipped_weights(subject: Subject, tmp_path: Path) -> None:
    """Two steps at the weights' own size."""
    shipped = subject.root / "models" / "model.pt"
    changes = {key: value for key, value in subject.training(tmp_path).items() if "#" not in key}
    changes |= {"epochs": 1, "draws_per_epoch": 4, "batch_size": 2, "init_checkpoint": shipped}
    said = run(*BUNDLE_RUN, "training", *options(subject.root, "train.json", **changes), cwd=tmp_path)
    assert f"weights of {shipped}" in said
    assert "val_mean_dice" in said
    assert "is the best so far: saved" in said
    models = sorted(path.name for path in (tmp_path / "models").iterdir())
    assert models == ["model.json", "model.pt", "states"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["logs", "models"]  # nothing beside these


def test_evaluating(trained: Any, tmp_path: Path) -> None:
    changes = {**trained.overrides, "output_dir": tmp_path / "scores"}
    configs = options(trained.subject.root, "train.json", "evaluate.json", **changes)
    run(*BUNDLE_RUN, "evaluating", *configs, cwd=tmp_path)
    written = sorted(path.name for path in (tmp_path / "scores").iterdir())
    assert written == ["evaluation.json", "slices.csv", "summary.json", "volumes.csv"]


def test_inferring(trained: Any, tmp_path: Path) -> None:
    subject = trained.subject
    first, second = subject.prompts
    (tmp_path / "prompts.txt").write_text(f"{first}\n# a comment\n{second}\n")
    image = subject.volume()
    changes = {
        "device": "cpu",
        "network_def#image_size": subject.side,
        "input": image,
        "output_dir": tmp_path / "out",
        "prompts_file": tmp_path / "prompts.txt",
        "outputs": ["labels", "preview"],
        "checkpoint": trained.checkpoint,
    }
    run(*BUNDLE_RUN, "inferring", *options(subject.root, "inference.json", **changes), cwd=tmp_path)
    case = image.name.removesuffix(".nii.gz")
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == [f"{case}_seg{ending}" for ending in (".json", ".nii.gz", ".png")]
    report = json.loads((tmp_path / "out" / f"{case}_seg.json").read_text())
    assert [row["prompt"] for row in report["prompts"]] == [first, second]

"""Weights trained on a site's own labels: kept apart from the bundle, numbered, the newest one served."""

import os
import shutil
from pathlib import Path


def newest_checkpoint(models: Path) -> Path | None:
    """The model.pt with the highest number in a bundle's folder of trained models, None without any."""
    numbers = [int(path.name) for path in models.glob("[0-9]*") if path.name.isdecimal()]
    return models / str(max(numbers)) / "model.pt" if numbers else None


def publish(trained: Path, models: Path) -> Path:
    """Copy a folder with model.pt and model.json to the next number, in one step; returns the checkpoint.

    The training's states beside them stay behind: each is larger than the weights, and nothing goes on there.
    """
    models.mkdir(parents=True, exist_ok=True)
    newest = newest_checkpoint(models)
    number = 1 if newest is None else int(newest.parent.name) + 1
    partial = models / f".partial-{number}"
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(trained, partial, ignore=shutil.ignore_patterns("states"))
    os.replace(partial, models / str(number))
    return models / str(number) / "model.pt"

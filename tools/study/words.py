"""Does the mask follow the words? Dice of every prompt's mask with every organ of the reference."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from common.data.datalist import load_label_values
from common.data.volumes import check_same_grid, read_labels
from common.errors import InputError

ENDING = "_seg.json"


def run(report: Path, reference: Path, datalist: Path) -> dict[str, dict[str, float]]:
    """Print {prompt: {organ: Dice}} as a Markdown table, the highest of each row in bold, and return it.

    Args:
        report: `<case>_seg.json` of an inference; its label map stands beside it.
        reference: label map of the same case.
        datalist: names of the reference's labels.

    Raises:
        InputError: unreadable files, or label maps on different grids.
    """
    found, truth = read_labels(_label_map(report)), read_labels(reference)
    check_same_grid(found, truth)
    labels = load_label_values(datalist)
    masks = {name: np.isin(truth.slices, numbers) for name, numbers in labels.items()}
    rows = {
        prompt: {name: dice(found.slices == label, mask) for name, mask in masks.items()}
        for label, prompt in _prompts(report).items()
    }
    print("| prompt | " + " | ".join(labels) + " |")
    print("|---|" + "---|" * len(labels))
    for prompt, row in rows.items():
        best = np.nanmax(list(row.values()))
        cells = [f"**{value:.2f}**" if value == best else f"{value:.2f}" for value in row.values()]
        print(f"| {prompt} | " + " | ".join(cells) + " |")
    return rows


def dice(mask: np.ndarray, truth: np.ndarray) -> float:
    """2 |A and B| / (|A| + |B|) of two boolean arrays; NaN where both are empty."""
    total = np.count_nonzero(mask) + np.count_nonzero(truth)
    return float(2.0 * np.count_nonzero(mask & truth) / total) if total else float("nan")


def _label_map(report: Path) -> Path:
    if not report.name.endswith(ENDING):
        raise InputError(
            f"{report}: expected the report of an inference, a file that ends in {ENDING}; give that."
        )
    return report.with_name(report.name.removesuffix(".json") + ".nii.gz")


def _prompts(report: Path) -> dict[int, str]:
    try:
        content: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
        return {int(entry["label"]): str(entry["prompt"]) for entry in content["prompts"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{report}: cannot be read as the report of an inference ({error}); run it again."
        ) from error

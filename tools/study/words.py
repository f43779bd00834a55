"""Does the mask follow the words? Dice of every prompt's own mask with every organ of the reference."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from common.data.datalist import load_label_values
from common.data.label_maps import read_label_map
from common.errors import InputError

ENDING = "_seg.json"


def run(report: Path, reference: Path, datalist: Path) -> dict[str, dict[str, float]]:
    """Print {prompt: {organ: Dice}} as a Markdown table, the highest of each row in bold, and return it.

    Args:
        report: `<case>_seg.json` of an inference that wrote masks; these stand beside it.
        reference: label map of the same case.
        datalist: names of the reference's labels.

    Raises:
        InputError: unreadable files, no masks, or masks and reference on different grids.
    """
    truth = read_label_map(reference)
    organs = {name: np.isin(truth.slices, numbers) for name, numbers in load_label_values(datalist).items()}
    rows: dict[str, dict[str, float]] = {}
    for prompt, path in _masks(report).items():
        found = read_label_map(path, like=truth)
        rows[prompt] = {name: dice(found.slices > 0, mask) for name, mask in organs.items()}
    print("| prompt | " + " | ".join(organs) + " |")
    print("|---|" + "---|" * len(organs))
    for prompt, row in rows.items():
        best = np.nanmax(list(row.values()))
        cells = [f"**{value:.2f}**" if value == best else f"{value:.2f}" for value in row.values()]
        print(f"| {prompt} | " + " | ".join(cells) + " |")
    return rows


def dice(mask: np.ndarray, truth: np.ndarray) -> float:
    """2 |A and B| / (|A| + |B|) of two boolean arrays; NaN where both are empty."""
    total = np.count_nonzero(mask) + np.count_nonzero(truth)
    return float(2.0 * np.count_nonzero(mask & truth) / total) if total else float("nan")


def _masks(report: Path) -> dict[str, Path]:
    """The file of each prompt's own mask."""
    if not report.name.endswith(ENDING):
        raise InputError(
            f"{report}: expected the report of an inference, a file that ends in {ENDING}; give that."
        )
    try:
        content: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
        prompts = [str(entry["prompt"]) for entry in content["prompts"]]
        files = content["outputs"].get("masks", [])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{report}: cannot be read as the report of an inference ({error}); run it again."
        ) from error
    if len(files) != len(prompts):
        raise InputError(
            f"{report}: found {len(files)} masks of {len(prompts)} prompts, expected one of each; run it "
            "again with masks among its outputs."
        )
    return {prompt: report.with_name(file) for prompt, file in zip(prompts, files, strict=True)}

"""Which changes of the compact Med-VLM pay on real CT? One change at a time, at equal processor time."""

import json
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from common.data.datalist import Case, load_datalist, load_label_values
from common.data.evaluation_cases import EvaluationCases
from common.data.organ_slices import OrganSlices
from common.files import atomic_path
from common.metrics import describe, summarise, with_interval
from common.metrics.segmentation import Row
from common.networks.base import TextSegmenter
from common.networks.medvlm.network import MedVLM

from .arms import Arm, train_arms
from .cells import data_sha256
from .objectives import PromptObjective
from .openkbp import with_competition
from .training import Recipe, machine
from .tuning import VALIDATION

BATCH = 8
WIDE_WINDOW = (-160.0, 1000.0)  # HU: bone too
LUNG_WINDOW = (-1000.0, 200.0)  # air, fat and soft tissue


def neighbours(distance_mm: float) -> list[dict[str, Any]]:
    """Channels that show a slice, and the ones this far below and above it."""
    return [{"offset_mm": offset} for offset in (0.0, -distance_mm, distance_mm)]


ALL = [*neighbours(3.0), *neighbours(9.0)[1:], {"window": WIDE_WINDOW}, {"window": LUNG_WINDOW}]
BASE: dict[str, Any] = {"image_size": 128, "framing": {"channels": [{}]}}
# Arguments of `MedVLM.from_preset` that replace those of BASE.
CHANGES: dict[str, dict[str, Any]] = {
    "one slice, one window, 128 pixels": {},
    "neighbours 3 mm away": {"framing": {"channels": neighbours(3.0)}},
    "neighbours 6 mm away": {"framing": {"channels": neighbours(6.0)}},
    "neighbours 3 and 9 mm away": {"framing": {"channels": neighbours(3.0) + neighbours(9.0)[1:]}},
    "windows of soft tissue, bone and air": {
        "framing": {"channels": [{}, {"window": WIDE_WINDOW}, {"window": LUNG_WINDOW}]}
    },
    "neighbours 3 and 9 mm away, windows of bone and air": {"framing": {"channels": ALL}},
    "160 pixels": {"image_size": 160},
    "192 pixels": {"image_size": 192},
}


def run(
    source: Path, work: Path, *, minutes: float, seeds: Sequence[int], changes: Sequence[str], device: str
) -> dict[str, Any]:
    """Train each change for each seed and judge it on the validation patients; write `results.json`.

    A network that `work` has the rows of is not trained again.

    Returns:
        What `results.json` holds.
    """
    datalist = source / "datalist.json"
    labels = load_label_values(datalist)
    training, validation = load_datalist(datalist, "training"), load_datalist(datalist, "validation")
    data = data_sha256(training, validation)
    arms = {name: _arm(training, validation, labels, name) for name in changes}
    found: dict[str, list[dict[str, Any]]] = {}
    for seed in seeds:
        for name, arm in arms.items():  # one by one: what has ended stays
            results = train_arms(
                {name: arm}, work / "cells", data=data, minutes=minutes, seed=seed, device=device
            )
            found.setdefault(name, []).append(results[name])
    report = {
        "date": date.today().isoformat(),
        "machine": machine(device),
        "minutes": minutes,
        "seeds": list(seeds),
        "patients": {"training": len(training), "validation": len(validation)},
        "changes": {name: _summary(cells) for name, cells in found.items()},
    }
    with atomic_path(work / "results.json") as path:
        path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print_table(report)
    return report


def _arm(
    training: Sequence[Case], validation: Sequence[Case], labels: Mapping[str, tuple[int, ...]], name: str
) -> Arm:
    settings = BASE | CHANGES[name]
    cases = EvaluationCases(validation, labels=labels, text_level="simple")

    def samples(network: TextSegmenter, seed: int) -> OrganSlices:
        return OrganSlices(
            training,
            labels=labels,
            network=network,
            length=10**6,
            prompts_per_slice=len(labels),
            text_level="simple",
            seed=seed,
            progress=False,
        )

    return Arm(
        network=lambda: MedVLM.from_preset("compact", **settings),
        samples=samples,
        objective=PromptObjective("prompt", with_competition(len(labels))),
        recipe=Recipe(BATCH),
        asked=lambda _: {VALIDATION: cases},
        settings={"preset": settings},
        boundaries=("surfel",),
    )


def _summary(cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    rows: list[Row] = [row for cell in cells for row in cell["rows"][VALIDATION]]
    patients = list(dict.fromkeys(row["case"] for row in rows))
    means = [np.nanmean([float(row["dsc"]) for row in rows if row["case"] == case]) for case in patients]
    by_organ = summarise(rows)["labels"]
    hd95 = [float(row["surfel_hd95_mm"]) for row in rows]
    return {
        "dsc": describe(np.array(means)),
        "dsc_by_seed": [
            float(np.nanmean([float(row["dsc"]) for row in cell["rows"][VALIDATION]])) for cell in cells
        ],
        "hd95_median_mm": float(np.nanmedian([value for value in hd95 if np.isfinite(value)])),
        "organs": {organ: values["metrics"]["dsc"]["mean"] for organ, values in by_organ.items()},
        "slices_per_s": float(np.mean([cell["training"]["slices_per_s"] for cell in cells])),
        "steps": float(np.mean([cell["training"]["steps"] for cell in cells])),
    }


def print_table(report: Mapping[str, Any]) -> None:
    """Scores and speed as a Markdown table."""
    changes = report["changes"]
    organs = list(next(iter(changes.values()))["organs"])
    print("| change | Dice | median HD95 mm | steps | slices/s | " + " | ".join(organs) + " |")
    print("|---|" + "---|" * (4 + len(organs)))
    for name, row in changes.items():
        cells = [with_interval(row["dsc"]), f"{row['hd95_median_mm']:.1f}"]
        cells += [f"{row['steps']:.0f}", f"{row['slices_per_s']:.0f}"]
        cells += [f"{row['organs'][organ]:.3f}" for organ in organs]
        print(f"| {name} | " + " | ".join(cells) + " |")

"""Do words cost accuracy? Med-VLM compact beside MONAI's image-only UNet on real CT, at equal time."""

import json
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from common.data.datalist import Case, load_datalist, load_label_values
from common.data.evaluation_cases import EvaluationCases
from common.data.organ_slices import OrganSlices
from common.files import atomic_path
from common.losses import PromptCompetition, WeightedSum
from common.metrics import describe, summarise, with_interval
from common.metrics.segmentation import Row
from common.networks.base import TextSegmenter
from common.networks.medvlm.network import MedVLM
from common.training import Augmentation
from common.weights.checkpoints import save_trained
from tools.prepare.openkbp import prepare

from .image_only import ImageOnlyUNet
from .training import Training, dice_and_bce, machine, score, train_in_turns

IMAGE_SIZE = 128  # the data's own: a spinal cord is three pixels wide
BATCH = 4
METRICS = {"dsc": "Dice", "surfel_hd95_mm": "HD95 mm", "surfel_assd_mm": "ASSD mm"}
DIGITS = {"dsc": 3, "surfel_hd95_mm": 1, "surfel_assd_mm": 1}
UNET = "UNet (image only)"


class Arm(NamedTuple):
    """A network of the comparison, and the level of its texts."""

    network: TextSegmenter
    level: str


def run(source: Path, work: Path, *, minutes: float, seeds: Sequence[int], device: str) -> dict[str, Any]:
    """Train all networks for each seed, segment the test patients, print tables and write `results.json`.

    Returns:
        What `results.json` holds.
    """
    datalist = source / "datalist.json"
    if not datalist.is_file():  # as the challenge gives it
        prepare(source, work / "data")
        datalist = work / "data" / "datalist.json"
    labels = load_label_values(datalist)
    training, test = load_datalist(datalist, "training"), load_datalist(datalist, "test")
    rows: dict[str, list[list[Row]]] = {}
    facts: dict[str, dict[str, dict[str, float]]] = {}
    for seed in seeds:
        arms = build(list(labels), seed=seed)
        trainings = {
            name: Training(
                arm.network,
                slices_of(training, arm, labels=labels, seed=seed),
                words="target" if name == UNET else "prompt",
                minutes=minutes,
                device=torch.device(device),
                batch_size=BATCH,
                augmentation=Augmentation(seed=seed),
                loss=None if name == UNET else with_competition(len(labels)),
            )
            for name, arm in arms.items()
        }
        train_in_turns(list(trainings.values()))
        for name, arm in arms.items():
            folder = (
                work / f"seed{seed}" / name.split("(")[0].strip().replace(" ", "-").replace(",", "").lower()
            )
            save_trained(arm.network, folder / "model.pt", half=False)
            cases = EvaluationCases(test, labels=labels, text_level=arm.level)
            rows.setdefault(name, []).append(score(arm.network, cases, by_name=name == UNET))
            facts.setdefault(name, {})[str(seed)] = trainings[name].facts()
        report = {
            "date": date.today().isoformat(),
            "machine": machine(device),
            "minutes": minutes,
            "seeds": list(seeds)[: len(rows[UNET])],
            "patients": {"training": len(training), "test": len(test)},
            "training": facts,
            **compare(rows),
        }
        with atomic_path(work / "results.json") as path:
            path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print_tables(report)
    return report


def build(organs: Sequence[str], *, seed: int) -> dict[str, Arm]:
    """The UNet, and Med-VLM with no words, with names and with descriptions (Table 2 of the paper)."""
    torch.manual_seed(seed)
    arms = {UNET: Arm(ImageOnlyUNet(organs, image_size=IMAGE_SIZE), "simple")}
    for level, title in (("none", "no words"), ("simple", "names"), ("complex", "descriptions")):
        arms[f"Med-VLM compact, {title}"] = Arm(MedVLM.from_preset("compact", image_size=IMAGE_SIZE), level)
    return arms


def with_competition(prompts: int) -> nn.Module:
    """Med-VLM's loss; the UNet, which has no prompts that could compete, keeps Dice + BCE."""
    return WeightedSum({"masks": dice_and_bce(), "competition": PromptCompetition(prompts)})


def slices_of(
    cases: list[Case], arm: Arm, *, labels: Mapping[str, tuple[int, ...]], seed: int
) -> OrganSlices:
    """The same slices and organs in the same order for every network; each is asked for all organs."""
    return OrganSlices(
        cases,
        labels=labels,
        network=arm.network,
        length=len(cases) * 100,
        prompts_per_slice=len(labels),
        text_level=arm.level,
        level_block=BATCH,
        seed=seed,
        progress=False,
    )


def compare(rows: Mapping[str, Sequence[Sequence[Row]]]) -> dict[str, Any]:
    """Scores of each network and how they differ from the UNet's, from rows (seeds, patients and organs).

    A patient's score is the mean over organs and seeds; 95 % intervals are bootstraps over patients.
    """
    scores = {
        name: {metric: _by_patient(seeds, metric) for metric in METRICS} for name, seeds in rows.items()
    }
    return {
        "networks": {
            name: {
                **{metric: describe(values.mean(axis=0)) for metric, values in of_network.items()},
                "dsc_by_seed": of_network["dsc"].mean(axis=1).tolist(),
                "organs": {
                    organ: values["metrics"]["dsc"]["mean"]
                    for organ, values in summarise([row for seed in rows[name] for row in seed])[
                        "labels"
                    ].items()
                },
                "missed": sum(row["status"] == "missed" for seed in rows[name] for row in seed),
            }
            for name, of_network in scores.items()
        },
        "differences": {
            f"{name} - {UNET}": {
                metric: describe((scores[name][metric] - scores[UNET][metric]).mean(axis=0))
                for metric in METRICS
            }
            for name in rows
            if name != UNET
        },
    }


def _by_patient(seeds: Sequence[Sequence[Row]], metric: str) -> np.ndarray:
    """(seeds, patients) means over organs; a distance leaves out organs that were missed."""
    patients = list(dict.fromkeys(row["case"] for row in seeds[0]))
    values = np.full((len(seeds), len(patients)), np.nan)
    for seed, rows in enumerate(seeds):
        for index, patient in enumerate(patients):
            of_patient = np.array([float(row[metric]) for row in rows if row["case"] == patient])
            finite = of_patient[np.isfinite(of_patient)]
            values[seed, index] = finite.mean() if len(finite) else np.nan
    return values


def print_tables(report: Mapping[str, Any]) -> None:
    """Scores, organs, differences and speed as Markdown tables."""
    networks = report["networks"]
    print("| network | " + " | ".join(METRICS.values()) + " | missed | Dice by seed | steps | slices/s |")
    print("|---|" + "---|" * (len(METRICS) + 4))
    for name, row in networks.items():
        training = list(report["training"][name].values())
        steps, speed = (np.mean([seed[key] for seed in training]) for key in ("steps", "slices_per_s"))
        by_seed = ", ".join(f"{value:.3f}" for value in row["dsc_by_seed"])
        cells = [with_interval(row[metric], digits=DIGITS[metric]) for metric in METRICS]
        print(f"| {name} | {' | '.join(cells)} | {row['missed']} | {by_seed} | {steps:.0f} | {speed:.0f} |")
    print("\n| organ (Dice) | " + " | ".join(networks) + " |\n|---|" + "---|" * len(networks))
    for organ in networks[UNET]["organs"]:
        print(f"| {organ} | " + " | ".join(f"{row['organs'][organ]:.3f}" for row in networks.values()) + " |")
    print("\n| difference | " + " | ".join(METRICS.values()) + " |\n|---|" + "---|" * len(METRICS))
    for name, row in report["differences"].items():
        print(
            f"| {name} | "
            + " | ".join(with_interval(row[metric], sign="+", digits=DIGITS[metric]) for metric in METRICS)
            + " |"
        )

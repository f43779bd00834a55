"""Do words help? LSMS with and without its sentences, beside an image-only UNet, on real chest X-rays."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from common.checkpoints import save_trained
from common.data.organ_slices import collate_slices
from common.data.referring import ReferringItem, load_referring
from common.data.referring_samples import TARGET, ReferringCases, ReferringPictures, in_own_grid
from common.files import atomic_path
from common.metrics import describe
from common.metrics.overlap import Counts
from common.networks import LSMS
from common.networks.base import TextSegmenter
from tools.prepare.qata import prepare

from .image_only import ImageOnlyUNet
from .training import Training, augmentation, machine, train_in_turns

BATCH = 8
SIDES = {"compact": 128, "paper_t": 480}  # at 192 pixels, compact's own, minutes would be too few steps
RESAMPLES = 2000
WITH, WITHOUT, SHUFFLED, UNET = "LSMS, its sentence", "LSMS, no text", "LSMS, shuffled sentences", "UNet"
SWAPPED = "LSMS, another picture's sentence at the test"
# First minus second: what is said of the paper's claim.
DIFFERENCES = ((WITH, WITHOUT), (WITH, SHUFFLED), (WITH, UNET), (WITHOUT, UNET), (WITH, SWAPPED))


class Arm(NamedTuple):
    """A network of the comparison: what builds it, and which words it is given (a key of a batch)."""

    network: TextSegmenter
    words: str


def run(source: Path, work: Path, *, minutes: float, seeds: Sequence[int], device: str) -> dict[str, Any]:
    """Train all networks for each seed, segment the test pictures, print tables and write `results.json`.

    Returns:
        What `results.json` holds: for each network `describe` of Dice and IoU per picture (over seeds and
        pictures), their pooled values, and the paired differences.
    """
    prepare(source, work / "data")
    datalist = work / "data" / "datalist.json"
    training, test = load_referring(datalist, "training"), load_referring(datalist, "test")
    counts: dict[str, np.ndarray] = {}
    facts: dict[str, dict[str, dict[str, float]]] = {}
    for seed in seeds:
        trainings = build(training, minutes=minutes, seed=seed, device=device)
        train_in_turns(list(trainings.values()))
        for name, done in trainings.items():
            folder = work / f"seed{seed}" / name.replace(",", "").replace(" ", "-").lower()
            save_trained(done.network, folder / "model.pt", half=False)
            facts.setdefault(name, {})[str(seed)] = done.facts()
            _append(counts, name, segment(done.network, test, words=done.words))
        _append(counts, SWAPPED, segment(trainings[WITH].network, shuffled(test, seed), words="prompt"))
        report = {
            "date": date.today().isoformat(),
            "machine": machine(device),
            "minutes": minutes,
            "seeds": [seed for seed in seeds if str(seed) in facts[WITH]],
            "pictures": {"training": len(training), "test": len(test)},
            "training": facts,
            **compare(counts),
        }
        with atomic_path(work / "results.json") as path:
            path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print_tables(report)
    return report


def build(
    training: Sequence[ReferringItem], *, minutes: float, seed: int, device: str
) -> dict[str, Training]:
    """The four trainings of a seed. On a GPU LSMS is the preset `paper_t`, else `compact`."""
    preset = "paper_t" if device.startswith("cuda") else "compact"
    size = SIDES[preset]
    torch.manual_seed(seed)
    networks = {
        WITH: Arm(LSMS.from_preset(preset, image_size=size), "prompt"),
        WITHOUT: Arm(LSMS.from_preset(preset, image_size=size, language=False), "target"),
        SHUFFLED: Arm(LSMS.from_preset(preset, image_size=size), "prompt"),
    }
    networks[UNET] = Arm(ImageOnlyUNet([TARGET], image_size=size), "target")
    return {
        name: Training(
            arm.network,
            ReferringPictures(
                shuffled(training, seed) if name == SHUFFLED else training,
                size=size,
                transform=augmentation(),
                seed=seed,
                progress=False,
            ),
            words=arm.words,
            minutes=minutes,
            device=torch.device(device),
            batch_size=BATCH,
        )
        for name, arm in networks.items()
    }


def shuffled(items: Sequence[ReferringItem], seed: int) -> list[ReferringItem]:
    """The same pictures with one another's sentences; how often each sentence occurs stays the same."""
    order = np.random.default_rng(seed).permutation(len(items))
    return [
        dataclasses.replace(item, prompts=items[other].prompts)
        for item, other in zip(items, order, strict=True)
    ]


@torch.no_grad()
def segment(network: TextSegmenter, items: Sequence[ReferringItem], *, words: str) -> np.ndarray:
    """(pictures, 3) pixels in both, in the prediction only and in the reference only, in the files' grids."""
    network.eval()
    device = next(network.parameters()).device
    cases = ReferringCases(items, size=network.image_size)
    counts = []
    for index in range(len(cases)):
        batch = collate_slices([cases[index]])
        truth = batch["label"][0, 0] > 0
        logits = network(batch["image"].to(device), batch[words])
        mask = in_own_grid(logits, truth.shape)[0, 0].cpu()
        counts.append([int(part.sum()) for part in (mask & truth, mask & ~truth, truth & ~mask)])
    return np.array(counts)


def compare(counts: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Scores of each network and differences between them, from pixel counts (seeds, pictures, 3).

    A picture's score is its mean over the seeds; 95 % intervals are bootstraps over pictures. Pooled scores
    take all pictures as one, and resample pictures as well.
    """
    values = {name: overlaps(of_seeds) for name, of_seeds in counts.items()}
    pairs = [(a, b) for a, b in DIFFERENCES if a in counts and b in counts]
    return {
        "networks": {
            name: {
                "dice": describe(dice.mean(axis=0)),
                "iou": describe(iou.mean(axis=0)),
                "dice_by_seed": dice.mean(axis=1).tolist(),
                "pooled_dice": pooled(counts[name], 0),
                "pooled_iou": pooled(counts[name], 1),
            }
            for name, (dice, iou) in values.items()
        },
        "differences": {
            f"{a} - {b}": {
                "dice": describe((values[a][0] - values[b][0]).mean(axis=0)),
                "iou": describe((values[a][1] - values[b][1]).mean(axis=0)),
                "dice_by_seed": (values[a][0] - values[b][0]).mean(axis=1).tolist(),
            }
            for a, b in pairs
        },
    }


def overlaps(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Dice and IoU of counts (..., 3), each (...); a miss is 0."""
    rows = [Counts(*map(int, row)).overlap() for row in counts.reshape(-1, 3)]
    dice, iou = (np.array([row[name] for row in rows]).reshape(counts.shape[:-1]) for name in ("dsc", "iou"))
    return dice, iou


def pooled(counts: np.ndarray, score: int) -> dict[str, Any]:
    """Dice (0) or IoU (1) of all (seeds, pictures, 3) as one, mean over seeds, with its interval."""
    pictures = counts.shape[1]
    draws = np.random.default_rng(0).integers(0, pictures, (RESAMPLES, pictures))
    resampled = counts[:, draws].sum(axis=2)  # (seeds, resamples, 3)
    low, high = np.percentile(overlaps(resampled)[score].mean(axis=0), (2.5, 97.5)).tolist()
    return {"mean": float(overlaps(counts.sum(axis=1))[score].mean()), "ci95": [low, high]}


def print_tables(report: Mapping[str, Any]) -> None:
    """Scores, differences and speed as Markdown tables."""
    print("| | Dice per picture | IoU per picture | pooled Dice | pooled IoU | Dice by seed |")
    print("|---|---|---|---|---|---|")
    for name, row in report["networks"].items():
        cells = [_with_interval(row[key]) for key in ("dice", "iou", "pooled_dice", "pooled_iou")]
        print(f"| {name} | " + " | ".join([*cells, _by_seed(row["dice_by_seed"], "")]) + " |")
    print("\n| difference | Dice per picture | IoU per picture | Dice by seed |\n|---|---|---|---|")
    for name, row in report["differences"].items():
        cells = [_with_interval(row[key], sign="+") for key in ("dice", "iou")]
        print(f"| {name} | " + " | ".join([*cells, _by_seed(row["dice_by_seed"], "+")]) + " |")
    print("\n| | steps | pictures/s in training |\n|---|---|---|")
    for name, seeds in report["training"].items():
        steps, speed = (np.mean([row[key] for row in seeds.values()]) for key in ("steps", "slices_per_s"))
        print(f"| {name} | {steps:.0f} | {speed:.0f} |")


def _with_interval(value: Mapping[str, Any], sign: str = "") -> str:
    low, high = value["ci95"]
    return f"{value['mean']:{sign}.3f} ({low:{sign}.3f} to {high:{sign}.3f})"


def _by_seed(values: Sequence[float], sign: str) -> str:
    return ", ".join(f"{value:{sign}.3f}" for value in values)


def _append(counts: dict[str, np.ndarray], name: str, of_seed: np.ndarray) -> None:
    before = counts.get(name, np.empty((0, *of_seed.shape), dtype=int))
    counts[name] = np.concatenate([before, of_seed[None]])

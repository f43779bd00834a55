"""Arms that learn lesions of images from sentences, beside an opponent that is given none."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from common.data.datalist import Case
from common.data.evaluation_cases import EvaluationCases
from common.data.sentence_draws import ReferringImages
from common.files import atomic_path
from common.metrics.overlap import COUNT_NAMES
from common.metrics.segmentation import Row
from common.networks.base import TextSegmenter

from .arms import Arm, train_arms
from .image_scores import compare, print_tables
from .objectives import PromptObjective, dice_and_bce
from .training import Recipe, machine
from .tuning import Opponent, Setting, converge, convergence_facts, print_search, search

BATCH = 8

Items = Callable[[int], Sequence[Case]]  # of a seed
Questions = Callable[[int], Mapping[str, Sequence[Case]]]  # of a seed, by the names that tables give them


def image_arm(
    network: Callable[[], TextSegmenter],
    *,
    words: str,
    items: Items,
    asked: Questions,
    turns: str = "none",
    learning_rate: float,
    batch_dice: bool = False,
    settings: Mapping[str, Any],
) -> Arm:
    """An arm that learns one lesion mask an image.

    Args:
        network: see `Arm`.
        words: which words it is given: "prompt", or "target" for bare names (a key of a batch).
        items: what it learns from.
        asked: what it is asked; all questions are about the same images.
        turns: see `Augmentation`.
        learning_rate: at its highest.
        batch_dice: see `dice_and_bce`.
        settings: see `Arm`.
    """
    return Arm(
        network=network,
        samples=lambda built, seed: ReferringImages(items(seed), network=built, seed=seed, progress=False),
        objective=PromptObjective(words, dice_and_bce(batch_dice=batch_dice)),
        recipe=Recipe(BATCH, learning_rate),
        asked=lambda seed: {name: EvaluationCases(cases) for name, cases in asked(seed).items()},
        settings={"words": words, "batch_dice": batch_dice, **settings},
        by_name=words == "target",
        turns=turns,
        keep_masks=True,
    )


def run_arms(
    arms: Callable[[Setting], Mapping[str, Arm]],
    opponent: Opponent,
    test: Sequence[Case],
    work: Path,
    *,
    data: str,
    minutes: float,
    cap_minutes: float,
    seeds: Sequence[int],
    differences: Sequence[tuple[str, str]],
    about: Mapping[str, Any],
    device: str,
) -> dict[str, Any]:
    """Tune the opponent, train all arms for each seed, ask them, print tables and write results.json.

    What `work` has the results of is not trained again.

    Args:
        arms: by name, for the opponent's best setting.
        opponent: whose settings are searched.
        test: the images that all questions are about.
        work: folder of cells, weights and results.json, which is written after each seed.
        data: hash, see `Arm.cell`.
        minutes: of training for each arm and seed.
        cap_minutes: of the run to convergence; 0 leaves it out.
        seeds: of weights and draws.
        differences: pairs of questions' names, see `compare`.
        about: what else the results say, such as how many images there are.
        device: cpu or cuda.

    Returns:
        What `results.json` holds, among it what `compare` gives.
    """
    cells = work / "cells"
    winner = search(opponent, cells, data=data, minutes=minutes, device=device)
    report: dict[str, Any] = {
        "date": date.today().isoformat(),
        "machine": machine(device),
        "minutes": minutes,
        **about,
        "search": winner.report,
    }
    counts: dict[str, list[np.ndarray]] = {}
    facts: dict[str, dict[str, dict[str, float]]] = {}
    if cap_minutes:
        times = {"minutes": minutes, "cap_minutes": cap_minutes}
        long = converge(opponent, winner.setting, cells, data=data, device=device, **times)
        report["convergence"] = convergence_facts(long, cap_minutes=cap_minutes)
        facts[opponent.converged] = {str(long["settings"]["seed"]): long["training"]}
        counts[opponent.converged] = [counts_of(rows, test) for rows in long["rows"].values()]
    built = arms(winner.setting)
    for done, seed in enumerate(seeds, start=1):
        found = train_arms(built, cells, data=data, minutes=minutes, seed=seed, device=device, weights=work)
        for name, result in found.items():
            facts.setdefault(name, {})[str(seed)] = result["training"]
            for question, rows in result["rows"].items():
                counts.setdefault(question, []).append(counts_of(rows, test))
        stacked = {name: np.stack(of_seeds) for name, of_seeds in counts.items()}
        patients = [item.patient for item in test]
        report |= {
            "seeds": list(seeds[:done]),
            "training": facts,
            **compare(stacked, patients, differences),
        }
        with atomic_path(work / "results.json") as path:
            path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print_tables(report)
    print_search(report["search"], report.get("convergence"))
    return report


def counts_of(rows: Sequence[Row], items: Sequence[Case]) -> np.ndarray:
    """(images, 3) pixels in both, in the prediction only and in the reference only, in the files' grids."""
    found = {row["case"]: [row[name] for name in COUNT_NAMES] for row in rows}
    return np.array([found[item.case] for item in items])

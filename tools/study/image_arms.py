"""Networks trained on the same images for the same time, seed by seed, and asked about the same test."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from common.data.datalist import Case
from common.data.evaluation_cases import EvaluationCases
from common.data.sentence_draws import ReferringImages
from common.files import atomic_path
from common.metrics.overlap import COUNT_NAMES
from common.networks.base import TextSegmenter
from common.training import Augmentation
from common.weights.checkpoints import save_trained

from .image_scores import compare, print_tables
from .training import Training, machine, score, train_in_turns

BATCH = 8


class Arm(NamedTuple):
    """A network of a comparison.

    Attributes:
        network: to be trained.
        words: which words it is given: "prompt", or "target" for bare names (a key of a batch).
        items: what it learns from.
        turns: see `Augmentation`.
    """

    network: TextSegmenter
    words: str
    items: Sequence[Case]
    turns: str = "none"


class Question(NamedTuple):
    """What is asked at the test: a trained arm, by its name, about items with these prompts."""

    arm: str
    items: Sequence[Case]


def trainings(
    arms: Mapping[str, Arm], *, minutes: float, seed: int, device: str, learning_rate: float = 1e-3
) -> dict[str, Training]:
    """A training of equal time for each arm; all draw their images in one order."""
    return {
        name: Training(
            arm.network,
            ReferringImages(arm.items, network=arm.network, seed=seed, progress=False),
            words=arm.words,
            minutes=minutes,
            device=torch.device(device),
            batch_size=BATCH,
            augmentation=Augmentation(seed=seed, turns=arm.turns, keep_masks=True),
            learning_rate=learning_rate,
        )
        for name, arm in arms.items()
    }


def run_arms(
    build: Callable[[int], dict[str, Training]],
    questions: Callable[[int], dict[str, Question]],
    work: Path,
    *,
    seeds: Sequence[int],
    differences: Sequence[tuple[str, str]],
    about: Mapping[str, Any],
    device: str,
) -> dict[str, Any]:
    """Train all arms for each seed, ask them, print tables and write `work`/results.json after each seed.

    Args:
        build: the trainings of a seed, by the arms' names.
        questions: of a seed, by the names that tables give their answers. All are about the same images.
        differences: pairs of these names, see `compare`.
        about: what else the results say, such as the minutes.

    Returns:
        What `results.json` holds, among it what `compare` gives.
    """
    counts: dict[str, np.ndarray] = {}
    facts: dict[str, dict[str, dict[str, float]]] = {}
    done_seeds: list[int] = []
    report: dict[str, Any] = {}
    for seed in seeds:
        built = build(seed)
        train_in_turns(list(built.values()))
        for name, done in built.items():
            folder = work / f"seed{seed}" / name.replace(",", "").replace(" ", "-").lower()
            save_trained(done.network, folder / "model.pt", half=False)
            facts.setdefault(name, {})[str(seed)] = done.facts()
        asked = questions(seed)
        for name, question in asked.items():
            of_arm = built[question.arm]
            _append(counts, name, segment(of_arm.network, question.items, words=of_arm.words))
        done_seeds.append(seed)
        patients = [item.patient for item in next(iter(asked.values())).items]
        report = {
            "date": date.today().isoformat(),
            "machine": machine(device),
            "seeds": list(done_seeds),
            **about,
            "training": facts,
            **compare(counts, patients, differences),
        }
        with atomic_path(work / "results.json") as path:
            path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print_tables(report)
    return report


def segment(network: TextSegmenter, items: Sequence[Case], *, words: str) -> np.ndarray:
    """(images, 3) pixels in both, in the prediction only and in the reference only, in the files' grids."""
    rows = score(network, EvaluationCases(items), by_name=words == "target", boundaries=())
    found = {row["case"]: [row[name] for name in COUNT_NAMES] for row in rows}
    return np.array([found[item.case] for item in items])


def _append(counts: dict[str, np.ndarray], name: str, of_seed: np.ndarray) -> None:
    before = counts.get(name, np.empty((0, *of_seed.shape), dtype=int))
    counts[name] = np.concatenate([before, of_seed[None]])

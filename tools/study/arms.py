"""Arms of a study: networks that are trained for equal time, in turns, and asked about the same test."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from common.data.evaluation_cases import EvaluationCases
from common.metrics.distances import Boundary
from common.networks.base import TextSegmenter
from common.training import Augmentation
from common.weights.checkpoints import save_trained

from .cells import Cell, slug
from .objectives import Objective
from .training import Recipe, Samples, Training, score, train_in_turns


@dataclass(frozen=True)
class Arm:
    """A way to train a network, and what it is asked then.

    Attributes:
        network: makes it, untrained; torch is seeded before.
        samples: what it learns from, for the network and a seed.
        objective: its loss.
        recipe: how it learns.
        asked: for a seed the questions by name, each about the same cases.
        settings: what else its result depends on, for the key of its cell.
        by_name: whether it is asked by bare names, as image-only networks are.
        turns, keep_masks: of its images, see `Augmentation`.
        boundaries: whose distances are measured, see `measure_case`.
    """

    network: Callable[[], TextSegmenter]
    samples: Callable[[TextSegmenter, int], Samples]
    objective: Objective
    recipe: Recipe
    asked: Callable[[int], Mapping[str, EvaluationCases]]
    settings: Mapping[str, Any] = field(default_factory=dict)
    by_name: bool = False
    turns: str = "none"
    keep_masks: bool = False
    boundaries: Sequence[Boundary] = ()

    def cell(self, folder: Path, name: str, *, data: str, minutes: float, seed: int, device: str) -> Cell:
        """Where its result is kept; `data` is the hash of what it learns from and is asked about."""
        settings = {
            "arm": name,
            "seed": seed,
            "minutes": minutes,
            "data": data,
            "device": torch.device(device).type,
            "recipe": asdict(self.recipe),
            "turns": self.turns,
            "boundaries": list(self.boundaries),
            **self.settings,
        }
        return Cell(folder, f"{name}-seed{seed}", settings)

    def training(self, *, minutes: float, seed: int, device: str, snapshot: Path | None = None) -> Training:
        """A training of a fresh network."""
        torch.manual_seed(seed)  # of each arm by itself: which others there are changes nothing
        network = self.network()
        return Training(
            network,
            self.samples(network, seed),
            augmentation=Augmentation(seed=seed, turns=self.turns, keep_masks=self.keep_masks),
            objective=self.objective,
            recipe=self.recipe,
            minutes=minutes,
            device=torch.device(device),
            snapshot=snapshot,
        )

    def result(self, done: Training, seed: int) -> dict[str, Any]:
        """Facts of a training, and for each question the rows of its network."""
        rows = {
            name: score(done.network, cases, by_name=self.by_name, boundaries=self.boundaries)
            for name, cases in self.asked(seed).items()
        }
        return {"training": done.facts(), "rows": rows}


def train_arms(
    arms: Mapping[str, Arm],
    folder: Path,
    *,
    data: str,
    minutes: float,
    seed: int,
    device: str,
    weights: Path | None = None,
) -> dict[str, dict[str, Any]]:
    """The results of arms for a seed: what `folder` has not is trained, all in turns.

    Args:
        arms: by name.
        folder: of the cells.
        data: see `Arm.cell`.
        minutes: of training for each.
        seed: of weights and draws.
        device: cpu or cuda.
        weights: folder for the networks; None keeps none.

    Returns:
        For each arm what its cell holds: `settings`, `training` (facts) and `rows` by question.
    """
    cells = {
        name: arm.cell(folder, name, data=data, minutes=minutes, seed=seed, device=device)
        for name, arm in arms.items()
    }
    found = {name: cell.read() for name, cell in cells.items()}
    trainings = {
        name: arms[name].training(minutes=minutes, seed=seed, device=device, snapshot=cells[name].snapshot)
        for name, result in found.items()
        if result is None
    }
    train_in_turns(list(trainings.values()))
    for name in list(trainings):
        done = trainings.pop(name)  # lets go of the network
        if weights is not None:
            save_trained(done.network, weights / f"seed{seed}" / slug(name) / "model.pt", half=False)
        found[name] = cells[name].write(arms[name].result(done, seed))
    return {name: result for name, result in found.items() if result is not None}

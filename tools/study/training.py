"""A plain training loop with a time budget, and scores on whole cases, the same for every network of a study.

Scores come from the inferer that users run, and are those of each prompt's own mask.
"""

import math
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any, Literal

import torch
from tqdm import tqdm

from common.data.draws import collate_slices
from common.data.evaluation_cases import EvaluationCase, EvaluationCases
from common.data.organ_slices import OrganSlices
from common.data.sentence_draws import ReferringImages
from common.errors import InputError
from common.files import atomic_path
from common.inference import VolumeInferer
from common.metrics.distances import Boundary
from common.metrics.prompts import measure_prompts
from common.metrics.segmentation import Row
from common.networks.base import TextSegmenter
from common.training import Augmentation

from .objectives import Objective

TURNS = 30  # of each network, one after the other, so that a machine that is busy for a while slows all alike

Samples = OrganSlices | ReferringImages
Decay = Literal["cosine", "power", "none"]

# Share of the time that is over -> share of the learning rate. "cosine" rises for 3 % of the time first.
DECAYS: dict[Decay, Callable[[float], float]] = {
    "cosine": lambda share: min(share / 0.03, 0.5 * (1 + math.cos(math.pi * share))),
    "power": lambda share: (1 - min(share, 1.0)) ** 0.9,
    "none": lambda share: 1.0,
}


@dataclass(frozen=True)
class Recipe:
    """How a network learns.

    Attributes:
        batch_size: slices a step.
        learning_rate: at its highest.
        optimizer: AdamW, or SGD with Nesterov momentum of 0.99.
        decay: how the learning rate falls over the time, see DECAYS.
        weight_decay: of the optimizer.
        clip: the largest norm of the gradient.
    """

    batch_size: int
    learning_rate: float = 1e-3
    optimizer: Literal["adamw", "sgd"] = "adamw"
    decay: Decay = "cosine"
    weight_decay: float = 0.01
    clip: float = 1.0


class Training:
    """Trains a network for a stated time, in turns.

    Args:
        network: moved to `device`.
        dataset: where slices or images are drawn from: step i takes the draws from i * batch size on.
        augmentation: of the batches.
        objective: the loss of the network on a batch.
        recipe: how it learns.
        minutes: of training, the turns of others left out: on a CPU those that the process computed, so that
            a busy machine takes nothing from any network, on a GPU by the clock.
        device: to train on.
        snapshot: file that holds the state after each turn, and that a broken training goes on from.

    Attributes:
        slowed: what the learning rate is multiplied by, beside its decay.

    Raises:
        InputError: fewer draws in an epoch than a batch takes.
    """

    def __init__(
        self,
        network: TextSegmenter,
        dataset: Samples,
        *,
        augmentation: Augmentation,
        objective: Objective,
        recipe: Recipe,
        minutes: float,
        device: torch.device,
        snapshot: Path | None = None,
    ) -> None:
        if len(dataset) < recipe.batch_size:
            raise InputError(
                f"training: found {len(dataset)} images, expected at least {recipe.batch_size}, one batch; "
                "give more data."
            )
        self.network = network.to(device)
        self.recipe = recipe
        self.budget_s = minutes * 60
        self.device = device
        self.elapsed_s = 0.0
        self.slowed = 1.0
        self.snapshot = snapshot
        self._now = time.process_time if device.type == "cpu" else time.monotonic
        self.losses: list[float] = []
        self._dataset = dataset
        self._augmentation = augmentation
        self._objective = objective
        self._parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        self._optimizer = _optimizer(self._parameters, recipe)
        self._batches = _batches(dataset, recipe.batch_size, first_step=0)
        if snapshot is not None and snapshot.is_file():
            self.restore(torch.load(snapshot, map_location=device, weights_only=True))

    def take_turn(self, bar: tqdm) -> None:
        """Train for one of TURNS parts of the budget; the network is left in eval mode."""
        self.train_for(self.budget_s / TURNS, bar)
        if self.snapshot is not None:
            save_state(self.state(), self.snapshot)

    def train_for(self, seconds: float, bar: tqdm) -> None:
        """Train for a time, or what is left of the budget; the network is left in eval mode."""
        self.network.train()
        begin, before = self._now(), self.elapsed_s
        end = min(before + seconds, self.budget_s)
        while self.elapsed_s < end:
            self._step()
            self.elapsed_s = before + self._now() - begin
            bar.set_description(f"{type(self.network).__name__} loss {self.losses[-1]:.2f}", refresh=False)
        bar.update(min(self.elapsed_s, self.budget_s) - before)
        self.network.eval()

    def _step(self) -> None:
        decay = DECAYS[self.recipe.decay](self.elapsed_s / self.budget_s)
        for group in self._optimizer.param_groups:
            group["lr"] = self.recipe.learning_rate * decay * self.slowed
        batch = next(self._batches)
        image, label = (batch[key].to(self.device) for key in ("image", "label"))
        image, label = self._augmentation(image, label, batch)
        loss = self._objective(self.network, {**batch, "image": image, "label": label})
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._parameters, self.recipe.clip)
        self._optimizer.step()
        self.losses.append(loss.item())

    def state(self) -> dict[str, Any]:
        """What `restore` goes on from: weights, optimizer, time and losses."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "elapsed_s": self.elapsed_s,
            "slowed": self.slowed,
            "losses": self.losses,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave, with the draws that follow."""
        self.network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.elapsed_s, self.slowed, self.losses = state["elapsed_s"], state["slowed"], state["losses"]
        self._batches = _batches(self._dataset, self.recipe.batch_size, first_step=len(self.losses))

    def facts(self) -> dict[str, float]:
        """Minutes, steps, slices a second, and the mean loss of the last tenth of the steps."""
        last = self.losses[-max(1, len(self.losses) // 10) :]
        speed = len(self.losses) * self.recipe.batch_size / self.elapsed_s
        return {
            "minutes": self.elapsed_s / 60,
            "steps": len(self.losses),
            "slices_per_s": speed,
            "loss": sum(last) / len(last),
        }


def save_state(state: dict[str, Any], path: Path) -> None:
    """Write tensors and numbers so that `torch.load` with `weights_only` reads them."""
    with atomic_path(path) as temporary:
        torch.save(state, temporary)


def _optimizer(parameters: list[torch.nn.Parameter], recipe: Recipe) -> torch.optim.Optimizer:
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(
            parameters,
            lr=recipe.learning_rate,
            momentum=0.99,
            nesterov=True,
            weight_decay=recipe.weight_decay,
        )
    return torch.optim.AdamW(parameters, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)


def _batches(dataset: Samples, batch_size: int, *, first_step: int) -> Iterator[dict[str, Any]]:
    for step in count(first_step):
        yield collate_slices([dataset[step * batch_size + place] for place in range(batch_size)])


def machine(device: str) -> str:
    """What the numbers were measured on."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name()
    return f"{torch.get_num_threads()} cores, {platform.machine()}, no GPU"


def train_in_turns(trainings: Sequence[Training]) -> None:
    """Give every training its budget, one turn after the other."""
    total = sum(training.budget_s for training in trainings)
    begun = sum(min(training.elapsed_s, training.budget_s) for training in trainings)
    with tqdm(total=total, initial=begun, unit="s") as bar:
        while any(training.elapsed_s < training.budget_s for training in trainings):
            for training in trainings:
                if training.elapsed_s < training.budget_s:  # one that was broken off may be ahead
                    training.take_turn(bar)


def score(
    network: TextSegmenter,
    cases: EvaluationCases,
    *,
    by_name: bool = False,
    boundaries: Sequence[Boundary] = ("surfel",),
) -> list[Row]:
    """A row of metrics for each case and prompt.

    The inferer leaves as many parts of a mask as the organ that words name has: where nothing is said, all.

    Args:
        by_name: ask by the bare names of the targets, which an image-only network takes, instead of words.
        boundaries: see `measure_case`.
    """
    inferer, rows = VolumeInferer(slice_batch=16), []
    for index in tqdm(range(len(cases)), desc="scoring", unit="case", leave=False):
        asked = _named(cases[index]) if by_name else cases[index]
        found = inferer(asked.image, network, asked.prompts, slice_index=asked.slice_index)
        rows += measure_prompts(asked, found, boundaries=boundaries).volumes
    return rows


def _named(asked: EvaluationCase) -> EvaluationCase:
    pairs = zip(asked.prompts, asked.targets, strict=True)
    return replace(asked, prompts=tuple(replace(prompt, text=target.name) for prompt, target in pairs))

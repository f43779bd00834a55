"""A plain training loop with a time budget, and scores on whole cases, the same for every network of a study.

Scores come from the inferer that users run, and are those of each prompt's own mask.
"""

import math
import platform
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from monai.losses import DiceCELoss
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from common.data.draws import EpochSampler, collate_slices
from common.data.evaluation_cases import EvaluationCase, EvaluationCases
from common.data.organ_slices import OrganSlices
from common.data.sentence_draws import ReferringImages
from common.errors import InputError
from common.inference import VolumeInferer
from common.metrics.distances import Boundary
from common.metrics.prompts import measure_prompts
from common.metrics.segmentation import Row
from common.networks.base import TextSegmenter
from common.training import Augmentation

TURNS = 30  # of each network, one after the other, so that a machine that is busy for a while slows all alike

Samples = OrganSlices | ReferringImages


class Training:
    """Trains a network with AdamW for a stated time, in turns.

    The learning rate rises for 3 % of the time, then falls as a cosine.

    Args:
        network: moved to `device`.
        dataset: where slices or images are drawn from.
        words: key of a batch whose strings are the text: "prompt", or "target" for bare names.
        minutes: of training, the turns of others left out: on a CPU those that the process computed, so that
            a busy machine takes nothing from any network, on a GPU by the clock.
        batch_size: slices a step.
        augmentation: of the batches.
        loss: of logits and masks; None is Dice + BCE.

    Raises:
        InputError: fewer draws in an epoch than a batch takes.
    """

    def __init__(
        self,
        network: TextSegmenter,
        dataset: Samples,
        *,
        words: str,
        minutes: float,
        device: torch.device,
        batch_size: int,
        augmentation: Augmentation,
        learning_rate: float = 1e-3,
        loss: nn.Module | None = None,
    ) -> None:
        if len(dataset) < batch_size:
            raise InputError(
                f"training: found {len(dataset)} images, expected at least {batch_size}, one batch; give "
                "more data."
            )
        self.network = network.to(device)
        self.words = words
        self.budget_s = minutes * 60
        self.device = device
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.elapsed_s = 0.0
        self._now = time.process_time if device.type == "cpu" else time.monotonic
        self.losses: list[float] = []
        self._augmentation = augmentation
        self._batches = _endless(dataset, batch_size)
        self._loss = loss or dice_and_bce()
        self._parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        self._optimizer = torch.optim.AdamW(self._parameters, lr=learning_rate, weight_decay=0.01)

    def take_turn(self, bar: tqdm) -> None:
        """Train for one of TURNS parts of the budget; the network is left in eval mode."""
        self.network.train()
        begin, before = self._now(), self.elapsed_s
        end = min(before + self.budget_s / TURNS, self.budget_s)
        while self.elapsed_s < end:
            self._step()
            self.elapsed_s = before + self._now() - begin
            bar.set_description(f"{type(self.network).__name__} loss {self.losses[-1]:.2f}", refresh=False)
        bar.update(self.elapsed_s - before)
        self.network.eval()

    def _step(self) -> None:
        share = self.elapsed_s / self.budget_s
        for group in self._optimizer.param_groups:
            group["lr"] = self.learning_rate * min(share / 0.03, 0.5 * (1 + math.cos(math.pi * share)))
        batch = next(self._batches)
        image, label = (batch[key].to(self.device) for key in ("image", "label"))
        image, label = self._augmentation(image, label, batch)
        loss = self._loss(self.network(image, batch[self.words]), label)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._parameters, 1.0)
        self._optimizer.step()
        self.losses.append(loss.item())

    def facts(self) -> dict[str, float]:
        """Steps, slices a second, and the mean loss of the last tenth of the steps."""
        last = self.losses[-max(1, len(self.losses) // 10) :]
        speed = len(self.losses) * self.batch_size / self.elapsed_s
        return {"steps": len(self.losses), "slices_per_s": speed, "loss": sum(last) / len(last)}


def dice_and_bce() -> nn.Module:
    """Dice + BCE of each mask by itself; an empty mask has BCE alone to learn from."""
    return DiceCELoss(sigmoid=True, smooth_nr=0.0)


def machine(device: str) -> str:
    """What the numbers were measured on."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name()
    return f"{torch.get_num_threads()} cores, {platform.machine()}, no GPU"


def train_in_turns(trainings: Sequence[Training]) -> None:
    """Give every training its budget, one turn after the other."""
    with tqdm(total=sum(training.budget_s for training in trainings), unit="s") as bar:
        while any(training.elapsed_s < training.budget_s for training in trainings):
            for training in trainings:
                training.take_turn(bar)


def _endless(dataset: Samples, batch_size: int) -> Iterator[dict[str, Any]]:
    loader = DataLoader(
        dataset, batch_size, sampler=EpochSampler(dataset), collate_fn=collate_slices, drop_last=True
    )
    while True:
        yield from loader


def score(
    network: TextSegmenter,
    cases: EvaluationCases,
    *,
    by_name: bool = False,
    boundaries: Sequence[Boundary] = ("surfel",),
) -> list[Row]:
    """A row of metrics for each case and prompt.

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

"""MONAI's evaluator on whole cases: what users run is what is scored."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from monai.engines import SupervisedEvaluator
from monai.handlers import StatsHandler, TensorBoardStatsHandler
from torch.utils.data import DataLoader

from ..data.evaluation_cases import CaseSampler, EvaluationCase, EvaluationCases
from ..data.readers import check_images
from ..data.volumes import Volume
from ..inference.inferer import VolumeInferer
from ..networks.base import TextSegmenter
from .checkpoints import BestCheckpoint
from .images import ValidationImages
from .validation import PromptDice
from .validation_loss import ValidationLoss

KEY_METRIC = "val_mean_dice"
LOSS = "val_loss"


class Evaluator(SupervisedEvaluator):
    """Segments every case with the inferer that users run, and scores each prompt's own mask.

    A batch is one `EvaluationCase`; `output` has its volume as `image`, the case as `label` and a
    `Segmentation` as `pred`. The key metric is `PromptDice`; `val_loss` comes beside it where a training
    waits for it, see `watch`.

    Args:
        device: where the network is.
        dataset: cases, shared out among the processes.
        network: without DistributedDataParallel, which has nothing to do here.
        inferer: how cases are segmented.
        val_handlers: what is done with the results, see MONAI's `SupervisedEvaluator`.

    Raises:
        InputError: a 2D image, where the network takes volumes alone.
    """

    def __init__(
        self,
        *,
        device: torch.device,
        dataset: EvaluationCases,
        network: TextSegmenter,
        inferer: VolumeInferer,
        val_handlers: Sequence[Any] = (),
    ) -> None:
        check_images(dataset.images, images_2d=network.framing.images)
        self._framing = network.framing
        self._looked_at: set[str] = set()  # by id; a training validates its cases again and again
        said = [StatsHandler(iteration_log=False)] if idist.get_rank() == 0 else []
        self._loss = ValidationLoss()
        super().__init__(
            device=device,
            val_data_loader=DataLoader(dataset, batch_size=None, sampler=CaseSampler(dataset)),
            network=network,
            inferer=inferer,
            prepare_batch=self._prepared,
            key_val_metric={KEY_METRIC: PromptDice()},
            additional_metrics={LOSS: self._loss},
            val_handlers=[*said, *val_handlers],
            decollate=False,
        )

    def watch(
        self,
        best: BestCheckpoint,
        images: ValidationImages,
        output_dir: str | os.PathLike[str],
        *,
        loss: bool = False,
    ) -> None:
        """Keep the best checkpoint of a training that it validates, and show its scores and first cases.

        With `loss`, `ValidationLoss` is one of the scores.
        """
        self._loss.wanted = loss
        handlers: list[Any] = [images, best]
        if idist.get_rank() == 0:
            handlers.insert(0, TensorBoardStatsHandler(log_dir=str(Path(output_dir)), iteration_log=False))
        for handler in handlers:
            handler.attach(self)

    def _prepared(
        self, case: EvaluationCase, *_: Any, **__: Any
    ) -> tuple[Volume, EvaluationCase, tuple[()], dict[str, Any]]:
        """The inferer moves the slices itself."""
        if case.case not in self._looked_at:
            self._framing.warn_if_contradicted(case.image)
            self._looked_at.add(case.case)
        asked = {"prompts": case.prompts, "slice_index": case.slice_index}
        room = {"probabilities": self._loss.room_for(case)} if self._loss.wanted else {}
        return case.image, case, (), asked | room

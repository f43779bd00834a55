"""MONAI's trainer with what every training of this project has, so that configs say what differs.

Random draws depend on where a training is, not on how it got there: see `SeedIterations`.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.engines import SupervisedTrainer
from monai.handlers import LrScheduleHandler, TensorBoardStatsHandler, ValidationHandler
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.optim.lr_scheduler import _LRScheduler as LRScheduler  # as MONAI's handler has it
from torch.utils.data import DataLoader, Dataset

from ..config.command_line import config_of_run
from ..data.draws import EpochSampler, collate_slices
from ..errors import InputError
from ..losses.weighted_sum import features_of
from ..networks.base import TextSegmenter
from .augmentation import Augmentation
from .checkpoints import BestCheckpoint, LoadCheckpoint
from .clipping import ClipGradients
from .divergence import EndAtDivergence
from .evaluator import LOSS, Evaluator
from .images import ValidationImages
from .precision import PrecisionInferer
from .processes import PeerFailureHandler
from .recompute import ActivationCheckpointing
from .record import RunRecord
from .schedules import EndWithoutGain
from .states import TrainingStates
from .validation import ValidateEarly, ValidateLastEpoch
from .watch import EpochMetrics, ProgressLine


class Trainer(SupervisedTrainer):
    """Trains a text-guided segmenter on draws of slices and words.

    Its loader shares the draws among the processes. Standard handlers load `init_checkpoint`, seed every
    iteration, record the run, step the schedule, validate after the last epoch too, keep the best checkpoint
    and the training's state, and show what happens. Those of `train_handlers` come after the learning rate's
    step and before the state is kept, where a validation belongs.

    Args:
        device: where to train; the network is there.
        max_epochs: see MONAI's `SupervisedTrainer`.
        dataset: gives samples for `collate_slices`, draw i being a function of (seed, i) alone.
        network: as it is trained, in several processes wrapped in DistributedDataParallel.
        loss_function: of logits and masks; where it has `features`, of a `Prediction` with these.
        optimizer: of its trained parameters.
        lr_scheduler: steps after each epoch, or after each step with `lr_every` = "step"; one that waits for
            a plateau after each validation, with its `ValidationLoss`.
        train_handlers: among them one MONAI `ValidationHandler`, whose validator is an `Evaluator`.
        augmentation: of the batches, on the device; None = none.
        inferer: precision of the passes.
        batch_size: draws a step and process.
        num_workers: processes that draw; 0 draws in this one.
        accumulation_steps: batches whose gradients are added up for a step.
        clip_gradients: largest length of a step's gradients, see `ClipGradients`; None = any.
        patience: epochs without a gain of the key metric after which it ends, see `EndWithoutGain`; None =
            all are trained.
        activation_checkpointing: see `ActivationCheckpointing`.
        seed: of all draws.
        datalist: whose draws these are, for the record.
        init_checkpoint: weights to start from; None starts from random ones.
        checkpoint: where the best weights go, in float16 if `half`; of the training's states, in the folder
            `states` beside it, the newest `keep_states` stay.
        output_dir: folder of curves, images and the record.
        images: validation cases to draw.

    Attributes:
        config: the config of the training as text, which `RunRecord` keeps and `TrainingStates` compares.
            `python -m monai.bundle` knows its own; a program that builds the workflow itself sets it:
            `workflow.trainer.config = workflow.parser.get()`. None = not known.

    Raises:
        InputError: `train_handlers` do not validate, or an epoch has no whole batch; and while it runs, see
            `EndAtDivergence` and `TrainingStates`.
    """

    def __init__(
        self,
        *,
        device: torch.device,
        max_epochs: int,
        dataset: Dataset[dict[str, Any]],
        network: nn.Module,
        loss_function: nn.Module,
        optimizer: Optimizer,
        lr_scheduler: LRScheduler,
        train_handlers: Sequence[Any],
        inferer: PrecisionInferer,
        batch_size: int,
        datalist: str | os.PathLike[str],
        checkpoint: str | os.PathLike[str],
        output_dir: str | os.PathLike[str],
        augmentation: Augmentation | None = None,
        lr_every: str = "epoch",
        num_workers: int = 0,
        accumulation_steps: int = 1,
        clip_gradients: float | None = None,
        patience: int | None = None,
        activation_checkpointing: bool = False,
        seed: int = 0,
        init_checkpoint: str | os.PathLike[str] | None = None,
        half: bool = True,
        keep_states: int = 2,
        images: int = 2,
    ) -> None:
        model = network.module if isinstance(network, DistributedDataParallel) else network
        assert isinstance(model, TextSegmenter)
        validation, evaluator = _validation_of(train_handlers)
        best = BestCheckpoint(network=model, path=checkpoint, half=half)
        plateau = isinstance(lr_scheduler, ReduceLROnPlateau)
        evaluator.watch(best, ValidationImages(output_dir=output_dir, cases=images), output_dir, loss=plateau)
        kept = {"network": model, "optimizer": optimizer, "lr_scheduler": lr_scheduler, "best": best}
        if plateau:
            LrScheduleHandler(
                lr_scheduler, print_lr=False, step_transform=lambda engine: engine.state.metrics[LOSS]
            ).attach(evaluator)
        if patience is not None:
            kept["patience"] = EndWithoutGain(
                validator=evaluator, patience=patience, interval=validation.interval
            )
        self.augmentation = augmentation
        self.wanted = features_of(loss_function)
        states = TrainingStates(
            folder=Path(checkpoint).parent / "states",
            keep=keep_states,
            datalist=datalist,
            init_checkpoint=init_checkpoint,
            checkpoint=checkpoint,
            objects=kept,
            further={"val_interval": validation.interval} if plateau or patience is not None else None,
        )
        before = [
            LoadCheckpoint(network=model, path=init_checkpoint, to_train=True),
            *([ActivationCheckpointing(model)] if activation_checkpointing else []),
            SeedIterations(seed),
            EndAtDivergence(network=model, optimizer=optimizer),
            EpochMetrics(optimizer=optimizer, loss=loss_function),
            *(
                []
                if clip_gradients is None
                else [ClipGradients(optimizer=optimizer, max_norm=clip_gradients)]
            ),
            *(
                []
                if plateau
                else [LrScheduleHandler(lr_scheduler, print_lr=False, epoch_level=lr_every == "epoch")]
            ),
        ]
        after = [
            ValidateEarly(validator=evaluator, interval=validation.interval),
            ValidateLastEpoch(validator=evaluator, interval=validation.interval),
            *([kept["patience"]] if "patience" in kept else []),
            *([_curves(output_dir)] if idist.get_rank() == 0 else []),
            ProgressLine(validator=evaluator),
            states,
            RunRecord(output_dir=output_dir, datalist=datalist, seed=seed),  # not of a run that states refuse
            PeerFailureHandler(),
        ]
        super().__init__(
            device=device,
            max_epochs=max_epochs,
            train_data_loader=_loader(dataset, batch_size, num_workers),
            network=network,
            optimizer=optimizer,
            loss_function=loss_function,
            inferer=inferer,
            prepare_batch=self._prepared,
            train_handlers=[*before, *train_handlers, *after],
            non_blocking=True,
            decollate=False,
            accumulation_steps=accumulation_steps,
            amp=inferer.scales_gradients,
        )
        self.config: Mapping[str, Any] | None = config_of_run()

    def _prepared(
        self, batch: dict[str, Any], device: torch.device, non_blocking: bool, **_: Any
    ) -> tuple[Tensor, Tensor, tuple[()], dict[str, Any]]:
        """`collate_slices`' batch -> image (B, C, S, S), label (B * K, 1, S, S), (), what is asked."""
        image, label = (batch[key].to(device=device, non_blocking=non_blocking) for key in ("image", "label"))
        if self.augmentation is not None:
            image, label = self.augmentation(image, label, batch)
        asked = {"guidance": batch["prompt"]}
        return image, label, (), asked | ({"features": True} if self.wanted else {})


def _validation_of(handlers: Sequence[Any]) -> tuple[ValidationHandler, Evaluator]:
    """The handler that validates, with its validator."""
    found = [handler for handler in handlers if isinstance(handler, ValidationHandler)]
    if len(found) != 1 or not isinstance(found[0].validator, Evaluator):
        names = ", ".join(type(handler).__name__ for handler in handlers) or "none"
        raise InputError(
            f"train#handlers: found {names}, expected one ValidationHandler with an Evaluator among them; "
            "add it, or give further handlers as +train#handlers."
        )
    return found[0], found[0].validator


def _curves(output_dir: str | os.PathLike[str]) -> TensorBoardStatsHandler:
    return TensorBoardStatsHandler(
        log_dir=str(Path(output_dir)),
        tag_name="train_loss",
        output_transform=lambda output: output["loss"],
    )


def _loader(dataset: Dataset[dict[str, Any]], batch_size: int, num_workers: int) -> DataLoader[Any]:
    return DataLoader(
        dataset,
        batch_size,
        sampler=EpochSampler(dataset, batch_size=batch_size),  # type: ignore[arg-type]  # it has a length
        collate_fn=collate_slices,
        drop_last=True,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        pin_memory=torch.cuda.is_available(),
    )


class SeedIterations:
    """Handler that seeds torch's generators before each iteration, from (seed, rank, iteration) alone.

    Dropout and whatever else a network draws then need no stored generator states after a restart. Samples
    and augmentations are seeded by their own number (`OrganSlices`).
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.ITERATION_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        entropy = (self.seed, idist.get_rank(), engine.state.iteration)
        torch.manual_seed(int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0]) >> 1)

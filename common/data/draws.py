"""Draws that several processes share, epoch after epoch."""

from collections.abc import Iterator, Sequence, Sized
from typing import Any

import ignite.distributed as idist
import torch
from monai.utils import convert_to_tensor
from torch.utils.data import DistributedSampler

from ..errors import InputError

_OF_SAMPLES = ("draw", "orientation_free", "square")  # for `Augmentation`


def steps_per_epoch(draws: int, batch_size: int) -> int:
    """Whole batches that each process takes of an epoch's draws."""
    return draws // idist.get_world_size() // batch_size


def collate_slices(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """B samples of K prompts -> `image` (B, C, S, S), `label` (B * K, 1, S, S), lists of B * K and of B.

    The lists of B say where a sample comes from and which draw it is.

    `spacing_mm` becomes one tensor (B, axes), since MONAI's engines would take lists apart the other way.

    The tensors are plain ones: MONAI's transforms give MetaTensors, whose bookkeeping made a training step
    of Med-VLM compact 8 % slower (0.447 s instead of 0.413 s, one CPU thread).
    """
    images, labels = (
        [convert_to_tensor(sample[key], track_meta=False) for sample in samples] for key in ("image", "label")
    )
    return {
        "image": torch.stack(images),
        "label": torch.cat(labels)[:, None],
        "prompt": [prompt for sample in samples for prompt in sample["prompt"]],
        "target": [target for sample in samples for target in sample["target"]],
        **{key: [sample[key] for sample in samples] for key in ("case", "slice_index")},
        **{key: [sample[key] for sample in samples] for key in _OF_SAMPLES if key in samples[0]},
        "spacing_mm": torch.tensor([sample["spacing_mm"] for sample in samples], dtype=torch.float64),
    }


class EpochSampler(DistributedSampler[int]):
    """Draw numbers, epoch after epoch: epoch e (from 1) gives (e - 1) * n to e * n - 1, shared by the
    processes.

    With a dataset whose draw is a function of its number, what an epoch holds depends on nothing else.
    MONAI's trainer sets the epoch; a plain loop over the loader goes on by itself.

    Args:
        dataset: whose length makes an epoch.
        batch_size: of a loader that drops an incomplete last batch, of which an epoch has to fill one.
        rank, world_size: this process and how many there are; None asks the process group.

    Raises:
        InputError: an epoch without a whole batch.
    """

    def __init__(
        self,
        dataset: Sized,
        *,
        batch_size: int = 1,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> None:
        super().__init__(
            dataset,  # type: ignore[arg-type]  # only its length is asked for
            num_replicas=idist.get_world_size() if world_size is None else world_size,
            rank=idist.get_rank() if rank is None else rank,
            shuffle=False,
        )
        self.length = len(dataset)
        self.epoch = 1
        if len(self) < batch_size:
            raise InputError(
                f"draws_per_epoch, batch_size: found {self.length} draws an epoch for {self.num_replicas} "
                f"process(es) with batches of {batch_size}, expected a whole batch for each "
                f"({batch_size * self.num_replicas} draws); draw more, or make batches smaller."
            )

    def __len__(self) -> int:
        return self.length // self.num_replicas

    def __iter__(self) -> Iterator[int]:
        start = (self.epoch - 1) * self.length
        self.epoch += 1
        return iter(range(start + self.rank, start + len(self) * self.num_replicas, self.num_replicas))

"""Segment a batch of slices of a volume for some of the prompts, and decide which prompt gets a voxel.

Logits are those of `Passes`, less the logit of the network's threshold: above 0 is inside a mask, and
probabilities are relative, 0.5 at the threshold. With a threshold of 0.5 they are the network's own.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..data.slices import SliceFrame
from ..data.volumes import Volume
from .clock import Clock
from .passes import Passes
from .segmentation import SliceStatistics

if TYPE_CHECKING:
    from ..networks.guidance import Guidance

HALF = 128  # scaled probabilities from here on are above the threshold


@dataclass(frozen=True)
class Job:
    """Everything that stays the same from batch to batch.

    Attributes:
        volume: whose slices are segmented, and `indices` of these.
        passes: of the network, which works on `device`.
        guidance: a row a prompt, and `labels` (P,) their label numbers.
        frame: where a slice of this volume lies in the network's field.
        presence_top_fraction: see `VolumeInferer`.
        clock: times the parts.
        probabilities: (P, D, H, W) uint8 to be filled, see `scaled_probability`; or None.
    """

    volume: Volume
    indices: range
    passes: Passes
    guidance: "Guidance"
    labels: list[int]
    frame: SliceFrame
    presence_top_fraction: float
    device: torch.device
    clock: Clock
    probabilities: np.ndarray | None


def segment_slices(
    job: Job, chosen: Sequence[int], rows: Sequence[int], statistics: SliceStatistics, *, prompt_batch: int
) -> None:
    """Segment the `chosen` slices for the prompts in `rows`, and write them into `statistics`.

    Raises:
        torch.OutOfMemoryError: then nothing of them is in the label map; they can be done again.
    """
    frame = job.frame
    with job.clock("preprocess"):
        image = job.passes.network.framing.field(job.volume, chosen, frame, device=job.device)
    with job.clock("encode"):
        features = job.passes.encode(image)
    claims = LabelFusion(len(chosen), frame.box.shape, job.device)
    for group in _chunks(rows, prompt_batch):
        with job.clock("decode"):
            logits = job.passes.decode(features, job.guidance.rows(group).repeat(len(chosen)))
        with job.clock("postprocess"):
            inner = frame.inner(logits).view(len(chosen), len(group), frame.inner_height, -1)
            statistics.scores[np.ix_(group, chosen)] = (
                top_mean(inner, job.presence_top_fraction).T.cpu().numpy()
            )
            statistics.claimed[np.ix_(group, chosen)] = _claim(
                job, inner, chosen, group, claims, statistics
            ).T
    with job.clock("postprocess"):
        for index, labels in zip(chosen, claims.labels, strict=True):
            statistics.labels[index][frame.box.pixels] = labels


def _claim(
    job: Job,
    inner: Tensor,
    chosen: Sequence[int],
    group: Sequence[int],
    claims: "LabelFusion",
    statistics: SliceStatistics,
) -> np.ndarray:
    """Enter the claims of prompts on slices, and their own masks; returns (slices, prompts) voxels of these.

    Args:
        inner: (slices, prompts, h, w) logits inside the frame, less the threshold's. Most pairs have none
            above 0, and neither has what is interpolated from them: they are left out.
    """
    claimed = np.zeros(inner.shape[:2], np.int64)
    highest = inner.amax(dim=(2, 3)).cpu().numpy()
    for place, index in enumerate(chosen):
        for column, row in enumerate(group):
            if highest[place, column] <= 0 and job.probabilities is None:
                continue
            own = job.frame.to_box(inner[place, column][None, None])[0, 0]
            mask = claims.add(place, own, job.labels[row])
            claimed[place, column] = np.count_nonzero(mask)
            statistics.masks.put(row, index, mask, top=job.frame.box.top, left=job.frame.box.left)
            if job.probabilities is not None:
                probability = job.probabilities[row, index]
                probability[...] = 0
                probability[job.frame.box.pixels] = scaled_probability(own).cpu().numpy()
    return claimed


def _chunks(items: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


class LabelFusion:
    """The best claim on every voxel of B slices so far.

    A claim is a logit above 0, and the highest one wins; of equal ones the first.

    Args:
        slices: B.
        shape: (h, w) of a slice's box.
    """

    def __init__(self, slices: int, shape: tuple[int, int], device: torch.device) -> None:
        self._best = torch.zeros(slices, *shape, device=device)
        self._labels = torch.zeros(slices, *shape, dtype=torch.uint8, device=device)

    @property
    def labels(self) -> np.ndarray:
        """(B, h, w) uint8, the label numbers that won."""
        return self._labels.cpu().numpy()

    def add(self, index: int, logits: Tensor, label: int) -> np.ndarray:
        """Let a prompt claim voxels of slice `index` with logits (h, w); returns its own mask, bool."""
        best, labels = self._best[index], self._labels[index]
        if logits.device.type != "cpu":
            labels.masked_fill_(logits > best, label)
            torch.maximum(best, logits, out=best)
            return (logits > 0).cpu().numpy()
        # numpy's loops over one plane, which stays in the cache, are ten times as fast as torch's here
        own, highest = logits.numpy(), best.numpy()
        np.copyto(labels.numpy(), np.uint8(label), where=own > highest)
        np.maximum(highest, own, out=highest)
        mask: np.ndarray = own > 0
        return mask


def top_mean(inner: Tensor, share: float) -> Tensor:
    """(..., h, w) logits inside the frame -> (...) mean of the highest `share` (0 to 1] of probabilities."""
    flat = inner.flatten(-2)
    count = math.ceil(share * flat.shape[-1])
    if flat.device.type == "cpu":  # four to seven times as fast as torch.topk there
        top = torch.from_numpy(np.partition(flat.numpy(), -count, axis=-1)[..., -count:])
    else:
        top = flat.topk(count, sorted=False).values
    return top.sigmoid().mean(dim=-1)


def scaled_probability(logits: Tensor) -> Tensor:
    """Relative probabilities as uint8: 0 to 255 is 0 to 1, 128 or more exactly inside the mask."""
    scaled = (logits.sigmoid() * 255.0).round()
    return torch.where(logits > 0, scaled.clamp(min=HALF), scaled.clamp(max=HALF - 1)).to(torch.uint8)

"""Segment a volume, or a 2D image as a volume of one slice, slice by slice with any number of prompts.

Every slice is framed, windowed and encoded once, then decoded for the prompts in groups. What is kept is the
label map, a few numbers per (prompt, slice) and the bits of every prompt's own mask, so that memory hardly
depends on the number of prompts nor, apart from the volume itself, on the number of slices.
"""

import logging
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from monai.inferers import Inferer
from tqdm import tqdm

from ..data.volumes import Volume
from ..errors import InputError
from ..text.asked import pieces_of
from ..text.prompts import Prompt, check_label_numbers
from .cleaning import Cleaning, in_slice, keep_largest_components, smooth_across_slices
from .clock import Clock
from .passes import Passes, working
from .prompts import check_slice
from .segmentation import Segmentation, SliceStatistics, summarise
from .slice_batch import Job, segment_slices

if TYPE_CHECKING:
    from ..networks.base import TextSegmenter
    from ..networks.guidance import Guidance

logger = logging.getLogger(__name__)


class VolumeInferer(Inferer):
    """Callable on a volume, a network and prompts.

    A voxel belongs to a prompt's own mask where its probability exceeds the network's threshold, 0.5 for
    most; own masks may overlap. In the label map a voxel of several goes to the most probable one, whatever
    the order of the prompts.

    Args:
        slice_batch: slices encoded at once.
        prompt_batch: prompts decoded at once for each of these slices. When the GPU's memory does not
            suffice, slice_batch and then prompt_batch are halved, and stay so for later volumes.
        presence_threshold: a prompt with a lower presence score gets an empty mask; 0 = off.
        presence_top_fraction: the presence score is the largest slice-wise mean of the highest
            probabilities, of this share of the field's pixels inside the frame. They are relative to the
            network's threshold: 0.5 where the probability is the threshold. What is sought has to fill so
            much of a slice to reach a score near 1: 0.01 suits organs, 0.001 small lesions.
        anatomy: of a prompt for organs of the vocabulary (see `asked_organs`) only as many connected parts as
            they have, see `keep_pieces`. One slice alone, and a 2D image, shows no parts and stays as it is.
        smooth: majority of every voxel and its neighbours in the slices above and below.
        keep_largest: only the largest connected part of every prompt's mask.
        device: where to work; None = where the network is.
        amp: mixed precision (float16 on a GPU, bfloat16 on a CPU).
        channels_last: memory format of weights and images.
        compiled: `torch.compile` the network's passes. It takes minutes at the first slices, and may at the
            first batch of another size.
        presence_share: former name of `presence_top_fraction`, which it replaces with a warning.
    """

    def __init__(
        self,
        *,
        slice_batch: int = 8,
        prompt_batch: int = 4,
        presence_threshold: float = 0.0,
        presence_top_fraction: float = 0.01,
        anatomy: bool = True,
        smooth: bool = False,
        keep_largest: bool = False,
        device: str | torch.device | None = None,
        amp: bool = False,
        channels_last: bool = False,
        compiled: bool = False,
        presence_share: float | None = None,
    ) -> None:
        if presence_share is not None:
            warnings.warn("presence_share is now called presence_top_fraction.", FutureWarning, stacklevel=2)
            presence_top_fraction = presence_share
        if slice_batch < 1 or prompt_batch < 1:
            raise InputError(
                f"slice_batch and prompt_batch: found {slice_batch} and {prompt_batch}, expected 1 or more; "
                "choose larger numbers."
            )
        if not 0.0 <= presence_threshold <= 1.0:
            raise InputError(
                f"presence_threshold: found {presence_threshold}, expected 0 (off) to 1; it is compared "
                "with a mean probability."
            )
        if not 0.0 < presence_top_fraction <= 1.0:
            raise InputError(
                f"presence_top_fraction: found {presence_top_fraction}, expected above 0 and at most 1; it "
                "is the share of pixels that the presence score looks at, such as 0.01."
            )
        self.slice_batch = slice_batch
        self.prompt_batch = prompt_batch
        self.presence_threshold = presence_threshold
        self.presence_top_fraction = presence_top_fraction
        self.anatomy = anatomy
        self.smooth = smooth
        self.keep_largest = keep_largest
        self.device = None if device is None else torch.device(device)
        self.amp = amp
        self.channels_last = channels_last
        self.compiled = compiled
        self._passes: Passes | None = None

    def settings(self, network: "TextSegmenter") -> dict[str, Any]:
        """The settings that determine a result beside the weights, for reports; batch sizes do not."""
        return {
            "framing": asdict(network.framing),
            "threshold": network.threshold,
            "presence_threshold": self.presence_threshold,
            "presence_top_fraction": self.presence_top_fraction,
            "anatomy": self.anatomy,
            "smooth": self.smooth,
            "keep_largest": self.keep_largest,
            "amp": self.amp,
            "channels_last": self.channels_last,
            "compiled": self.compiled,
        }

    def __call__(  # type: ignore[override]
        self,
        inputs: Volume,
        network: "TextSegmenter",
        prompts: Sequence[Prompt],
        *,
        guidance: "Guidance | None" = None,
        slice_index: int | None = None,
        probabilities: np.ndarray | None = None,
        progress: bool = False,
    ) -> Segmentation:
        """Segment `inputs`.

        Args:
            inputs: the volume, slices (D, H, W) in Hounsfield units, or a 2D image.
            network: works in eval mode and gets its training flags back.
            prompts: what to segment, with different label numbers from 1 to 255.
            guidance: what `encode` returned for the prompts' texts, to encode them once for many volumes.
            slice_index: segment this slice alone, 0 the most inferior one; the others stay empty. The network
                sees it as among all slices; presence is judged, and cleaning done, on it alone.
            probabilities: (prompts, D, H, W) uint8 zeros, such as a memory-mapped file, to be filled with
                the probabilities of every prompt scaled to 0..255; 128 or more is above the threshold.
            progress: show a bar over the slices on stderr.

        Raises:
            InputError: no prompts, unusable label numbers, no such slice, or a network that returns NaN.
        """
        check_label_numbers(prompts)
        check_slice(inputs, slice_index)
        device = self._place(network)
        clock = Clock(device)
        with working(network, device, amp=self.amp):
            if guidance is None:
                with clock("text"):
                    guidance = self.encode(network, [prompt.text for prompt in prompts])
            every = range(len(inputs.slices))
            job = Job(
                volume=inputs,
                indices=every if slice_index is None else every[slice_index : slice_index + 1],
                passes=self._prepared(network),
                guidance=guidance.to(device),
                labels=[prompt.label for prompt in prompts],
                frame=network.framing.frame(inputs, network.image_size),
                presence_top_fraction=self.presence_top_fraction,
                device=device,
                clock=clock,
                probabilities=probabilities,
            )
            # Equal probabilities go to the first prompt looked at: the order of the texts, not of the user.
            rows = sorted(range(len(prompts)), key=lambda row: (prompts[row].text, prompts[row].label))
            statistics = self._sweep(job, rows, progress=progress)
            present = self._suppress(job, rows, statistics)
        with clock("clean"):
            removed = np.zeros(len(prompts), int)
            if self.anatomy and len(job.indices) > 1:
                removed = statistics.keep_pieces(
                    {row: pieces_of(prompts[row].text) for row in rows if present[row]}, job.labels
                )
            clean = in_slice(slice_index, self.clean)
            labels = clean(statistics.labels)
            masks, lost = self._mask_counts(statistics, job.labels, present, clean)
        results = summarise(
            labels,
            prompts,
            spacing_mm=inputs.spacing_mm,
            scores=statistics.presence,
            present=present,
            lost=lost,
            masks=masks,
            removed=removed,
        )
        return Segmentation(labels, results, clock.seconds, slice_index, statistics.masks, clean)

    def clean(self, labels: np.ndarray) -> np.ndarray:
        """Apply the cleaning that was asked for to a label map or a mask, (D, H, W) uint8 or bool."""
        if self.smooth:
            labels = smooth_across_slices(labels)
        if self.keep_largest:
            labels = keep_largest_components(labels)
        return labels

    def _mask_counts(
        self, statistics: SliceStatistics, numbers: Sequence[int], present: np.ndarray, clean: Cleaning
    ) -> tuple[np.ndarray, np.ndarray]:
        """(prompts, D) voxels of the own masks, and (prompts,) those of them that went to other prompts.

        The masks are built only where they are cleaned. What cleaning then removed from the label map was not
        lost to another prompt.
        """
        counts = statistics.claimed * present[:, None]
        lost = statistics.lost(numbers, present)
        if self.smooth or self.keep_largest:
            for row in np.flatnonzero(present).tolist():
                own = clean(statistics.masks.of(row))
                counts[row] = np.count_nonzero(own, axis=(1, 2))
                others = (statistics.labels != 0) & (statistics.labels != numbers[row])
                lost[row] = np.count_nonzero(own & others)
        return counts, lost

    def encode(self, network: "TextSegmenter", texts: Sequence[str]) -> "Guidance":
        """What `network.encode_text` gives for the texts, in eval mode and without gradients."""
        with working(network, self._place(network), amp=self.amp):
            return network.encode_text(texts)

    def _place(self, network: "TextSegmenter") -> torch.device:
        if self.device is not None:
            network.to(self.device)
            return self.device
        first = next(network.parameters(), None)
        return torch.device("cpu") if first is None else first.device

    def _prepared(self, network: "TextSegmenter") -> Passes:
        """The network's passes; compiled ones are kept from volume to volume."""
        if self._passes is None or self._passes.network is not network or not self.compiled:
            self._passes = Passes.of(network, channels_last=self.channels_last, compiled=self.compiled)
        return self._passes

    def _sweep(self, job: Job, rows: list[int], *, progress: bool) -> SliceStatistics:
        """Segment the job's slices for all prompts."""
        statistics = SliceStatistics.empty(len(rows), job.volume.slices.shape)
        with tqdm(
            total=len(job.indices), desc="slices", unit="slice", leave=False, disable=not progress
        ) as bar:
            for done in self._segment_all(job, job.indices, rows, statistics):
                bar.update(done)
        if np.isnan(statistics.scores).any():
            raise InputError(
                "network: its logits contain NaN, expected finite numbers; switch amp off, and check that "
                "the weights belong to this network."
            )
        return statistics

    def _suppress(self, job: Job, rows: list[int], statistics: SliceStatistics) -> np.ndarray:
        """Empty the masks of prompts below the threshold; returns (P,) bool, True = present.

        Where such a prompt had won voxels that others claimed too, the slice is segmented again
        without it: keeping every prompt's mask until all slices are done would cost memory.
        """
        present = statistics.presence >= self.presence_threshold
        if present.all():
            return present
        contested = statistics.remove([job.labels[row] for row in np.flatnonzero(~present)])
        kept = [row for row in rows if present[row]]
        for _ in self._segment_all(job, contested if kept else [], kept, statistics):
            pass
        return present

    def _segment_all(
        self, job: Job, indices: Sequence[int], rows: Sequence[int], statistics: SliceStatistics
    ) -> Iterator[int]:
        """Segment slices batch by batch, smaller ones after an out-of-memory error; yields slices done."""
        start = 0
        while start < len(indices):
            chosen = indices[start : start + self.slice_batch]
            try:
                segment_slices(job, chosen, rows, statistics, prompt_batch=self.prompt_batch)
            except torch.OutOfMemoryError as error:
                self._halve(error)
            else:
                start += len(chosen)
                yield len(chosen)
                continue
            torch.cuda.empty_cache()  # not before: the error holds what the batch had

    def _halve(self, error: torch.OutOfMemoryError) -> None:
        if self.slice_batch == self.prompt_batch == 1:
            raise InputError(
                "device: out of memory with one slice and one prompt at a time, expected enough for that; "
                "free the GPU's memory or run on the CPU."
            ) from error
        if self.slice_batch > 1:
            self.slice_batch //= 2
        else:
            self.prompt_batch //= 2
        logger.warning(
            "Out of memory: continuing with slice_batch %d, prompt_batch %d.",
            self.slice_batch,
            self.prompt_batch,
        )

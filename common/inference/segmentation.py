"""What segmenting a volume gives: one label map, and for every prompt what was found."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..text.prompts import Prompt
from .cleaning import Cleaning
from .own_masks import OwnMasks


@dataclass(frozen=True)
class SliceRange:
    """Slices with at least one voxel of a prompt; 0 is the most inferior slice of the volume."""

    first: int | None
    last: int | None
    count: int


@dataclass(frozen=True)
class Extent:
    """How much of a volume a mask takes: voxels, their volume in millilitres, the slices that they lie in."""

    voxels: int
    ml: float
    slices: SliceRange

    @classmethod
    def of(cls, counts: np.ndarray, voxel_ml: float) -> "Extent":
        """Of a mask with `counts` (D,) voxels in each slice."""
        found = np.flatnonzero(counts)
        first, last = (int(found[0]), int(found[-1])) if len(found) else (None, None)
        voxels = int(counts.sum())
        return cls(voxels, voxels * voxel_ml, SliceRange(first, last, len(found)))


@dataclass(frozen=True)
class PromptResult:
    """What a prompt found in a volume.

    Attributes:
        prompt: text, name and label number.
        labelled: what of the label map has this prompt's label.
        mask: the prompt's own mask, which may overlap others.
        presence_score: the largest slice-wise mean of the highest probabilities, 0 to 1 and 0.5 at the
            network's threshold, see `VolumeInferer`.
        present: False when the score is below the threshold; the mask is then empty.
        overlap_voxels: voxels of the own mask that the label map gives to a prompt with a higher
            probability.
    """

    prompt: Prompt
    labelled: Extent
    mask: Extent
    presence_score: float
    present: bool
    overlap_voxels: int

    def size(self, *, in_mm: bool) -> str:
        """For people: "1.2 ml", or in pixels, and what the label map has left where that reads otherwise."""

        def text(extent: Extent) -> str:
            return f"{extent.ml:.1f} ml" if in_mm else f"{extent.voxels} pixels"

        found, left = text(self.mask), text(self.labelled)
        if self.mask.voxels > 0 == self.labelled.voxels:
            left = "nothing"  # a small lesion has 0.0 ml as well
        return found if found == left else f"{found} (label map: {left})"


@dataclass(frozen=True)
class Segmentation:
    """Label map and results of one volume.

    Attributes:
        labels: (D, H, W) uint8, 0 = background, otherwise the label number of a prompt.
        results: one a prompt, in the order in which they were given.
        seconds: time by part: text, preprocess, encode, decode, postprocess, clean.
        slice_index: the only slice that was asked, 0 the most inferior one; None = all were.
        own_masks: the prompts' own masks as the network drew them, and `clean` what is done to each.
    """

    labels: np.ndarray
    results: list[PromptResult]
    seconds: dict[str, float]
    slice_index: int | None
    own_masks: OwnMasks
    clean: Cleaning

    def mask(self, row: int) -> np.ndarray:
        """The own mask of prompt `row`, (D, H, W) bool: what is evaluated, whatever else was asked."""
        if not self.results[row].present:
            return np.zeros(self.labels.shape, bool)
        return self.clean(self.own_masks.of(row))

    def masks(self) -> Iterator[np.ndarray]:
        """The own masks of all prompts, one at a time."""
        return (self.mask(row) for row in range(len(self.results)))


def summarise(
    labels: np.ndarray,
    prompts: Sequence[Prompt],
    *,
    spacing_mm: tuple[float, float, float],
    scores: np.ndarray,
    present: np.ndarray,
    lost: np.ndarray,
    masks: np.ndarray,
) -> list[PromptResult]:
    """Count each prompt's voxels in the label map, and those of its own mask.

    Args:
        labels: (D, H, W) uint8 label map.
        prompts: P prompts with different label numbers.
        spacing_mm: (D, H, W) spacing.
        scores: (P,) presence scores.
        present: (P,) bool, False where the threshold emptied the mask.
        lost: (P,) voxels of their own masks that went to another prompt.
        masks: (P, D), the voxels of the prompts' own masks in each slice.
    """
    counts = np.stack([np.bincount(section.ravel(), minlength=256) for section in labels])  # (D, 256)
    voxel_ml = float(np.prod(spacing_mm)) / 1000.0
    return [
        PromptResult(
            prompt=prompt,
            labelled=Extent.of(counts[:, prompt.label], voxel_ml),
            mask=Extent.of(masks[row], voxel_ml),
            presence_score=float(scores[row]),
            present=bool(present[row]),
            overlap_voxels=int(lost[row]),
        )
        for row, prompt in enumerate(prompts)
    ]

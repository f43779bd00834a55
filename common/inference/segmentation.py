"""The result of segmenting a volume: one label map, every prompt's own mask, and their sizes.

`SliceStatistics` collects it slice by slice, and `Segmentation` is the whole.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..text.prompts import Prompt
from .cleaning import Cleaning, keep_pieces

_Part = tuple[int, int, tuple[int, int], np.ndarray]  # first row and column, (h, w), packed bits


class OwnMasks:
    """Masks of P prompts on a volume, which may overlap.

    Kept as bits, of each slice the box that holds any of them: 13 organs of a CT with 512 x 512 x 300 voxels
    take about 5 MB where one array of bytes takes 80 MB for each.

    Args:
        shape: (D, H, W) of the volume.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self._parts: dict[int, dict[int, _Part]] = {}  # by prompt and slice

    def put(self, row: int, index: int, mask: np.ndarray, *, top: int, left: int) -> None:
        """Take prompt `row`'s mask on slice `index`, (h, w) bool, which lies at (top, left) of the slice."""
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if not len(rows):
            self._parts.get(row, {}).pop(index, None)
            return
        inner = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        part = (top + int(rows[0]), left + int(columns[0]), inner.shape, np.packbits(inner))
        self._parts.setdefault(row, {})[index] = part

    def of(self, row: int) -> np.ndarray:
        """Prompt `row`'s mask, (D, H, W) bool."""
        whole = np.zeros(self.shape, bool)
        for index, (top, left, (height, width), bits) in self._parts.get(row, {}).items():
            inner = np.unpackbits(bits, count=height * width).reshape(height, width)
            whole[index, top : top + height, left : left + width] = inner
        return whole


@dataclass
class SliceStatistics:
    """The label map and the own masks so far and, for every (prompt, slice), two numbers.

    Attributes:
        labels: (D, H, W) uint8 label map.
        claimed: (prompts, D) voxels of the own masks, whoever got them.
        scores: (prompts, D) means of the highest probabilities, see `VolumeInferer`.
        masks: the own masks.
    """

    labels: np.ndarray
    claimed: np.ndarray
    scores: np.ndarray
    masks: OwnMasks

    @classmethod
    def empty(cls, prompts: int, shape: tuple[int, ...]) -> "SliceStatistics":
        """For volumes of `shape` (D, H, W)."""
        counts = (prompts, shape[0])
        labels, claimed = np.zeros(shape, np.uint8), np.zeros(counts, np.int64)
        return cls(labels, claimed, np.zeros(counts, np.float32), OwnMasks(shape))

    @property
    def presence(self) -> np.ndarray:
        """(prompts,) the largest slice-wise scores."""
        return self.scores.max(axis=1)

    def lost(self, numbers: Sequence[int], present: np.ndarray) -> np.ndarray:
        """(prompts,) voxels of the own masks that another prompt got.

        Args:
            numbers: the prompts' label numbers.
            present: (prompts,) bool; the others were suppressed and count 0.
        """
        counts = sum(np.bincount(section.ravel(), minlength=256) for section in self.labels)
        got = np.asarray(counts)[list(numbers)]
        return np.where(present, self.claimed.sum(axis=1) - got, 0)

    def remove(self, numbers: Sequence[int]) -> list[int]:
        """Empty the masks of label numbers; returns the slices where others had claimed their voxels too."""
        removed = np.zeros(256, bool)
        removed[list(numbers)] = True
        absent = removed[self.labels]
        overlapping = self.claimed.sum(axis=0) > np.count_nonzero(self.labels, axis=(1, 2))
        contested = np.flatnonzero(absent.any(axis=(1, 2)) & overlapping)
        self.labels[absent] = 0
        return [int(index) for index in contested]

    def keep_pieces(self, pieces: Mapping[int, int | None], numbers: Sequence[int]) -> np.ndarray:
        """Leave of own masks the largest connected parts, see `cleaning.keep_pieces`, and count what goes.

        In the label map, what a prompt loses goes to the first of the others whose own mask has it too.

        Args:
            pieces: for each prompt that is present how many parts stay; None = all.
            numbers: the prompts' label numbers.

        Returns:
            (prompts,) voxels that own masks lost.
        """
        removed = np.zeros(len(numbers), int)
        freed: list[tuple[int, np.ndarray]] = []
        for row, count in pieces.items():
            if count is None or not self.claimed[row].any():
                continue
            own = self.masks.of(row)
            lost = own & ~keep_pieces(own, count)
            removed[row] = np.count_nonzero(lost)
            if removed[row]:
                for index in np.flatnonzero(lost.any(axis=(1, 2))).tolist():
                    self.masks.put(row, index, own[index] & ~lost[index], top=0, left=0)
                self.claimed[row] -= np.count_nonzero(lost, axis=(1, 2))
                freed.append((numbers[row], np.argwhere(lost & (self.labels == numbers[row]))))
        for _, places in freed:
            self.labels[tuple(places.T)] = 0
        for number, places in freed:
            for other in pieces:
                if numbers[other] != number and len(places):
                    free = places[self.labels[tuple(places.T)] == 0]
                    takes = free[self.masks.of(other)[tuple(free.T)]]
                    self.labels[tuple(takes.T)] = numbers[other]
        return removed


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
        removed_voxels: voxels that the network drew and that anatomy rules out, see `VolumeInferer`.
    """

    prompt: Prompt
    labelled: Extent
    mask: Extent
    presence_score: float
    present: bool
    overlap_voxels: int
    removed_voxels: int = 0

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
        """The own mask of prompt `row`, (D, H, W) bool: the mask that evaluation judges."""
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
    removed: np.ndarray,
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
        removed: (P,) voxels that anatomy ruled out of the own masks.
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
            removed_voxels=int(removed[row]),
        )
        for row, prompt in enumerate(prompts)
    ]

"""What is kept of the slices that are done."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .own_masks import OwnMasks


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

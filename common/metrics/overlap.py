"""Overlap of two masks from their voxel counts. Counts of several cases add up to pooled overlap."""

from dataclasses import dataclass
from typing import Literal

Status = Literal["found", "missed", "false_positive", "absent"]

COUNT_NAMES = ("voxels_both", "voxels_pred_only", "voxels_ref_only")
OVERLAP_NAMES = ("dsc", "iou", "precision", "recall")
HIT_DICE = 0.1  # a mask, or a part of one, with at least this Dice has found its target


@dataclass(frozen=True)
class Counts:
    """Voxels in both masks, in the prediction only, in the reference only. They add with `+`."""

    both: int
    pred_only: int
    ref_only: int

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            self.both + other.both, self.pred_only + other.pred_only, self.ref_only + other.ref_only
        )

    @property
    def status(self) -> Status:
        """found: both masks have voxels; missed: only the reference; false_positive: only the prediction;
        absent: neither."""
        pred, ref = self.both + self.pred_only, self.both + self.ref_only
        if pred and ref:
            return "found"
        return "missed" if ref else "false_positive" if pred else "absent"

    def named(self) -> dict[str, int]:
        """The counts by COUNT_NAMES."""
        return dict(zip(COUNT_NAMES, (self.both, self.pred_only, self.ref_only), strict=True))

    @property
    def hit(self) -> float:
        """1 where the Dice is at least HIT_DICE, else 0; NaN where both masks are empty."""
        dice = self.overlap()["dsc"]
        return dice if self.status == "absent" else float(dice >= HIT_DICE)

    def row(self) -> dict[str, float | int | str]:
        """Status, counts, overlap and hit: the columns of every row."""
        return {"status": self.status, **self.named(), **self.overlap(), "hit": self.hit}

    def overlap(self) -> dict[str, float]:
        """Values of OVERLAP_NAMES in [0, 1]: all 0 where one mask is empty, all NaN where both are.

        Precision of an empty prediction is 0 and not 0/0, so that no mean over cases drops a miss.
        """
        if self.status == "absent":
            return dict.fromkeys(OVERLAP_NAMES, float("nan"))
        pred, ref = self.both + self.pred_only, self.both + self.ref_only
        union = self.both + self.pred_only + self.ref_only
        ratios = (
            2 * self.both / (pred + ref),
            self.both / union,
            self.both / max(pred, 1),
            self.both / max(ref, 1),
        )
        return dict(zip(OVERLAP_NAMES, ratios, strict=True))

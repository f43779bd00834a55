"""The loss of a softmax where not every organ is annotated in every case."""

import torch
from torch import Tensor, nn

SMOOTH = 1e-5  # keeps the quotient of a vanished channel finite


class MarginalDiceCE(nn.Module):
    """Dice + cross-entropy in which organs that are not annotated are unknown, not absent.

    A pixel outside all annotated organs is background or an organ that nobody drew, and the labels cannot say
    which. So there the probabilities of the background and of the organs that are not annotated count as one
    (the marginal loss of G. Shi et al., "Marginal loss and exclusion loss for partially supervised
    multi-organ segmentation", Medical Image Analysis 70, 2021): how they share it is free. A pixel of an
    annotated organ is that organ's alone. Dice is the mean over the annotated organs that have a pixel; the
    others have cross-entropy to learn from.

    Args:
        batch_dice: one Dice an organ over all images of a batch in which it is annotated, as nnU-Net does in
            2D; else each image has its own.
    """

    def __init__(self, *, batch_dice: bool) -> None:
        super().__init__()
        self.batch_dice = batch_dice

    def forward(self, logits: Tensor, masks: Tensor, annotated: Tensor) -> Tensor:
        """Scalar: 1 - mean Dice, plus the mean cross-entropy of the pixels.

        Args:
            logits: (B, 1 + K, H, W), the background first.
            masks: (B, K, H, W), 1 where an organ is. Where two overlap, either is right.
            annotated: (B, K) bool, whether an organ is annotated in an image.
        """
        inside = (masks > 0.5) & annotated[..., None, None]
        outside = ~inside.any(dim=1, keepdim=True)
        right = torch.cat([outside, inside | (outside & ~annotated[..., None, None])], dim=1)
        lowest = torch.finfo(logits.dtype).min
        entropy = logits.logsumexp(dim=1) - logits.masked_fill(~right, lowest).logsumexp(dim=1)
        return self._dice_loss(logits.softmax(dim=1)[:, 1:], inside, annotated) + entropy.mean()

    def _dice_loss(self, probabilities: Tensor, inside: Tensor, annotated: Tensor) -> Tensor:
        """Of (B, K, H, W) each; 0 where no annotated organ has a pixel."""
        known = probabilities * annotated[..., None, None]
        axes = (0, 2, 3) if self.batch_dice else (2, 3)
        both, found, there = ((part.sum(dim=axes)) for part in (known * inside, known, inside.float()))
        dice = 2 * both / (found + there + SMOOTH)
        judged = there > 0
        return (1 - dice).where(judged, 0.0).sum() / judged.sum().clamp(min=1)

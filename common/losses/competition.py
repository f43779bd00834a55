"""Prompts of one image compete for its pixels."""

import torch
from torch import Tensor, nn


class PromptCompetition(nn.Module):
    """Cross-entropy of a softmax over an image's prompts, and of the background with the logit 0.

    Losses of one mask at a time let two prompts settle on the union of two organs: each is half right. Here a
    pixel's probability is shared out, so that a mask drawn for the wrong words costs the right ones theirs. A
    pixel that several prompts may have (one organ asked for twice) counts as right for any of them. A prompt
    that is asked alone has nobody to compete with: the loss is 0, where it would be the binary cross-entropy
    once more.

    Args:
        prompts_per_image: K; row i of a batch belongs to image i // K.
        background: whether the background competes too, over all pixels. Without it the prompts alone share
            out the pixels of masks: which of them is it? Where masks are 1 % of an image, a mean over all
            pixels hardly asks that. Each mask then weighs alike, however small it is: of lesions, the
            largest have 20 times the pixels of the smallest.
    """

    def __init__(self, prompts_per_image: int, *, background: bool = True) -> None:
        super().__init__()
        self.prompts_per_image = prompts_per_image
        self.background = background

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Mean over images and pixels; without background over masks of the means over their pixels.

        Prompts whose mask is empty do not count then; 0 where all are.

        Args:
            logits: (B * K, 1, H, W).
            target: (B * K, 1, H, W), 1 where a prompt's mask is, else 0.
        """
        if self.prompts_per_image == 1:
            return logits.new_zeros(())
        shape = (-1, self.prompts_per_image, *logits.shape[-2:])
        scores, masks = logits.reshape(shape), target.reshape(shape) > 0.5
        if self.background:
            scores = torch.cat([torch.zeros_like(scores[:, :1]), scores], dim=1)
            masks = torch.cat([~masks.any(dim=1, keepdim=True), masks], dim=1)
        # Choosing pixels by index would make the processor wait for a GPU: all are computed, and masked.
        right = scores.masked_fill(~masks, torch.finfo(scores.dtype).min)
        loss = scores.logsumexp(dim=1) - right.logsumexp(dim=1)  # (B, H, W)
        if self.background:
            return loss.mean()
        pixels = masks.sum(dim=(2, 3))  # (B, K)
        means = loss[:, None].where(masks, 0.0).sum(dim=(2, 3)) / pixels.clamp(min=1)
        return means.sum() / (pixels > 0).sum().clamp(min=1)

"""A prompt chooses among the masks of its image."""

import torch
from torch import Tensor, nn

from ..layers.blocks import full_precision


class MaskChoice(nn.Module):
    """Cross-entropy of a softmax over an image's masks, of each prompt's mean logit on them.

    `PromptCompetition` asks of each pixel which prompt means it, and a network that likes one lesion whatever
    is said can answer that: it needs to like it a little more for the right words. What a reader of the mask
    asks is the other question, of each prompt which mask it means, and this is its loss. Masks that are the
    same (one lesion asked for twice) are one choice.

    Args:
        prompts_per_image: K; row i of a batch belongs to image i // K.
    """

    def __init__(self, prompts_per_image: int) -> None:
        super().__init__()
        self.prompts_per_image = prompts_per_image

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Mean over the prompts whose mask is not empty; 0 where all are.

        Args:
            logits: (B * K, 1, H, W).
            target: (B * K, 1, H, W), 1 where a prompt's mask is, else 0.
        """
        shape = (-1, self.prompts_per_image, logits[0].numel())
        scores, masks = logits.reshape(shape).float(), (target.reshape(shape) > 0.5).float()
        with full_precision(logits.device.type):  # areas are compared: half precision rounds them
            return self._choose(scores, masks)

    @staticmethod
    def _choose(scores: Tensor, masks: Tensor) -> Tensor:
        """Of (B, K, pixels) each."""
        pixels = masks.sum(dim=-1)  # (B, K)
        on_masks = scores @ (masks / pixels.clamp(min=1)[..., None]).mT  # (B, prompts, masks)
        shared = masks @ masks.mT
        copies = ((shared == pixels[:, None]) & (shared == pixels[..., None])).sum(dim=-1)  # (B, K)
        asked = pixels > 0
        choices = on_masks - copies.log()[:, None]
        choices = choices.masked_fill(~asked[:, None], torch.finfo(choices.dtype).min)
        loss = choices.logsumexp(dim=-1) - on_masks.diagonal(dim1=1, dim2=2)
        return loss.where(asked, 0.0).sum() / asked.sum().clamp(min=1)  # no index: no waiting for a GPU

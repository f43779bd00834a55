"""Prompts of one image compete for its pixels."""

import torch
from torch import Tensor, nn


class PromptCompetition(nn.Module):
    """Cross-entropy of a softmax over an image's prompts and the background, which has the logit 0.

    Losses of one mask at a time let two prompts settle on the union of two organs: each is half right. Here a
    pixel's probability is shared out, so that a mask drawn for the wrong words costs the right ones theirs. A
    pixel that several prompts may have (one organ asked for twice) counts as right for any of them.

    Args:
        prompts_per_image: K; row i of a batch belongs to image i // K.
    """

    def __init__(self, prompts_per_image: int) -> None:
        super().__init__()
        self.prompts_per_image = prompts_per_image

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Mean over images and pixels.

        Args:
            logits: (B * K, 1, H, W).
            target: (B * K, 1, H, W), 1 where a prompt's mask is, else 0.
        """
        shape = (-1, self.prompts_per_image, *logits.shape[-2:])
        masks = target.reshape(shape)
        background = 1 - masks.amax(dim=1, keepdim=True)
        scores = torch.cat([torch.zeros_like(background), logits.reshape(shape)], dim=1)
        right = torch.cat([background, masks], dim=1) > 0.5
        of_right = scores.masked_fill(~right, -torch.inf).logsumexp(dim=1)
        return (scores.logsumexp(dim=1) - of_right).mean()

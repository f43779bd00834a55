"""What networks of a study are trained to do: the loss of a batch, by prompts or by a softmax over organs."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from monai.losses import DiceCELoss
from torch import Tensor, nn

from common.networks.base import TextSegmenter

from .image_only import ImageOnlyUNet
from .marginal import MarginalDiceCE

# (network, batch as `collate_slices` makes it, with tensors on the network's device) -> scalar loss
Objective = Callable[[TextSegmenter, Mapping[str, Any]], Tensor]


class PromptObjective:
    """The loss of each prompt's mask.

    Args:
        words: key of a batch whose strings are the text: "prompt", or "target" for bare names.
        loss: of logits and masks (B * K, 1, H, W).
    """

    def __init__(self, words: str, loss: nn.Module) -> None:
        self.words = words
        self.loss = loss

    def __call__(self, network: TextSegmenter, batch: Mapping[str, Any]) -> Tensor:
        return self.loss(network(batch["image"], batch[self.words]), batch["label"])


class SoftmaxObjective:
    """The loss of a softmax over the background and all organs.

    A batch names the organs that are annotated in each case, since it asks for all of them. The others are
    unknown there, see `MarginalDiceCE`.

    Args:
        organs: names of the channels, after the background's.
        batch_dice: see `MarginalDiceCE`.
    """

    def __init__(self, organs: Sequence[str], *, batch_dice: bool) -> None:
        self.organs = list(organs)
        self.loss = MarginalDiceCE(batch_dice=batch_dice)

    def __call__(self, network: TextSegmenter, batch: Mapping[str, Any]) -> Tensor:
        assert isinstance(network, ImageOnlyUNet)
        maps = network.encode_image(batch["image"])
        masks, annotated = self.organs_of(batch)
        if maps.ndim == 4:
            return self.loss(maps, masks, annotated)
        # Deep supervision, (B, heads, 1 + K, H, W): each map counts half of the finer one before it.
        weights = 0.5 ** torch.arange(maps.shape[1], device=maps.device)
        losses = torch.stack([self.loss(head, masks, annotated) for head in maps.unbind(dim=1)])
        return (losses * weights / weights.sum()).sum()

    def organs_of(self, batch: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        """Masks (B, K, H, W) float and which organs are annotated (B, K) bool, in the channels' order."""
        images, rows = len(batch["image"]), batch["label"][:, 0]
        masks = rows.new_zeros(images, len(self.organs), *rows.shape[1:])
        annotated = torch.zeros(images, len(self.organs), dtype=torch.bool, device=rows.device)
        asked = len(rows) // images
        for row, name in enumerate(batch["target"]):
            if name in self.organs:  # an organ that is named as absent alone has no channel
                place = row // asked, self.organs.index(name)
                masks[place], annotated[place] = rows[row], True
        return masks, annotated


def dice_and_bce(*, batch_dice: bool = False) -> nn.Module:
    """Dice + BCE of each mask; an empty mask has BCE alone to learn from.

    Args:
        batch_dice: one Dice of all masks of a batch instead of each mask's own.
    """
    return DiceCELoss(sigmoid=True, smooth_nr=0.0, batch=batch_dice)

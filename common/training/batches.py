"""How MONAI's trainer and evaluator hand this project's batches to a network."""

from typing import Any

import torch
from monai.engines.utils import PrepareBatch
from torch import Tensor

from ..data.volumes import Volume


class PreparePrompts(PrepareBatch):
    """Training: image and label as tensors, the prompts as the network's keyword `text`."""

    def __call__(
        self,
        batchdata: dict[str, Any],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor, tuple[()], dict[str, Any]]:
        """`collate_slices`' batch -> image (B, 1, S, S), label (B * K, 1, S, S), (), {"text": prompts}."""
        image = batchdata["image"].to(device=device, non_blocking=non_blocking, **kwargs)
        label = batchdata["label"].to(device=device, non_blocking=non_blocking, **kwargs)
        return image, label, (), {"text": batchdata["prompt"]}


class PrepareVolume(PrepareBatch):
    """Evaluation: one volume, its reference, and the prompts as the `VolumeInferer`'s keyword."""

    def __call__(
        self,
        batchdata: dict[str, Any],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[Volume, Volume, tuple[()], dict[str, Any]]:
        """`VolumeCases`' item -> image, label, (), {"prompts": ...}; the inferer moves the slices itself."""
        return batchdata["image"], batchdata["label"], (), {"prompts": batchdata["prompts"]}

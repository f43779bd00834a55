"""How grey values become what an image encoder was trained on."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..errors import InputError

# Mean and standard deviation for values in [0, 1]: of red, green and blue, or one of every channel.
NORMALISATIONS: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "unit": ((0.0,), (1.0,)),  # [0, 1] as it is, as MedSAM was trained
    "half": ((0.5,), (0.5,)),  # ViT
    "lite": ((127 / 255,), (128 / 255,)),  # EfficientNet-Lite: (value - 127) / 128 of 0 to 255
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),  # SAM, SegNeXt
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
}
NEED_COLOURS = tuple(name for name, (mean, _) in NORMALISATIONS.items() if len(mean) > 1)
PER_IMAGE = "per_image"  # zero mean and unit variance of each image by itself
LEAST_STD = 1e-6  # an even image becomes 0 and not a division by 0


class Normalise(nn.Module):
    """Images as normalised ones; a grey image becomes three equal channels, as encoders of colours take it.

    Args:
        name: a key of `NORMALISATIONS`, or "per_image". "imagenet" and "clip" treat red, green and blue each
            in its own way; the others take any number of channels.

    Raises:
        InputError: another name.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str) -> None:
        super().__init__()
        if name != PER_IMAGE and name not in NORMALISATIONS:
            known = ", ".join((*NORMALISATIONS, PER_IMAGE))
            raise InputError(f"image_normalisation: found {name!r}, expected one of {known}; choose one.")
        self.name = name
        # Constants: a checkpoint does not hold them.
        for statistic, values in zip(("mean", "std"), NORMALISATIONS.get(name, ((), ())), strict=True):
            self.register_buffer(statistic, torch.tensor(values).view(1, -1, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] -> (B, C, H, W), or (B, 3, H, W) where C is 1.

        Raises:
            InputError: neither 1 nor 3 channels for a normalisation of colours.
        """
        channels = image.shape[1]
        if self.name in NEED_COLOURS and channels not in (1, 3):
            raise InputError(
                f"image_normalisation: found {self.name!r} for an image of {channels} channels, expected 1 "
                "or 3 channels for it; change the channels, or choose unit, half or per_image."
            )
        pixels = image.expand(-1, 3, -1, -1) if channels == 1 else image
        if self.name == PER_IMAGE:
            std, mean = torch.std_mean(image, dim=(1, 2, 3), correction=0, keepdim=True)
            return (pixels - mean) / std.clamp(min=LEAST_STD)
        return (pixels - self.mean) / self.std

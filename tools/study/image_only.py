"""An image-only network behind the text-guided contract, so that both run through the same code."""

from collections.abc import Sequence

import torch
from monai.networks.nets import UNet
from torch import Tensor, nn

from common.data.framing import Framing
from common.errors import InputError
from common.networks.base import TextSegmenter
from common.networks.guidance import Guidance


class ImageOnlyUNet(TextSegmenter):
    """A U-Net with an output channel an organ; a prompt only chooses the channel.

    Args:
        organs: names of the channels; a prompt must be one of them.
        image_size: side in pixels of the slices.
        framing: see `TextSegmenter`.
        body: (B, C, H, W) -> logits of all organs (B, K, H, W); None is MONAI's UNet of 16 to 256 channels.
    """

    def __init__(
        self,
        organs: Sequence[str],
        *,
        image_size: int,
        framing: Framing | None = None,
        body: nn.Module | None = None,
    ) -> None:
        super().__init__(image_size=image_size, default_prompt=organs[0], framing=framing)
        self.organs = list(organs)
        self.unet = body or UNet(
            spatial_dims=2,
            in_channels=self.field_shape[0],
            out_channels=len(organs),
            channels=(16, 32, 64, 128, 256),
            strides=(2, 2, 2, 2),
            num_res_units=2,
        )

    def encode_image(self, image: Tensor) -> Tensor:
        """(B, C, H, W) -> logits of all organs (B, K, H, W)."""
        return self.unet(image)

    def encode_text(self, prompts: Sequence[str]) -> Guidance:
        """P organ names -> their channels as tokens (P, 1, 1)."""
        unknown = [prompt for prompt in prompts if prompt not in self.organs]
        if unknown:
            raise InputError(
                f"prompt: '{unknown[0]}' is not one of {', '.join(self.organs)}; use a name of these."
            )
        channels = torch.tensor([self.organs.index(prompt) for prompt in prompts])
        return Guidance(channels.view(-1, 1, 1), torch.ones(len(prompts), 1, dtype=torch.bool))

    def decode(self, image_features: Tensor, guidance: Guidance) -> Tensor:
        """The channel that each prompt names: (P, 1, H, W), see `TextSegmenter.decode`."""
        assert guidance.tokens is not None
        channels = guidance.tokens.flatten().to(image_features.device)
        images = torch.arange(len(channels), device=image_features.device) // (
            len(channels) // len(image_features)
        )
        return image_features[images, channels][:, None]

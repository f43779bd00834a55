"""Image-only networks behind the text-guided contract, so that both run through the same code."""

from collections.abc import Sequence

import torch
from monai.networks.nets import UNet
from torch import Tensor, nn

from common.data.framing import Framing
from common.errors import InputError
from common.networks.base import TextSegmenter
from common.networks.guidance import Guidance


def plain_unet(in_channels: int, out_channels: int, channels: Sequence[int]) -> UNet:
    """MONAI's residual UNet with these channels, each level at half of the resolution above it."""
    return UNet(
        spatial_dims=2,
        in_channels=in_channels,
        out_channels=out_channels,
        channels=channels,
        strides=(2,) * (len(channels) - 1),
        num_res_units=2,
    )


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
        self.unet = body or plain_unet(self.field_shape[0], len(organs), (16, 32, 64, 128, 256))

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
        images, channels = self._places(image_features, guidance)
        return image_features[images, channels][:, None]

    def _places(self, image_features: Tensor, guidance: Guidance) -> tuple[Tensor, Tensor]:
        """(P,) image of each prompt, and number of its organ."""
        assert guidance.tokens is not None
        channels = guidance.tokens.flatten().to(image_features.device)
        images = torch.arange(len(channels), device=image_features.device) // (
            len(channels) // len(image_features)
        )
        return images, channels


class SoftmaxUNet(ImageOnlyUNet):
    """A network whose channels, the background's before those of the organs, share out each pixel.

    The logit of an organ is how far its channel is above the highest of the others, so that its mask is where
    the softmax is highest for it.

    Args:
        organs: names of the channels after the first.
        image_size: side in pixels of the slices.
        framing: see `TextSegmenter`.
        body: (B, C, H, W) -> logits (B, 1 + K, H, W); in training also (B, heads, 1 + K, H, W).
    """

    def __init__(self, organs: Sequence[str], *, image_size: int, framing: Framing, body: nn.Module) -> None:
        super().__init__(organs, image_size=image_size, framing=framing, body=body)

    def decode(self, image_features: Tensor, guidance: Guidance) -> Tensor:
        """(P, 1, H, W), see the class; of deep supervision the finest map."""
        maps = image_features[:, 0] if image_features.ndim == 5 else image_features
        images, channels = self._places(maps, guidance)
        of_prompt = maps[images]  # (P, 1 + K, H, W)
        place = (channels + 1).view(-1, 1, 1, 1).expand(-1, 1, *of_prompt.shape[-2:])
        own = of_prompt.gather(1, place)
        return own - of_prompt.scatter(1, place, -torch.inf).amax(dim=1, keepdim=True)

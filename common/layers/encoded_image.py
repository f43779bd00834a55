"""What an image encoder gives."""

from typing import NamedTuple

from torch import Tensor


class EncodedImage(NamedTuple):
    """The maps of B images.

    Attributes:
        features: (B, C, h, w), the encoder's output.
        embedded: (B, C, h, w), the patch embeddings that went into it; empty where there are none to adapt.
        skips: finer maps for the decoder, coarse to fine; () for a plain ViT.
    """

    features: Tensor
    embedded: Tensor
    skips: tuple[Tensor, ...] = ()

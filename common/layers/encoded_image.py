"""What an image encoder gives."""

from typing import NamedTuple

from torch import Tensor


class EncodedImage(NamedTuple):
    """The maps of B images.

    Attributes:
        features: (B, C, h, w), the encoder's output.
        embedded: (B, C, h, w), the patch embeddings that went into it; empty where there are none to adapt.
        skips: finer maps for the decoder, coarse to fine; () for a plain ViT.
        taps: (B, C, h, w) each, the outputs of the blocks that were asked for, in that order.
        class_tokens: (B, C) each, the class token in each of the `taps`; () for SAM, which has none.
    """

    features: Tensor
    embedded: Tensor
    skips: tuple[Tensor, ...] = ()
    taps: tuple[Tensor, ...] = ()
    class_tokens: tuple[Tensor, ...] = ()

"""LSMS: the mask of the lesion that a sentence refers to (arXiv 2408.17347).

Four stages of SVLA blocks, into each of which the sentence enters, and a Full-Scale Decoder. The paper leaves
much open; each argument's description says what is chosen here. Its published widths do not give its
published 8.78 M parameters and 8.91 G: the text projections alone take 4.9 M there.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ...data.framing import Framing
from ...errors import InputError
from ...layers.normalisation import Normalise
from ...text.bank import BankedTextEncoder
from ...text.encoders import MAX_TOKENS, TextEncoder
from ..base import TextSegmenter, check_channels
from ..guidance import Guidance
from .checks import (
    check_choice,
    check_decoder,
    check_image_size,
    check_kernels,
    check_stages,
    check_switches,
)
from .encoder_block import NORM_ORDERS, BlockDesign, EncoderStage, NormOrder, down, stem
from .full_scale_decoder import Design, FullScaleDecoder, resize
from .mscan_weights import load_mscan
from .svla import SCALES, Scale

SMALLEST_SIDE = 33  # below, the last stage has one pixel, of which an instance norm has no variance

# Whole slices, stretched to the field as the paper does, and left in the text is left in the field.
FRAMING = Framing(crop="whole", mirrored=True, images=True)

BERT_BASE = {
    "text_model": "google-bert/bert-base-uncased",
    "text_revision": "86b5e0934494bd15c9632b12f734a8a67f723594",
}

# What differs between the presets; `LSMS`'s defaults are the paper's as printed.
PRESETS: dict[str, dict[str, Any]] = {
    # The published widths: 21.0 M parameters and 21.0 GMAC at 480 pixels.
    "paper": {**BERT_BASE, "image_size": 480},
    # SegNeXt-T's widths, of which all weights load: 8.1 M and 8.7 GMAC, the nearest to the published counts.
    "paper_t": {
        **BERT_BASE,
        "image_size": 480,
        "widths": (32, 64, 160, 256),
        "ffn_ratios": (8, 8, 4, 4),
        "norm_order": "pre",
        "projected": True,
        "ham_channels": 512,
        "align_stage": 2,
    },
    # For two CPU cores. A field of 192 pixels is small, so the first stage helps to find borders.
    # Pre-norm, since in short trainings it came to follow the words where post-norm did not.
    "compact": {
        "text_model": "sentence-transformers/all-MiniLM-L6-v2",
        "image_size": 192,
        "widths": (32, 64, 128, 256),
        "depths": (2, 2, 4, 2),
        "norm_order": "pre",
        "scale": "channels",
        "ham_channels": 128,
        "align_channels": 64,
        "decoder_stages": (1, 2, 3, 4),
        "coordinates": True,
    },
}


class EmbeddedImage(NamedTuple):
    """B images as far as no word has reached them.

    Attributes:
        features: (B, C, H / 4, W / 4), V_1 of the paper.
        size: (H, W) of the images.
    """

    features: Tensor
    size: tuple[int, int]


class LSMS(TextSegmenter):
    """LSMS.

    Words enter the first block already, so `encode_image` is the embedding block alone and `decode` runs the
    four stages for every prompt: many prompts on one image cost nearly as much as many images.

    Without text (`network(image)`, `Guidance(silent=P)`) Att_L drops out of every block, and nothing
    else changes: the paper's rows without text. `text_encoder=None` builds that network alone.

    Args:
        text_encoder: language model, frozen unless it was built as trainable; None for a network without
            language, which takes prompts and does not read them.
        image_size: side in pixels of the images.
        widths: channels of the four stages.
        depths: blocks of the four stages.
        ffn_ratios: of the feed-forward parts of the four stages (not published).
        norm_order: "post" as printed or "pre" as in SegNeXt, then with a layer norm after each stage.
        projected: 1 x 1 convolutions around SVLA, as in SegNeXt.
        kernels: lengths of the ConvUnits (Table 3).
        pixel_map: whether the language branch multiplies with V2 (Table 3).
        scale: of its scores, see `LanguageBranch`.
        decoder: design of the Full-Scale Decoder (Table 3), see there.
        decoder_stages: stages that enter the decoder, from 1 to 4 (Table 3). Those after the last of these
            are not built.
        align_stage: the stage on whose grid it works, not one after these.
        ham_channels, align_channels, rank: see `FullScaleDecoder`.
        coordinates: the second and third channel are each pixel's column and row (-1 to 1) instead of its
            grey value again (CoordConv, arXiv 1807.03247), for words such as "leftmost"; of grey images.
        default_prompt: stands in model cards; a call without text is the mode without text.
        framing: see `TextSegmenter`.

    Raises:
        InputError: a value that the network cannot be built with.
    """

    normalisation = "imagenet"  # as SegNeXt's weights expect

    def __init__(
        self,
        *,
        text_encoder: TextEncoder | BankedTextEncoder | None,
        image_size: int,
        widths: Sequence[int] = (64, 128, 320, 512),
        depths: Sequence[int] = (3, 3, 5, 2),
        ffn_ratios: Sequence[int] = (4, 4, 4, 4),
        norm_order: NormOrder = "post",
        projected: bool = False,
        kernels: Sequence[int] = (7, 11, 21),
        pixel_map: bool = True,
        scale: Scale = "text",
        decoder: Design = "hamburger",
        decoder_stages: Sequence[int] = (2, 3, 4),
        align_stage: int = 1,
        ham_channels: int = 256,
        align_channels: int = 256,
        rank: int = 16,
        coordinates: bool = False,
        default_prompt: str = "the lesion",
        framing: Framing | None = None,
    ) -> None:
        super().__init__(image_size=image_size, default_prompt=default_prompt, framing=framing)
        check_channels(self.framing, (1,) if coordinates else (1, 3))
        check_stages(widths=widths, depths=depths, ffn_ratios=ffn_ratios)
        check_choice("norm_order", norm_order, NORM_ORDERS)
        check_choice("scale", scale, SCALES)
        check_kernels(kernels)
        check_switches(pixel_map=pixel_map, projected=projected, coordinates=coordinates)
        check_image_size(image_size, SMALLEST_SIDE)
        check_decoder(decoder, decoder_stages, align_stage, (ham_channels, align_channels), rank)
        self.text_encoder = text_encoder
        self.decoder_stages, self.align_stage = tuple(decoder_stages), align_stage
        last = max(decoder_stages)
        widths, depths, ffn_ratios = widths[:last], depths[:last], ffn_ratios[:last]
        self.norm_order, self.depths, self.coordinates = norm_order, tuple(depths), coordinates
        self.scale, self.rank = scale, rank
        self.stem = stem(widths[0])
        self.downs = nn.ModuleList(down(before, after) for before, after in pairwise(widths))
        design = BlockDesign(norm_order, projected, kernels, pixel_map, scale)
        words = None if text_encoder is None else text_encoder.width
        self.stages = nn.ModuleList(
            EncoderStage(width, words, design, depth=depth, ratio=ratio)
            for width, depth, ratio in zip(widths, depths, ffn_ratios, strict=True)
        )
        self.decoder = FullScaleDecoder(
            [widths[stage - 1] for stage in decoder_stages],
            design=decoder,
            ham_channels=ham_channels,
            align_channels=align_channels,
            rank=rank,
        )
        self.normalise = Normalise(self.normalisation)

    @classmethod
    def from_preset(
        cls,
        preset: str,
        *,
        text_model: str | None = None,
        text_revision: str | None = None,
        text_bank: str | None = None,
        text_dtype: str = "float32",
        max_tokens: int = MAX_TOKENS,
        language: bool = True,
        train_text: bool = False,
        mscan: str | None = None,
        **changes: Any,
    ) -> "LSMS":
        """Build a preset with its pretrained language model.

        Args:
            preset: a key of `PRESETS`.
            text_model, text_revision: hub id and commit, or local folder, instead of the preset's.
            text_bank: an `.npz` of encoded texts, see `BankedTextEncoder`.
            text_dtype: "float32", or "bfloat16" for a large language model, see `TextEncoder`.
            max_tokens: word pieces of a text that are read, special ones included.
            language: False builds the network without language; no language model is looked for.
            train_text: train the language model too; a checkpoint then holds it.
            mscan: SegNeXt's weights to start from, see `load_mscan`; None starts from random ones.
            changes: keyword arguments of `LSMS` that replace the preset's; None keeps the preset's. Of
                `framing`, attributes that replace those of `FRAMING`.

        Raises:
            InputError: no such preset, weights that cannot be found or loaded, or see `LSMS`.
        """
        check_choice("preset", preset, tuple(PRESETS))
        check_switches(language=language, train_text=train_text)
        settings = PRESETS[preset] | {name: value for name, value in changes.items() if value is not None}
        base = (settings.pop("text_model"), settings.pop("text_revision", None))
        if text_model is not None:
            base = (text_model, text_revision)
        encoder = None
        if language:
            reading = {"revision": base[1], "dtype": text_dtype, "max_tokens": max_tokens}
            encoder = _text_encoder(base[0], bank=text_bank, trainable=train_text, **reading)
        framing = FRAMING.changed(settings.pop("framing", None))
        network = cls(text_encoder=encoder, framing=framing, **settings)
        if mscan is not None:
            load_mscan(network, mscan)
        return network

    def settings(self) -> dict[str, Any]:
        """See `TextSegmenter.settings`."""
        words = self.text_encoder
        return {
            "scale": self.scale,
            "rank": self.rank,
            "decoder_stages": list(self.decoder_stages),
            "align_stage": self.align_stage,
            "coordinates": self.coordinates,
            **({} if words is None else {"max_tokens": words.max_tokens, "text_dtype": words.dtype}),
        }

    def encode_image(self, image: Tensor) -> EmbeddedImage:
        """Embed (B, C, H, W) in [0, 1], C 1 or 3, in ImageNet's normalisation; see also `coordinates`.

        Raises:
            InputError: an image with a side below 33 pixels.
        """
        size = (image.shape[-2], image.shape[-1])
        if min(size) < SMALLEST_SIDE:
            raise InputError(
                f"image: {size[0]} x {size[1]} pixels, expected sides of at least {SMALLEST_SIDE}; resize it."
            )
        pixels = self.normalise(image)
        if self.coordinates:
            pixels = torch.cat([pixels[:, :1], _coordinates(size, like=pixels)], dim=1)
        if image.device.type == "cpu":
            # Depthwise convolutions run 2 to 10 times as fast in this layout, the one of 1 x 21 100 times.
            pixels = pixels.contiguous(memory_format=torch.channels_last)
        return EmbeddedImage(self.stem(pixels), size)

    def encode_text(self, prompts: Sequence[str]) -> Guidance:
        """P prompts -> last hidden states of the word pieces (P, T, D) with their mask.

        A network without language gives P rows of nothing.
        """
        if self.text_encoder is None:
            device = self.normalise.mean.device
            mask = torch.ones(len(prompts), 1, dtype=torch.bool, device=device)
            return Guidance(torch.zeros(len(prompts), 1, 1, device=device), mask)
        encoded = self.text_encoder(prompts)
        return Guidance(encoded.tokens, encoded.mask)

    def decode(self, image_features: EmbeddedImage, guidance: Guidance) -> Tensor:
        """Encode with words and segment: logits (P, 1, H, W), see `TextSegmenter.decode`.

        Without text, the language branches are left out.
        """
        x, size = image_features
        if guidance.count != x.shape[0]:
            x = x.repeat_interleave(guidance.count // x.shape[0], dim=0)
        maps = []
        for index, stage in enumerate(self.stages):
            x = stage(x if index == 0 else self.downs[index - 1](x), guidance.tokens, guidance.mask)
            maps.append(x)
        height, width = maps[self.align_stage - 1].shape[-2:]
        entering = [maps[stage - 1] for stage in self.decoder_stages]
        return resize(self.decoder(entering, size=(height, width)), size)

    def unguided(self, images: int) -> Guidance:
        """The mode without text, not the default prompt."""
        return Guidance(silent=images)


def _text_encoder(
    model: str, *, bank: str | None, trainable: bool, **options: Any
) -> TextEncoder | BankedTextEncoder:
    """The language model, or a bank that stands for it; `options` are those that both have."""
    if bank is None:
        return TextEncoder(model, trainable=trainable, **options)
    if trainable:
        raise InputError(
            "text_bank: found a bank and train_text, expected one of the two, since a bank holds what the "
            "frozen language model encoded; leave the bank out."
        )
    return BankedTextEncoder(model, bank=bank, **options)


def _coordinates(size: tuple[int, int], *, like: Tensor) -> Tensor:
    """Column and row of each pixel from -1 to 1: (B, 2, H, W) of the batch, type and device of `like`."""
    rows, columns = (torch.linspace(-1, 1, side, dtype=like.dtype, device=like.device) for side in size)
    grids = (columns.expand(size), rows.unsqueeze(1).expand(size))
    return torch.stack(grids).expand(like.shape[0], -1, -1, -1)

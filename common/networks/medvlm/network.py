"""Med-VLM: the mask of an organ from a CT slice and words (ICCV 2025 Workshops, pp. 7342-7352).

A frozen ViT-B and a frozen BERT-base with a LoRA adapter each, four feature mixers and a mask decoder.
"""

from collections.abc import Sequence
from typing import Any, Literal, get_args

from torch import Tensor, nn
from torch.nn import functional as F

from ...data.framing import Framing
from ...errors import InputError
from ...layers.adapters import LowRankBypass, add_bottlenecks, add_query_value_lora, with_prefix
from ...layers.vision_towers import EncodedImage, VisionTower, load_tower
from ...text.bank import BankedTextEncoder
from ...text.encoders import MAX_TOKENS, TextEncoder
from ..base import TextSegmenter, check_channels
from ..guidance import Guidance
from .mask_decoder import MaskDecoder
from .mixers import FeatureMixer, FourierPositions
from .pyramid import PyramidEncoder

Side = Literal["both", "text", "image", "none"]
Tuning = Literal["bypass", "lora", "bottleneck", "prefix"]

FRAMING = Framing(crop="body")  # in the abdomen's window

# What differs between the presets; `MedVLM`'s defaults are the paper's.
PRESETS: dict[str, dict[str, Any]] = {
    # The printed equations: one low-rank bypass beside each encoder (5.205 M trainable, reading A).
    "paper": {
        "image_model": "openai/clip-vit-base-patch16",
        "text_model": "dmis-lab/biobert-base-cased-v1.1",
        "image_size": 512,
    },
    # Standard LoRA on the queries and values of every layer of both encoders (5.77 M, reading E).
    "paper_qv": {
        "image_model": "openai/clip-vit-base-patch16",
        "text_model": "dmis-lab/biobert-base-cased-v1.1",
        "image_size": 512,
        "tuning": "lora",
    },
    # The likeliest set-up by the time that the paper's training took: SAM's ViT-B with its own frozen neck,
    # which gives the mixers' width, and LoRA on the queries and values of both encoders (5.57 M trainable).
    # MedSAM is image_model "wanglab/medsam-vit-base" or "medsam_vit_b.pth".
    "paper_sam": {
        "image_model": "facebook/sam-vit-base",
        "text_model": "dmis-lab/biobert-base-cased-v1.1",
        "image_size": 1024,
        "tuning": "lora",
    },
    # For two CPU cores: a small image encoder trained in full.
    "compact": {
        "image_model": None,
        "text_model": "sentence-transformers/all-MiniLM-L6-v2",
        "image_size": 128,
        "width": 128,
        "heads": 4,
        "mlp_width": 256,
        "decoder_channels": (),
        "words_per_token": 2,
        # A slice and its neighbours: what goes on above and below tells where in the body it lies.
        "framing": {"channels": ({}, *({"offset_mm": offset} for offset in (-3.0, 3.0, -9.0, 9.0)))},
    },
}


class MedVLM(TextSegmenter):
    """Med-VLM.

    Args:
        image_encoder: `VisionTower` (frozen) or `PyramidEncoder` (trained in full, so never adapted).
        text_encoder: frozen language model.
        image_size: side in pixels of the slices.
        adapter: which of the frozen encoders are adapted (Table 4).
        tuning: how (Table 5): "bypass" (eqs 2-3 as printed), "lora" (on every layer's queries and values),
            "bottleneck" (behind every layer) or "prefix" (virtual words; text side only).
        rank: of the adapters; a prefix has as many words.
        width: channels of the mixers.
        heads: attention heads.
        mlp_width: inner width of the mixers' MLP.
        mixers: how many.
        decoder_channels: of the decoder's maps; each doubles the grid.
        words_per_token: word pieces whose mean makes a token; with 2, a description of 60 pieces is 30
            tokens, which the mixers are through with sooner. With many more, two names share a token, and
            which of them is meant can no longer be read.
        default_prompt, framing: see `TextSegmenter`.

    Raises:
        InputError: an image size that the encoder cannot tile, a framing with more channels than it takes,
            an unknown adapter or tuning.
    """

    def __init__(
        self,
        *,
        image_encoder: VisionTower | PyramidEncoder,
        text_encoder: TextEncoder | BankedTextEncoder,
        image_size: int,
        adapter: Side = "both",
        tuning: Tuning = "bypass",
        rank: int = 8,
        width: int = 256,
        heads: int = 8,
        mlp_width: int = 1024,
        mixers: int = 4,
        decoder_channels: Sequence[int] = (64, 32),
        words_per_token: int = 1,
        default_prompt: str = "liver",
        framing: Framing | None = None,
    ) -> None:
        super().__init__(image_size=image_size, default_prompt=default_prompt, framing=framing)
        check_channels(self.framing, image_encoder.takes_channels)
        if image_size % image_encoder.stride:
            raise InputError(
                f"image_size: found {image_size}, expected a multiple of {image_encoder.stride}, the side of "
                "an image token in pixels."
            )
        self.image_encoder = image_encoder
        self.normalisation = image_encoder.normalisation
        self.text_encoder = text_encoder
        self.heads, self.words_per_token = heads, words_per_token
        self.image_adapter: LowRankBypass | None = None
        self.text_adapter: LowRankBypass | None = None
        _check_adapters(adapter, tuning)
        if adapter in ("both", "text"):
            self.text_adapter = _adapt_text(text_encoder, tuning, rank)
        if adapter in ("both", "image") and isinstance(image_encoder, VisionTower):
            self.image_adapter = _adapt_image(image_encoder, tuning, rank)
        self.image_projection = _projection(image_encoder.width, width)
        self.text_projection = _projection(text_encoder.width, width)
        self.positions = FourierPositions(width)
        self.mixers = nn.ModuleList(
            FeatureMixer(width, heads=heads, mlp_width=mlp_width) for _ in range(mixers)
        )
        self.decoder = MaskDecoder(
            width, heads=heads, channels=decoder_channels, skip_channels=image_encoder.skip_channels
        )

    @classmethod
    def from_preset(
        cls,
        preset: str,
        *,
        image_model: str | None = None,
        image_revision: str | None = None,
        image_normalisation: str | None = None,
        text_model: str | None = None,
        text_revision: str | None = None,
        text_bank: str | None = None,
        text_dtype: str = "float32",
        max_tokens: int = MAX_TOKENS,
        **changes: Any,
    ) -> "MedVLM":
        """Build a preset with its pretrained base encoders.

        Args:
            preset: a key of `PRESETS`.
            image_model, text_model: hub id or local folder, instead of the preset's.
            image_revision, text_revision: hub commits; None takes the pinned ones.
            image_normalisation: of the pixels, see `VisionTower`.
            text_bank: an `.npz` of encoded texts, see `BankedTextEncoder`.
            text_dtype: "float32", or "bfloat16" for a large language model, see `TextEncoder`.
            max_tokens: word pieces of a text that are read, special ones included.
            changes: keyword arguments of `MedVLM` that replace the preset's; None keeps the preset's. Of
                `framing`, attributes that replace those of the preset, which replace those of `FRAMING`.

        Raises:
            InputError: no such preset, or a base encoder that cannot be found or loaded.
        """
        if preset not in PRESETS:
            raise InputError(f"preset: found '{preset}', expected one of {', '.join(PRESETS)}; choose one.")
        settings = PRESETS[preset] | {name: value for name, value in changes.items() if value is not None}
        preset_image, preset_text = settings.pop("image_model"), settings.pop("text_model")
        framing = FRAMING.changed(PRESETS[preset].get("framing")).changed(changes.get("framing"))
        settings.pop("framing", None)
        return cls(
            image_encoder=_image_encoder(
                image_model or preset_image,
                channels=len(framing.channels),
                revision=image_revision,
                normalisation=image_normalisation,
                image_size=settings["image_size"],
            ),
            text_encoder=_text_encoder(
                text_model or preset_text,
                bank=text_bank,
                settings=settings,
                revision=text_revision,
                dtype=text_dtype,
                max_tokens=max_tokens,
            ),
            framing=framing,
            **settings,
        )

    def settings(self) -> dict[str, Any]:
        """See `TextSegmenter.settings`."""
        return {
            "heads": self.heads,
            "words_per_token": self.words_per_token,
            "max_tokens": self.text_encoder.max_tokens,
            "text_dtype": self.text_encoder.dtype,
        }

    def encode_image(self, image: Tensor) -> EncodedImage:
        """(B, C, H, W) in [0, 1] -> adapted and projected map (B, width, h, w), and the encoder's skips."""
        encoded = self.image_encoder(image)
        features = encoded.features
        if self.image_adapter is not None:
            features = features + self.image_adapter(encoded.embedded.movedim(1, -1)).movedim(-1, 1)
        features = self.image_encoder.project(features)
        features = self.image_projection(features.movedim(1, -1)).movedim(-1, 1)
        return encoded._replace(features=features)

    def encode_text(self, prompts: Sequence[str]) -> Guidance:
        """P prompts -> adapted and projected tokens (P, T, width) with their mask, see `words_per_token`."""
        encoded = self.text_encoder(prompts)
        tokens = encoded.tokens
        if self.text_adapter is not None:
            tokens = tokens + self.text_adapter(encoded.embedded)
        return _mean_of_words(self.text_projection(tokens), encoded.mask, self.words_per_token)

    def decode(self, image_features: EncodedImage, guidance: Guidance) -> Tensor:
        """Mix and decode: logits (P, 1, H, W) for P prompts on B images, see `TextSegmenter.decode`."""
        start, mask = guidance.tokens, guidance.mask
        assert start is not None  # no words at all are those of an empty text
        assert mask is not None
        grid = (image_features.features.shape[-2], image_features.features.shape[-1])
        image = image_features.features.flatten(2).transpose(1, 2)
        image = image.repeat_interleave(start.shape[0] // image.shape[0], dim=0)
        words, positions = start, self.positions(*grid)
        for mixer in self.mixers:
            words, image = mixer(words, image, text_start=start, positions=positions, mask=mask)
        logits = self.decoder(
            words,
            image,
            text_start=start,
            positions=positions,
            mask=mask,
            grid=grid,
            skips=image_features.skips,
        )
        size = (grid[0] * self.image_encoder.stride, grid[1] * self.image_encoder.stride)
        return F.interpolate(logits, size, mode="bilinear", align_corners=False)


def _image_encoder(
    model: str | None, *, channels: int, revision: str | None, normalisation: str | None, image_size: int
) -> VisionTower | PyramidEncoder:
    """A frozen pretrained tower, or without a `model` the small encoder that is trained in full."""
    if model is None:
        if normalisation not in (None, PyramidEncoder.normalisation):
            raise InputError(
                f"image_normalisation: found {normalisation!r} without an image_model, expected null: the "
                "small encoder takes [0, 1] as it is; leave it out or give an image_model."
            )
        return PyramidEncoder(in_channels=channels)
    return VisionTower(
        load_tower(model, revision=revision),
        image_size=image_size,
        source=model,
        revision=revision,
        normalisation=normalisation,
    )


def _check_adapters(adapter: str, tuning: str) -> None:
    for name, found, known in (("adapter", adapter, get_args(Side)), ("tuning", tuning, get_args(Tuning))):
        if found not in known:
            raise InputError(f"{name}: found {found!r}, expected one of {', '.join(known)}; choose one.")
    if tuning == "prefix" and adapter in ("both", "image"):
        raise InputError(
            f"adapter: found {adapter!r} with the tuning 'prefix', which is for the text side; choose the "
            "adapter 'text', or another tuning."
        )


def _adapt_text(encoder: TextEncoder | BankedTextEncoder, tuning: str, rank: int) -> LowRankBypass | None:
    """Adapt a frozen encoder in place, or give the bypass that runs beside it."""
    if tuning == "bypass":
        return LowRankBypass(encoder.width, rank=rank)
    assert not isinstance(encoder, BankedTextEncoder)  # it stands for a frozen one: see `_text_encoder`
    if tuning == "prefix":
        encoder.model = with_prefix(encoder.model, tokens=rank)
    elif tuning == "bottleneck":
        add_bottlenecks(encoder.model, width=encoder.width, rank=rank)
    else:
        add_query_value_lora(encoder.model, rank=rank)
    return None


def _adapt_image(encoder: VisionTower, tuning: str, rank: int) -> LowRankBypass | None:
    """Adapt a frozen tower in place, or give the bypass that runs beside it."""
    if tuning == "bypass":
        return LowRankBypass(encoder.embed_width, rank=rank)
    if tuning == "bottleneck":
        add_bottlenecks(encoder.model, width=encoder.embed_width, rank=rank)
    else:
        add_query_value_lora(encoder.model, rank=rank)
    return None


def _mean_of_words(tokens: Tensor, mask: Tensor, count: int) -> Guidance:
    """Means of `count` neighbouring real tokens: (P, T, C) -> (P, ceil(T / count), C)."""
    if count == 1:
        return Guidance(tokens, mask)
    missing = -tokens.shape[1] % count
    grouped = F.pad(tokens, (0, 0, 0, missing)).unflatten(1, (-1, count))
    weight = F.pad(mask, (0, missing)).unflatten(1, (-1, count)).to(tokens.dtype)
    total = weight.sum(2)
    means = (grouped * weight.unsqueeze(-1)).sum(2) / total.clamp(min=1).unsqueeze(-1)
    return Guidance(means, total > 0)


def _text_encoder(
    model: str, *, bank: str | None, settings: dict[str, Any], **options: Any
) -> TextEncoder | BankedTextEncoder:
    """The language model, or a bank that stands for it; `options` are those that both have."""
    if bank is None:
        return TextEncoder(model, **options)
    tuning = settings.get("tuning", "bypass")
    if tuning != "bypass" and settings.get("adapter", "both") in ("both", "text"):
        raise InputError(
            f"text_bank: found a bank and the tuning '{tuning}', expected tuning bypass, or adapter image or "
            "none, since a bank holds what the frozen language model encoded; leave the bank out."
        )
    return BankedTextEncoder(model, bank=bank, **options)


def _projection(before: int, after: int) -> nn.Module:
    """Linear where widths differ; SAM's neck already gives the mixers' width."""
    return nn.Identity() if before == after else nn.Linear(before, after)

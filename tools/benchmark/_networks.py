"""Presets of the systems with random weights, so that no hub is needed, and MONAI's networks beside them.

What they cost depends on sizes alone, never on weights.
"""

from collections.abc import Callable
from typing import Any

from monai.networks.nets import AttentionUnet, SwinUNETR, UNet
from torch import nn

from common.layers.pyramid import PyramidEncoder
from common.layers.vision_towers import VisionTower, random_tower
from common.networks import lsms, medvlm
from common.networks.base import TextSegmenter
from common.text.encoders import TextEncoder

from ._case import ORGANS

PEER_CHANNELS = 1  # grey, as CT is
_HEADS = {"num_attention_heads": 12}
MINILM = {**_HEADS, "hidden_size": 384, "num_hidden_layers": 6, "intermediate_size": 1536}
TOWERS: dict[str, tuple[str, dict[str, int]]] = {
    "openai/clip-vit-base-patch16": ("clip_vision_model", {"patch_size": 16}),
    "facebook/sam-vit-base": ("sam_vision_model", {}),
}
BERT_BASE = {**_HEADS, "hidden_size": 768, "num_hidden_layers": 12, "intermediate_size": 3072}
WORD_PIECES = 20  # of a sentence, with the two special ones; SLViT's length
SENTENCE = " ".join(["liver"] * (WORD_PIECES - 2))
SYSTEMS: dict[str, Any] = {"Med-VLM": medvlm.PRESETS, "LSMS": lsms.PRESETS}


def build_network(preset: str, *, side: int | None = None) -> medvlm.MedVLM:
    """A preset of Med-VLM; `side` in pixels instead of the preset's."""
    settings = _settings(medvlm.PRESETS[preset], side)
    image: VisionTower | PyramidEncoder = PyramidEncoder()
    model = medvlm.PRESETS[preset]["image_model"]
    if model is not None:
        family, sizes = TOWERS[model]
        image = VisionTower(random_tower(family, **sizes), image_size=settings["image_size"])
    return medvlm.MedVLM(image_encoder=image, text_encoder=_text_encoder(preset), **settings)


def build_lsms(preset: str, *, side: int | None = None) -> lsms.LSMS:
    """A preset of LSMS; `side` in pixels instead of the preset's."""
    return lsms.LSMS(text_encoder=_text_encoder(preset), **_settings(lsms.PRESETS[preset], side))


BUILDERS: dict[str, Callable[..., TextSegmenter]] = {"Med-VLM": build_network, "LSMS": build_lsms}


def peers() -> dict[str, nn.Module]:
    """MONAI's 2D networks of one output channel, in the sizes of its tutorials and the studies' UNet."""
    sizes: dict[str, Any] = {"spatial_dims": 2, "in_channels": PEER_CHANNELS, "out_channels": 1}
    levels: dict[str, Any] = {"channels": (16, 32, 64, 128, 256), "strides": (2, 2, 2, 2)}
    return {
        "MONAI UNet": UNet(**sizes, **levels, num_res_units=2),
        "MONAI AttentionUnet": AttentionUnet(**sizes, **levels),
        "MONAI SwinUNETR": SwinUNETR(**sizes, feature_size=24),
    }


def _settings(preset: dict[str, Any], side: int | None) -> dict[str, Any]:
    own = ("image_model", "text_model", "text_revision")
    settings = {name: value for name, value in preset.items() if name not in own}
    return settings if side is None else settings | {"image_size": side}


def _text_encoder(preset: str) -> TextEncoder:
    words = sorted({word for organ in ORGANS for word in organ.split()})
    sizes = MINILM if preset == "compact" else BERT_BASE
    return TextEncoder(None, config={"model_type": "bert", "vocabulary": words, **sizes})

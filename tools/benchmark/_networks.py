"""Presets of every system in common/networks with random weights, so that no hub is needed, and MONAI's
networks beside them.

What they cost depends on sizes alone, never on weights.
"""

import importlib
import pkgutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from monai.networks.nets import AttentionUnet, SwinUNETR, UNet
from torch import nn
from transformers import BertConfig, BertModel

from common import networks
from common.layers.vision_towers import random_tower
from common.networks.base import TextSegmenter

from ._volumes import ORGANS

PEER_CHANNELS = 1  # grey, as CT is
_MINILM: dict[str, Any] = {
    "hidden_size": 384,
    "num_hidden_layers": 6,
    "num_attention_heads": 12,
    "intermediate_size": 1536,
}
# Sizes of the bases that presets name, where not the family's; bases that are not here are looked for.
TEXTS: dict[str, dict[str, Any]] = {
    "sentence-transformers/all-MiniLM-L6-v2": _MINILM,
    "google-bert/bert-base-uncased": {},
    "dmis-lab/biobert-base-cased-v1.1": {},
}
TOWERS: dict[str, tuple[str, dict[str, int]]] = {
    "openai/clip-vit-base-patch16": ("clip_vision_model", {"patch_size": 16}),
    "facebook/sam-vit-base": ("sam_vision_model", {}),
}
WORD_PIECES = 20  # of a sentence, with the two special ones; SLViT's length
SENTENCE = " ".join(["liver"] * (WORD_PIECES - 2))


class System(NamedTuple):
    """A network's class, which has `from_preset`, and its presets by name."""

    network: Any
    presets: Mapping[str, Mapping[str, Any]]


def systems() -> dict[str, System]:
    """{class: system} of every module below common/networks that has `PRESETS`."""
    found = {}
    for info in pkgutil.walk_packages(networks.__path__, f"{networks.__name__}."):
        module = importlib.import_module(info.name)
        for name, value in vars(module).items():
            own = isinstance(value, type) and value.__module__.startswith(info.name)
            if own and hasattr(module, "PRESETS") and issubclass(value, TextSegmenter):
                found[name] = System(value, module.PRESETS)
    return found


def build(system: str, preset: str, *, side: int | None = None) -> Any:
    """A network of a preset of a system; `side` in pixels instead of the preset's."""
    network, presets = systems()[system]
    bases = {key: base for key, base in presets[preset].items() if key.endswith("_model")}
    with tempfile.TemporaryDirectory(prefix="random-") as name:
        folders = {
            key: str(_saved(base, Path(name) / key))
            for key, base in bases.items()
            if base in TEXTS or base in TOWERS
        }
        return network.from_preset(preset, **folders, **({} if side is None else {"image_size": side}))


def peers() -> dict[str, nn.Module]:
    """MONAI's 2D networks of one output channel, in the sizes of its tutorials and the studies' UNet."""
    sizes: dict[str, Any] = {"spatial_dims": 2, "in_channels": PEER_CHANNELS, "out_channels": 1}
    levels: dict[str, Any] = {"channels": (16, 32, 64, 128, 256), "strides": (2, 2, 2, 2)}
    return {
        "MONAI UNet": UNet(**sizes, **levels, num_res_units=2),
        "MONAI AttentionUnet": AttentionUnet(**sizes, **levels),
        "MONAI SwinUNETR": SwinUNETR(**sizes, feature_size=24),
    }


def _saved(base: str, folder: Path) -> Path:
    """A base of random weights, written as its hub has it; of a text encoder with the words of `ORGANS`."""
    if base in TOWERS:
        family, tower = TOWERS[base]
        random_tower(family, **tower).save_pretrained(folder)
        return folder
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words += sorted({word for organ in ORGANS for word in organ.split()})
    BertModel(BertConfig(vocab_size=len(words), **TEXTS[base])).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", "utf-8")
    return folder

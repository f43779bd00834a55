"""Small CLIP folders in the published layout: a tokenizer of bytes, weights, and old settings."""

import json
from pathlib import Path
from typing import Any, Literal

import torch
from tokenizers import pre_tokenizers
from transformers import CLIPConfig, CLIPModel, CLIPTextModel, CLIPTextModelWithProjection

SIZES: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
WIDTH, JOINT = 16, 24  # of the word features, and of what text and image share
Part = Literal["whole", "projected", "bare"]


def write_clip(folder: Path, part: Part = "whole", *, end: int = 2) -> Path:
    """A `CLIPModel`, or its text part with or without the projection.

    Args:
        folder: where to.
        part: "whole" is of the type clip, the others of the type clip_text_model.
        end: `eos_token_id` of the settings. OpenAI's folders have 2, which is no end of a text there: CLIP
            then pools at the largest id. Later ones have the tokenizer's.
    """
    size = write_clip_tokenizer(folder)
    torch.manual_seed(0)
    text = {**SIZES, "vocab_size": size, "bos_token_id": 0, "pad_token_id": 1, "eos_token_id": end}
    vision = {**SIZES, "image_size": 32, "patch_size": 16}
    whole = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=JOINT)).eval()
    with torch.no_grad():
        for weight in whole.parameters():  # by default words hardly differ
            weight.add_(torch.randn_like(weight) * 0.3)
    whole.save_pretrained(folder)
    if part != "whole":
        settings = whole.config.text_config
        settings.projection_dim = JOINT
        kind: Any = CLIPTextModelWithProjection if part == "projected" else CLIPTextModel
        kind.from_pretrained(folder, config=settings).save_pretrained(folder)
    return folder


def write_clip_tokenizer(folder: Path) -> int:
    """`vocab.json`, `merges.txt` and their settings as OpenAI's folders have them; the number of its tokens.

    The end of a text is the largest id, and the padding too.
    """
    folder.mkdir(parents=True, exist_ok=True)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: index for index, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    special = {f"{name}_token": "<|endoftext|>" for name in ("eos", "unk", "pad")}
    special["bos_token"] = "<|startoftext|>"
    settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "do_lower_case": True}
    (folder / "special_tokens_map.json").write_text(json.dumps(special))
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, **special}))
    return len(words)

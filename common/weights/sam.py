"""SAM's own checkpoints (`sam_vit_b_01ec64.pth`, MedSAM's `medsam_vit_b.pth`) as transformers' tower."""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor
from transformers import SamVisionConfig, SamVisionModel

from ..errors import InputError
from .checkpoints import read_tensors
from .pretrained import first_few

ENCODER = "image_encoder."  # beside it stand prompt_encoder and mask_decoder, which no tower has
RENAMED = (  # from segment_anything's names to transformers'
    (r"^patch_embed\.proj\.", "patch_embed.projection."),
    (r"^blocks\.", "layers."),
    (r"\.norm([12])\.", r".layer_norm\1."),
    (r"^neck\.0\.", "neck.conv1."),
    (r"^neck\.1\.", "neck.layer_norm1."),
    (r"^neck\.2\.", "neck.conv2."),
    (r"^neck\.3\.", "neck.layer_norm2."),
)


def load_sam(path: Path) -> SamVisionModel:
    """Build the vision tower of a SAM checkpoint, its sizes read off the shapes, and fill all of it.

    Args:
        path: torch file in the names of `segment_anything`, read without running code.

    Raises:
        InputError: no such file, or not SAM's image encoder exactly.
    """
    tensors = read_tensors(path)
    encoder = {
        name.removeprefix(ENCODER): value for name, value in tensors.items() if name.startswith(ENCODER)
    }
    try:
        config = tower_config(encoder)
    except (KeyError, IndexError, ValueError, ZeroDivisionError) as error:
        raise InputError(
            f"{path}: expected SAM's weights (image_encoder.blocks.0.attn.qkv.weight ...), found "
            f"{first_few(sorted(tensors)) or 'no tensors'}; give sam_vit_b_01ec64.pth or medsam_vit_b.pth."
        ) from error
    with torch.device("meta"):
        model = SamVisionModel(config)
    renamed = {f"vision_encoder.{_renamed(name)}": value.float() for name, value in encoder.items()}
    own = model.state_dict()
    faults = {
        "missing": [name for name in own if name not in renamed],
        "without a place": [name for name in renamed if name not in own],
        "of another shape": [n for n, v in renamed.items() if n in own and v.shape != own[n].shape],
    }
    if any(faults.values()):
        text = "; ".join(
            f"{len(names)} {kind} ({first_few(names)})" for kind, names in faults.items() if names
        )
        raise InputError(f"{path}: these are not the weights of SAM's image encoder: {text}; fetch it again.")
    model.load_state_dict(renamed, assign=True)
    return model.eval()


def _renamed(name: str) -> str:
    for before, after in RENAMED:
        name = re.sub(before, after, name)
    return name


def tower_config(encoder: Mapping[str, Tensor]) -> SamVisionConfig:
    """Read a tower's sizes off {name: tensor}. Blocks whose position table spans the grid attend globally."""
    blocks = sorted({int(name.split(".")[1]) for name in encoder if name.startswith("blocks.")})
    tables = [encoder[f"blocks.{index}.attn.rel_pos_h"] for index in blocks]
    patch = encoder["patch_embed.proj.weight"]
    grid = encoder["pos_embed"].shape[1]
    spans = [(len(table) + 1) // 2 for table in tables]
    local = [span for span in spans if span != grid]
    return SamVisionConfig(
        hidden_size=patch.shape[0],
        patch_size=patch.shape[-1],
        image_size=grid * patch.shape[-1],
        num_hidden_layers=len(blocks),
        num_attention_heads=patch.shape[0] // tables[0].shape[1],
        mlp_dim=encoder["blocks.0.mlp.lin1.weight"].shape[0],
        output_channels=encoder["neck.0.weight"].shape[0],
        global_attn_indexes=[index for index, span in zip(blocks, spans, strict=True) if span == grid],
        window_size=local[0] if local else 0,
    )

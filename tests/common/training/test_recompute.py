"""Activation checkpointing: the same gradients from less memory."""

import pytest
import torch
from torch import nn

from common.layers.adapters import add_query_value_lora
from common.layers.vision_towers import VisionTower, random_tower
from common.training.recompute import recompute_layers

SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "patch_size": 8,
    "image_size": 64,
}
FAMILIES = {
    "vit": {**SIZES, "intermediate_size": 64},
    "clip_vision_model": {**SIZES, "intermediate_size": 64},
    "sam_vision_model": {
        **SIZES,
        "mlp_dim": 64,
        "output_channels": 16,
        "global_attn_indexes": [1],
        "window_size": 4,
    },
}


def gradients_and_bytes(tower: nn.Module) -> tuple[dict[str, torch.Tensor], int]:
    """Of one step; bytes are all that autograd keeps for the backward pass, each storage once."""
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    tower.zero_grad()
    image = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = tower(image).features.square().mean()
    held = sum(kept.values())
    loss.backward()
    return {name: p.grad.clone() for name, p in tower.named_parameters() if p.grad is not None}, held


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_are_the_same_and_memory_is_less(family: str) -> None:
    torch.manual_seed(0)
    tower = VisionTower(random_tower(family, **FAMILIES[family]), image_size=64)
    if family == "sam_vision_model":  # its queries and values are fused: train all of it
        tower.requires_grad_(True)
    else:
        add_query_value_lora(tower)
        for name, parameter in tower.named_parameters():
            if "lora_B" in name:
                nn.init.normal_(parameter, std=0.1)
    tower.train()
    before, much = gradients_and_bytes(tower)
    assert recompute_layers(tower) == SIZES["num_hidden_layers"]
    after, little = gradients_and_bytes(tower)
    assert before.keys() == after.keys()
    assert len(before) >= 2 * SIZES["num_hidden_layers"]
    for name, gradient in before.items():
        torch.testing.assert_close(after[name], gradient, rtol=1e-5, atol=1e-9, msg=name)
    assert little < 0.35 * much
    with torch.no_grad():
        tower(torch.rand(1, 1, 64, 64))  # inference is left alone

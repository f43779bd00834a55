"""Low-rank adapters: nothing at the start, of the stated rank and size."""

import pytest
import torch
from torch import nn

from common.errors import InputError
from common.layers.lora import LowRankBypass, add_query_value_lora
from common.layers.vision_towers import VisionTower, random_tower
from common.text.encoders import TextEncoder

BERT_BASE = {"model_type": "bert", "vocab_size": 28_996}  # the rest of BERT-base are the defaults
VIT_B = {"vit": {"image_size": 224, "patch_size": 16}}
VIT_B["clip_vision_model"] = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "patch_size": 16,
}
TINY_VIT = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "image_size": 32,
    "patch_size": 16,
}


def trainable(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def test_bypass_is_zero_at_the_start() -> None:
    assert not LowRankBypass(48, rank=8)(torch.randn(2, 5, 48)).any()


@pytest.mark.parametrize("rank", [1, 4, 8])
def test_bypass_is_a_linear_map_of_the_stated_rank(rank: int) -> None:
    torch.manual_seed(0)
    bypass = LowRankBypass(48, rank=rank).double()
    nn.init.normal_(bypass.b)
    matrix = bypass(torch.eye(48, dtype=torch.float64))  # the images of the unit vectors
    assert torch.linalg.matrix_rank(matrix) == rank
    torch.testing.assert_close(matrix, bypass.a @ bypass.b)
    x, y = torch.randn(2, 3, 5, 48, dtype=torch.float64)
    torch.testing.assert_close(bypass(2 * x - y), 2 * bypass(x) - bypass(y))
    assert trainable(bypass) == 2 * 48 * rank


def test_bypass_of_the_paper_has_12_288_weights_and_learns() -> None:
    """768 x 8 and 8 x 768; A has a gradient as soon as B is no longer zero."""
    torch.manual_seed(0)
    bypass = LowRankBypass(768, rank=8)
    assert trainable(bypass) == 12_288
    x = torch.randn(4, 768)
    bypass(x).sum().backward()
    assert bypass.b.grad.any()
    assert not bypass.a.grad.any()


@pytest.mark.parametrize("family", ["vit", "clip_vision_model"])
def test_query_value_lora_of_vit_b_has_294_912_weights(family: str) -> None:
    """12 layers x (query + value) x (768 x 8 + 8 x 768)."""
    with torch.device("meta"):
        tower = VisionTower(random_tower(family, **VIT_B[family]), image_size=224)
        assert trainable(tower) == 0
        add_query_value_lora(tower, rank=8)
    assert trainable(tower) == 12 * 2 * (768 * 8 + 8 * 768) == 294_912


def test_query_value_lora_of_bert_base_has_294_912_weights() -> None:
    with torch.device("meta"):
        encoder = TextEncoder(None, config=BERT_BASE)
        assert trainable(encoder) == 0
        add_query_value_lora(encoder, rank=8)
    assert trainable(encoder) == 294_912
    adapted = {name.split(".lora_")[0] for name, p in encoder.named_parameters() if p.requires_grad}
    assert {name.rsplit(".", 1)[-1] for name in adapted} == {"query", "value"}
    assert len(adapted) == 24


def test_lora_is_nothing_at_the_start_and_adds_a_b_later() -> None:
    torch.manual_seed(0)
    tower = VisionTower(random_tower("vit", **TINY_VIT), image_size=32).eval()
    image = torch.rand(2, 1, 32, 32)
    before = tower(image).features
    projections = {n: m for n, m in tower.named_modules() if n.endswith(("query", "q_proj"))}
    name, frozen = next(iter(projections.items()))
    add_query_value_lora(tower, rank=4)
    torch.testing.assert_close(tower(image).features, before, rtol=0, atol=0)
    layer = dict(tower.named_modules())[name]
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    nn.init.normal_(b)
    x = torch.randn(5, 32)
    torch.testing.assert_close(layer(x), frozen(x) + x @ a.T @ b.T)  # alpha = rank, so the scale is 1
    assert not torch.allclose(tower(image).features, before)


def test_encoder_without_queries_and_values_is_refused() -> None:
    with pytest.raises(InputError, match="adapter 'qv': Linear has no separate query and value projections"):
        add_query_value_lora(nn.Linear(2, 2))

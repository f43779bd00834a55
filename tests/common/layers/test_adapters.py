"""Adapters: nothing at the start, of the stated rank and size; prefixes are virtual words."""

from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModel

from common.errors import InputError
from common.export import fold_adapters
from common.layers.adapters import (
    Bottleneck,
    FusedQueryValueLora,
    LowRankBypass,
    add_bottlenecks,
    add_query_value_lora,
    is_adapter,
    with_prefix,
)
from common.layers.vision_towers import VisionTower, random_tower
from common.text.encoders import TextEncoder

BERT_BASE = {"model_type": "bert", "vocab_size": 28_996}  # the rest of BERT-base are the defaults
VIT_B: dict[str, dict[str, Any]] = {"vit": {"image_size": 224, "patch_size": 16}}
VIT_B["sam_vision_model"] = {}  # its defaults, at 1024 pixels
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
TOWERS: dict[str, dict[str, Any]] = {
    "vit": TINY_VIT,
    "clip_vision_model": TINY_VIT,
    "sam_vision_model": {
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "mlp_dim": 64,
        "output_channels": 16,
        "image_size": 32,
        "global_attn_indexes": [2],
        "window_size": 2,
        "initializer_range": 0.2,  # by default 1e-10, where nothing would show
    },
}
SIZES = {"vocab_size": 60, "hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 3}
LANGUAGE: dict[str, dict[str, Any]] = {
    "bert": SIZES | {"intermediate_size": 64},
    "gpt2": {"vocab_size": 60, "n_embd": 32, "n_head": 4, "n_layer": 3},
    "biogpt": SIZES | {"intermediate_size": 64},
    "llama": SIZES | {"intermediate_size": 64},
    "glm": SIZES | {"intermediate_size": 64, "num_key_value_heads": 2, "head_dim": 8, "pad_token_id": 0},
}


def language_model(family: str) -> Any:
    torch.manual_seed(0)
    model = AutoModel.from_config(AutoConfig.for_model(family, **LANGUAGE[family]))
    return model.eval().requires_grad_(False)


def states(model: Any, ids: torch.Tensor) -> torch.Tensor:
    return model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state


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


@pytest.mark.parametrize("family", ["vit", "clip_vision_model", "sam_vision_model"])
def test_query_value_lora_of_vit_b_has_294_912_weights(family: str) -> None:
    """12 layers x (query + value) x (768 x 8 + 8 x 768)."""
    size = 1024 if family == "sam_vision_model" else 224
    with torch.device("meta"):
        tower = VisionTower(random_tower(family, **VIT_B[family]), image_size=size)
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
    with pytest.raises(InputError, match="tuning 'lora': Linear has no query and value projections; exp"):
        add_query_value_lora(nn.Linear(2, 2))


def sam_with_lora() -> tuple[VisionTower, VisionTower]:
    """A small SAM tower, and the same with adapters that do something."""
    torch.manual_seed(0)
    plain, adapted = (
        VisionTower(random_tower("sam_vision_model", **TOWERS["sam_vision_model"]), image_size=32)
        for _ in range(2)
    )
    adapted.load_state_dict(plain.state_dict())
    add_query_value_lora(adapted.model, rank=4)
    for name, parameter in adapted.named_parameters():
        if ".lora_B." in name:
            nn.init.normal_(parameter)
    return plain, adapted


def test_fused_lora_is_nothing_at_the_start_and_adds_b_a_to_queries_and_values_later() -> None:
    torch.manual_seed(0)
    linear, x = nn.Linear(6, 18), torch.randn(2, 5, 6)
    weight, bias, before = linear.weight.detach().clone(), linear.bias.detach().clone(), linear(x)
    fused = FusedQueryValueLora(linear, rank=2)
    torch.testing.assert_close(fused(x), before, rtol=0, atol=0)
    for matrix in fused.lora_B.values():
        nn.init.normal_(matrix.weight)
    for part, rows in (("query", slice(0, 6)), ("value", slice(12, 18))):  # keys are rows 6 to 12
        weight[rows] += fused.lora_B[part].weight.detach() @ fused.lora_A[part].weight.detach()
    expected = nn.functional.linear(x, weight, bias)
    torch.testing.assert_close(fused(x), expected)
    assert not torch.allclose(expected, before)
    torch.testing.assert_close(fused(x)[..., 6:12], before[..., 6:12], rtol=0, atol=0)
    fused(x).square().sum().backward()
    learns = {name for name, parameter in fused.named_parameters() if parameter.grad is not None}
    assert learns == {f"lora_{matrix}.{part}.weight" for matrix in "AB" for part in ("query", "value")}
    assert trainable(fused) == 2 * (6 * 2 + 2 * 6)
    torch.testing.assert_close(fused.merged().weight, weight)


def test_lora_goes_into_every_layer_of_sam_and_all_else_stays() -> None:
    plain, adapted = sam_with_lora()
    image = torch.rand(2, 1, 32, 32)
    assert not torch.allclose(adapted(image).features, plain(image).features, atol=1e-3)
    adapted.project(adapted(image).features).square().mean().backward()
    learns = {name for name, parameter in adapted.named_parameters() if parameter.grad is not None}
    assert len(learns) == 3 * 2 * 2  # layers, queries and values, A and B
    assert all(is_adapter(name) and ".attn.qkv.lora_" in name for name in learns)
    assert all(parameter.grad.any() for name, parameter in adapted.named_parameters() if name in learns)


def test_folded_sam_computes_the_same_with_plain_layers() -> None:
    plain, adapted = sam_with_lora()
    image = torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        before = adapted(image).features
        assert fold_adapters(adapted) == 3
        torch.testing.assert_close(adapted(image).features, before, rtol=1e-4, atol=1e-5)
    assert adapted.state_dict().keys() == plain.state_dict().keys()


@pytest.mark.parametrize("family", ["bert", "llama"])
@pytest.mark.parametrize("tuning", ["lora", "bottleneck"])
def test_adapters_in_a_model_of_bfloat16_learn_in_float32(family: str, tuning: str) -> None:
    """A step of 1e-3 of a weight of 1 is lost in bfloat16, which has 8 bits."""
    model, ids = language_model(family).to(torch.bfloat16), torch.tensor([[5, 6, 7]])
    before = states(model, ids)
    if tuning == "lora":
        add_query_value_lora(model, rank=2)
    else:
        add_bottlenecks(model, width=32, rank=2)
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}
    torch.testing.assert_close(states(model, ids), before, rtol=0, atol=0)
    states(model, ids).float().square().sum().backward()
    grads = [p.grad for name, p in model.named_parameters() if ".lora_B." in name or "up.weight" in name]
    assert grads
    assert all(grad is not None and grad.any() for grad in grads)


@pytest.mark.parametrize("family", LANGUAGE)
def test_query_value_lora_goes_into_every_layer_of_a_language_model(family: str) -> None:
    model, ids = language_model(family), torch.tensor([[5, 6, 7]])
    before = states(model, ids)
    add_query_value_lora(model, rank=2)
    torch.testing.assert_close(states(model, ids), before, rtol=0, atol=0)
    # 32 -> 2 -> 32 for queries and for values; GPT-2's fused 32 -> 2 -> 96; GLM's values have 2 heads of 4.
    of_layer = {"gpt2": 2 * (32 + 96), "glm": 2 * (32 + 32) + 2 * (32 + 16)}.get(family, 4 * (32 + 32))
    assert trainable(model) == 3 * of_layer
    states(model, ids).square().sum().backward()
    grads = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    assert all(is_adapter(name) for name in grads)
    assert all(grad.any() for name, grad in grads.items() if ".lora_B." in name)


def test_bottleneck_is_the_identity_at_the_start_and_of_the_stated_size() -> None:
    bottleneck = Bottleneck(48, rank=8)
    x = torch.randn(2, 5, 48)
    torch.testing.assert_close(bottleneck(x), x, rtol=0, atol=0)
    assert trainable(bottleneck) == 48 * 8 + 8 + 8 * 48 + 48  # Houlsby et al.: 2md + d + m
    nn.init.normal_(bottleneck.up.weight)
    hidden = torch.nn.functional.gelu(x @ bottleneck.down.weight.T + bottleneck.down.bias)
    torch.testing.assert_close(bottleneck(x), x + hidden @ bottleneck.up.weight.T)


@pytest.mark.parametrize("family", TOWERS)
def test_bottlenecks_stand_behind_every_layer_of_a_tower(family: str) -> None:
    torch.manual_seed(0)
    tower = VisionTower(random_tower(family, **TOWERS[family]), image_size=32)
    image = torch.rand(2, 1, 32, 32)
    with torch.no_grad():  # with gradients, torch takes another kernel
        before = tower(image).features
        add_bottlenecks(tower.model, width=tower.embed_width, rank=4)
        torch.testing.assert_close(tower(image).features, before, rtol=0, atol=0)
    assert trainable(tower) == 3 * (2 * 32 * 4 + 4 + 32)
    tower(image).features.square().sum().backward()
    ups = [p.grad for name, p in tower.named_parameters() if name.endswith("bottleneck.up.weight")]
    assert len(ups) == 3
    assert all(grad.any() for grad in ups)


@pytest.mark.parametrize("family", LANGUAGE)
def test_bottlenecks_change_what_every_layer_gives_and_learn(family: str) -> None:
    """With up = 0 and a bias b, what the last layer gives moves by b."""
    model, ids = language_model(family), torch.tensor([[5, 6, 7]])
    before = states(model, ids)
    add_bottlenecks(model, width=32, rank=4)
    torch.testing.assert_close(states(model, ids), before, rtol=0, atol=0)
    seen: list[torch.Tensor] = []
    bias = torch.randn(32)
    layers = [m for m in model.modules() if isinstance(getattr(m, "bottleneck", None), Bottleneck)]
    assert len(layers) == 3
    with torch.no_grad():
        layers[-1].bottleneck.up.bias.copy_(bias)
    layers[-1].bottleneck.register_forward_hook(lambda _, given, output: seen.extend([given[0], output]))
    after = states(model, ids)
    torch.testing.assert_close(seen[1], seen[0] + bias)
    assert not torch.allclose(after, before)
    after.square().sum().backward()
    grads = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    assert all(is_adapter(name) for name in grads)
    assert all(grad.any() for name, grad in grads.items() if name.endswith("bottleneck.up.weight"))


def test_bottlenecks_need_layers() -> None:
    with pytest.raises(InputError, match="tuning 'bottleneck': Linear has no list of layers, expected a tr"):
        add_bottlenecks(nn.Linear(2, 2), width=2)


@pytest.mark.parametrize("family", LANGUAGE)
def test_only_a_prefix_learns_and_the_frozen_model_stays(family: str) -> None:
    model, ids = language_model(family), torch.tensor([[5, 6, 7], [8, 9, 10]])
    frozen = {name: value.clone() for name, value in model.state_dict().items()}
    prefixed = with_prefix(model, tokens=4)
    heads = 2 if family == "glm" else 4  # GLM shares its keys and values among heads
    # Li and Liang: a key and a value for every virtual word and layer.
    assert trainable(prefixed) == 4 * 2 * 3 * heads * 8
    learns = {name for name, p in prefixed.named_parameters() if p.requires_grad}
    assert learns == {name for name, _ in prefixed.named_parameters() if is_adapter(name)}
    optimizer = torch.optim.Adam([p for p in prefixed.parameters() if p.requires_grad], lr=0.1)
    losses, wanted = [], torch.randn(2, 3, 32)
    for _ in range(5):
        optimizer.zero_grad()
        loss = (states(prefixed, ids) - wanted).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    after = prefixed.get_base_model().state_dict()
    assert after.keys() == frozen.keys()
    for name, value in frozen.items():
        torch.testing.assert_close(after[name], value, rtol=0, atol=0)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_prefix_of_real_words_keys_and_values_is_those_words(family: str) -> None:
    """The keys and values that a decoder keeps of three words, as the prefix: what follows sees the words."""
    model, ids = language_model(family), torch.tensor([[11, 12, 13, 5, 6]])
    with torch.no_grad():
        whole = states(model, ids)
        cache = model(input_ids=ids[:, :3], use_cache=True).past_key_values
        kept = [
            part for layer in cache.layers for part in (layer.keys, layer.values)
        ]  # (1, heads, 3, 8) each
        prefixed = with_prefix(model, tokens=3)
        rows = torch.stack([part[0].transpose(0, 1) for part in kept], dim=1)  # (3, 2 * layers, heads, 8)
        prefixed.prompt_encoder["default"].embedding.weight.copy_(rows.flatten(1))
        torch.testing.assert_close(states(prefixed, ids[:, 3:]), whole[:, 3:])


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("image_encoder.model.layers.0.attention.q_proj.lora_A.default.weight", True),
        ("image_encoder.model.vision_encoder.layers.0.attn.qkv.lora_A.query.weight", True),
        ("image_encoder.model.vision_encoder.layers.0.attn.qkv.base_layer.weight", False),
        ("text_encoder.model.encoder.layer.1.bottleneck.up.bias", True),
        ("text_encoder.model.prompt_encoder.default.embedding.weight", True),
        ("prompt_encoder.default.embedding.weight", True),
        ("text_encoder.model.encoder.layer.1.attention.self.query.weight", False),
        ("text_encoder.model.h.0.attn.c_attn.base_layer.weight", False),
        ("text_encoder.model.word_embeddings.weight", False),
    ],
)
def test_adapters_are_known_by_their_names(name: str, is_one: bool) -> None:
    assert is_adapter(name) is is_one

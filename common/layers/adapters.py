"""Small trainable parts inside frozen transformers: LoRA, bottlenecks, prefixes.

LoRA: Hu et al. 2021. Bottleneck adapters: Houlsby et al. 2019. Prefixes: Li and Liang 2021.
"""

import inspect
from typing import Any

import torch
from peft import LoraConfig, PrefixTuningConfig, TaskType, get_peft_model, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from transformers import PreTrainedModel

from ..errors import InputError

# Query and value projections in transformers 5: ViT and CLIP towers and LLaMA, BERT, GPT-2 (fused).
QUERY_VALUE_NAMES = (("q_proj", "v_proj"), ("query", "value"), ("c_attn",))
FUSED = "qkv"  # SAM's towers: one matrix whose rows are those of queries, keys and values
# What the adapters' parameters have in their names: they belong in a checkpoint, the frozen rest does not.
MARKS = (".lora_", ".bottleneck.", ".prompt_encoder.")


def is_adapter(name: str) -> bool:
    """Whether a parameter of that name belongs to an adapter inside an encoder."""
    return any(mark in f".{name}" for mark in MARKS)


class LowRankBypass(nn.Module):
    """L(x) = x A B with A (width x rank) random and B (rank x width) zero (Med-VLM eqs 2-3 as printed).

    One bypass runs beside a whole encoder, from its embedded tokens to its output, so the adapted
    encoder equals the frozen one until the first optimiser step.
    """

    def __init__(self, width: int, *, rank: int = 8) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.randn(width, rank) * width**-0.5)
        self.b = nn.Parameter(torch.zeros(rank, width))

    def forward(self, embedded: Tensor) -> Tensor:
        """(..., width) -> (..., width)."""
        return embedded @ self.a @ self.b


class Bottleneck(nn.Module):
    """x + up(GELU(down(x))), with `up` zero at first: nothing changes until the first optimiser step."""

    def __init__(self, width: int, *, rank: int) -> None:
        super().__init__()
        self.down = nn.Linear(width, rank)
        self.up = nn.Linear(rank, width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) -> (..., width), in the type of `x`, which may be of a model in bfloat16."""
        hidden = nn.functional.gelu(self.down(x.to(self.down.weight.dtype)))
        return x + self.up(hidden).to(x.dtype)


class FusedQueryValueLora(nn.Module):
    """LoRA on a linear layer that gives queries, keys and values at once: B A x is added to the first and the
    last third of its output, each with an A and a B of its own (SAMed, arXiv 2304.13785).

    peft adapts such a layer as a whole only, so keys too, and with one A for all.

    Args:
        base_layer: width -> 3 * width; frozen here.
        rank: of each update; its scale is 1.
    """

    def __init__(self, base_layer: nn.Linear, *, rank: int = 8) -> None:
        super().__init__()
        self.base_layer = base_layer.requires_grad_(False)
        self.lora_A, self.lora_B = nn.ModuleDict(), nn.ModuleDict()
        device = base_layer.weight.device
        for part in ("query", "value"):  # A starts as peft's does, at random; B is zero
            up = nn.Linear(rank, base_layer.out_features // 3, bias=False, device=device)
            nn.init.zeros_(up.weight)
            self.lora_A[part] = nn.Linear(base_layer.in_features, rank, bias=False, device=device)
            self.lora_B[part] = up

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) -> (..., 3 * width)."""
        query, key, value = self.base_layer(x).chunk(3, dim=-1)
        query = query + self.lora_B["query"](self.lora_A["query"](x))
        value = value + self.lora_B["value"](self.lora_A["value"](x))
        return torch.cat([query, key, value], dim=-1)

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """The base layer, with B A added to its rows of queries and values in place."""
        query, _, value = self.base_layer.weight.chunk(3)
        for part, rows in (("query", query), ("value", value)):
            b, a = (self.get_parameter(f"lora_{matrix}.{part}.weight") for matrix in "BA")
            rows.add_(b @ a)
        return self.base_layer


def add_query_value_lora(encoder: nn.Module, *, rank: int = 8) -> None:
    """Put LoRA (alpha = rank, so scale 1) on the query and value projections of every layer, in place.

    All else in the encoder is frozen. The adapters are float32 in an encoder of bfloat16 too, where small
    steps would be lost.

    Raises:
        InputError: the encoder has no query and value projections.
    """
    leaves = {name.rsplit(".", 1)[-1] for name, _ in encoder.named_modules()}
    if FUSED in leaves:
        _add_fused_lora(encoder, rank)
        return
    for names in QUERY_VALUE_NAMES:
        if leaves.issuperset(names):
            config = LoraConfig(
                r=rank,
                lora_alpha=rank,
                lora_dropout=0.0,
                target_modules=list(names),
                fan_in_fan_out=names == ("c_attn",),  # GPT-2 keeps its weights transposed
            )
            inject_adapter_in_model(config, encoder)
            for parameter in encoder.parameters():
                if parameter.requires_grad and parameter.dtype == torch.bfloat16:
                    parameter.data = parameter.data.float()
            return
    raise InputError(
        f"tuning 'lora': {type(encoder).__name__} has no query and value projections; expected a ViT, CLIP, "
        "SAM, BERT, GPT-2 or LLaMA encoder, so choose one of these or tuning 'bypass'."
    )


def _add_fused_lora(encoder: nn.Module, rank: int) -> None:
    encoder.requires_grad_(False)
    fused = [(parent, child) for parent in encoder.modules() for child in parent.named_children()]
    for parent, (name, layer) in fused:
        if name == FUSED and isinstance(layer, nn.Linear):
            setattr(parent, name, FusedQueryValueLora(layer, rank=rank))


def fold_adapters(network: nn.Module) -> int:
    """Add every LoRA's B A to the weights beside it and take the adapter away, in place; returns how many.

    W x + B A x = (W + B A) x. A `LowRankBypass` stays: it runs beside a whole encoder, from its embedding to
    its output, and no weight inside a nonlinear encoder can stand for that.
    """
    parents = [
        (parent, name, child)
        for parent in network.modules()
        for name, child in parent.named_children()
        if isinstance(child, (LoraLayer, FusedQueryValueLora))
    ]
    for parent, name, layer in parents:
        if isinstance(layer, FusedQueryValueLora):
            setattr(parent, name, layer.merged())
        else:
            layer.merge(safe_merge=True)
            setattr(parent, name, layer.get_base_layer())
    return len(parents)


def add_bottlenecks(encoder: nn.Module, *, width: int, rank: int = 8) -> None:
    """Put a bottleneck behind every transformer layer, in place.

    Raises:
        InputError: the encoder has no list of layers.
    """
    lists = [module for module in encoder.modules() if isinstance(module, nn.ModuleList) and len(module) > 0]
    if not lists:
        raise InputError(
            f"tuning 'bottleneck': {type(encoder).__name__} has no list of layers, expected a transformer; "
            "choose another encoder or tuning."
        )
    for layer in lists[0]:  # the outermost list comes first
        layer.add_module("bottleneck", Bottleneck(width, rank=rank))
        layer.register_forward_hook(_through_bottleneck)


def _through_bottleneck(layer: Any, _inputs: Any, output: Any) -> Any:
    if isinstance(output, tuple):
        return (layer.bottleneck(output[0]), *output[1:])
    return layer.bottleneck(output)


def with_prefix(model: PreTrainedModel, *, tokens: int = 8) -> Any:
    """`model` with trained keys and values of `tokens` virtual words before the real ones in every layer.

    The language model itself stays frozen. Its parameters get the prefix `base_model.` in their names.

    Raises:
        InputError: the model takes no keys and values from outside.
    """
    if "past_key_values" not in inspect.signature(model.forward).parameters:
        raise InputError(
            f"tuning 'prefix': {type(model).__name__} takes no keys and values beside its own, expected a "
            "BERT, GPT-2 or LLaMA encoder; choose one of these or another tuning."
        )
    config = PrefixTuningConfig(task_type=TaskType.FEATURE_EXTRACTION, num_virtual_tokens=tokens)
    return get_peft_model(model, config)

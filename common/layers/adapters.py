"""Small trainable parts inside frozen transformers: LoRA, bottlenecks, prefixes.

LoRA: Hu et al. 2021. Bottleneck adapters: Houlsby et al. 2019. Prefixes: Li and Liang 2021.
"""

from typing import Any

import torch
from peft import LoraConfig, PrefixTuningConfig, TaskType, get_peft_model, inject_adapter_in_model
from torch import Tensor, nn
from transformers import PreTrainedModel

from ..errors import InputError

# Query and value projections in transformers 5: ViT and CLIP towers and LLaMA, BERT, GPT-2 (fused).
QUERY_VALUE_NAMES = (("q_proj", "v_proj"), ("query", "value"), ("c_attn",))
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
        """(..., width) -> (..., width)."""
        return x + self.up(nn.functional.gelu(self.down(x)))


def add_query_value_lora(encoder: nn.Module, *, rank: int = 8) -> None:
    """Put LoRA (alpha = rank, so scale 1) on the query and value projections of every layer, in place.

    Raises:
        InputError: the encoder has no separate query and value projections (SAM's tower fuses them).
    """
    leaves = {name.rsplit(".", 1)[-1] for name, _ in encoder.named_modules()}
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
            return
    raise InputError(
        f"tuning 'lora': {type(encoder).__name__} has no separate query and value projections; expected "
        "a ViT, CLIP, BERT, GPT-2 or LLaMA encoder, so choose one of these or tuning 'bypass'."
    )


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
    """
    config = PrefixTuningConfig(task_type=TaskType.FEATURE_EXTRACTION, num_virtual_tokens=tokens)
    return get_peft_model(model, config)

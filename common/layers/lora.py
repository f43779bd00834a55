"""Low-rank adapters beside frozen encoders (LoRA: Hu et al. 2021)."""

import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor, nn

from ..errors import InputError

# Names of the query and value projections in transformers 5: ViT and CLIP towers, BERT.
QUERY_VALUE_NAMES = (("q_proj", "v_proj"), ("query", "value"))


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


def add_query_value_lora(encoder: nn.Module, *, rank: int = 8) -> None:
    """Put LoRA (alpha = rank, so scale 1) on the query and value projections of every layer, in place.

    Raises:
        InputError: the encoder has no separate query and value projections (SAM's tower fuses them).
    """
    leaves = {name.rsplit(".", 1)[-1] for name, _ in encoder.named_modules()}
    for names in QUERY_VALUE_NAMES:
        if leaves.issuperset(names):
            config = LoraConfig(r=rank, lora_alpha=rank, lora_dropout=0.0, target_modules=list(names))
            inject_adapter_in_model(config, encoder)
            return
    raise InputError(
        f"adapter 'qv': {type(encoder).__name__} has no separate query and value projections; expected "
        "a ViT, CLIP or BERT encoder, so choose one of these or adapter 'bypass'."
    )

"""A loss made of parts that can be watched one by one."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ..errors import InputError


class WeightedSum(nn.Module):
    """sum_i weight_i * part_i(prediction, target).

    Args:
        parts: losses by name; each is called with what the sum is called with.
        weights: by the same names; a part that is not named weighs 1.

    Attributes:
        values: the unweighted parts of the last call, detached scalars by name.
    """

    values: dict[str, Tensor]

    def __init__(self, parts: Mapping[str, nn.Module], weights: Mapping[str, float] | None = None) -> None:
        super().__init__()
        self.parts = nn.ModuleDict(parts)
        self.weights = dict.fromkeys(parts, 1.0) | dict(weights or {})
        if unknown := self.weights.keys() - parts.keys():
            raise InputError(
                f"loss_weights: found {', '.join(sorted(unknown))}, expected some of {', '.join(parts)}; "
                "correct or remove it."
            )
        self.values = {}

    def forward(self, *args: Any) -> Tensor:
        """Scalar."""
        computed = {name: part(*args) for name, part in self.parts.items()}
        self.values = {name: value.detach() for name, value in computed.items()}
        return sum(
            (self.weights[name] * value for name, value in computed.items()), start=args[0].new_zeros(())
        )

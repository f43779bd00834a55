"""A loss made of parts that can be watched one by one."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor, nn

from ..errors import InputError

if TYPE_CHECKING:
    from ..networks.base import Prediction


class WeightedSum(nn.Module):
    """sum_i weight_i * part_i.

    A part is called with logits and target, and with the features of the network that its attribute
    `features` names, as keyword arguments; most parts have no such attribute.

    Args:
        parts: losses by name.
        weights: by the same names; a part that is not named weighs 1.

    Attributes:
        features: names of all features that any part asks for.
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
        self.features = tuple(dict.fromkeys(name for part in parts.values() for name in features_of(part)))
        self.values = {}

    def forward(self, prediction: "Tensor | Prediction", target: Tensor) -> Tensor:
        """Scalar.

        Args:
            prediction: logits (P, 1, H, W), or these with features by name.
            target: (P, 1, H, W).

        Raises:
            InputError: a part asks for a feature that the network does not give.
        """
        logits, given = (prediction, {}) if isinstance(prediction, Tensor) else prediction
        if missing := [name for name in self.features if name not in given]:
            raise InputError(
                f"loss: found {', '.join(given) or 'no features'} from the network, expected {missing[0]}, "
                "which a part of the loss needs; leave that part out or choose a network that has it."
            )
        computed = {
            name: part(logits, target, **{wanted: given[wanted] for wanted in features_of(part)})
            for name, part in self.parts.items()
        }
        self.values = {name: value.detach() for name, value in computed.items()}
        return sum(
            (self.weights[name] * value for name, value in computed.items()), start=logits.new_zeros(())
        )


def features_of(loss: nn.Module) -> tuple[str, ...]:
    """Names of the network's features that a loss asks for."""
    return tuple(getattr(loss, "features", ()))

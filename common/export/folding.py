"""LoRA adapters as part of the weights that they adapt."""

from peft.tuners.lora import LoraLayer
from torch import nn

from ..layers.adapters import FusedQueryValueLora


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

"""Activation checkpointing: layers compute again in the backward pass instead of remembering."""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

_log = logging.getLogger(__name__)


class ActivationCheckpointing:
    """Handler that has every transformers layer of `network` keep its inputs alone until the backward pass.

    Gradients are the same; memory of a ViT-B falls from all layers' activations to those of one layer, for
    about a third more time. transformers' own switch works in training mode only, while frozen encoders
    with adapters inside stay in evaluation mode.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, lambda: recompute_layers(self.network))


def recompute_layers(network: nn.Module) -> int:
    """Do it in place and return how many layers there are; a layer that was done before stays as it is."""
    layers = [layer for layer in network.modules() if isinstance(layer, GradientCheckpointingLayer)]
    for layer in layers:
        if "forward" not in vars(layer):
            layer.forward = partial(_recomputed, layer.forward)
    _log.info("activation checkpointing: %d layers of %s", len(layers), type(network).__name__)
    return len(layers)


def _recomputed(forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*args, **kwargs)
    return checkpoint(forward, *args, use_reentrant=False, **kwargs)

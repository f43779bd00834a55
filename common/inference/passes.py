"""How inference runs a network: its mode, compiled or not, and in which memory format."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..errors import SwitchError, reason_of

if TYPE_CHECKING:
    from ..networks.base import TextSegmenter
    from ..networks.guidance import Guidance

logger = logging.getLogger(__name__)


@contextmanager
def working(network: nn.Module, device: torch.device, *, amp: bool) -> Iterator[None]:
    """Eval mode, no gradients, mixed precision as asked; each module's training flag comes back.

    Not torch.inference_mode: what a network remembers meanwhile, such as encoded texts, could not be
    used in training afterwards.
    """
    training = {module: module.training for module in network.modules()}
    network.eval()
    try:
        with torch.no_grad(), torch.autocast(device.type, enabled=amp):
            yield
    finally:
        for module, flag in training.items():
            module.training = flag


@dataclass(frozen=True)
class Passes:
    """A network's two passes as they are run.

    Attributes:
        network: whose they are.
        encode: (B, C, S, S) to what `decode` takes.
        decode: see `TextSegmenter.decode`; a logit above 0 belongs to the mask, whatever the threshold.
    """

    network: "TextSegmenter"
    encode: Callable[[Tensor], Any]
    decode: Callable[[Any, "Guidance"], Tensor]

    @classmethod
    def of(cls, network: "TextSegmenter", *, channels_last: bool, compiled: bool) -> "Passes":
        """The passes, with weights and images in channels-last memory, or compiled, as asked."""
        if channels_last:
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        encode, decode = network.encode_image, network.decode
        if compiled:
            encode, decode = _compiled(encode), _compiled(decode)
            logger.info("compile: the first slices take minutes, and those of another batch size may again.")

        def encode_as_asked(image: Tensor) -> Any:
            layout = torch.channels_last if channels_last else torch.contiguous_format
            return encode(image.contiguous(memory_format=layout))

        shift = network.logit_threshold

        def decode_to_threshold(features: Any, guidance: "Guidance") -> Tensor:
            logits = decode(features, guidance).float()
            return logits - shift if shift else logits

        return cls(network, encode_as_asked, decode_to_threshold)


def _compiled(call: Callable[..., Any]) -> Callable[..., Any]:
    """`torch.compile` of it, whose failures say what to do.

    torch has no public name for the errors of its compiler. It is at fault where the plain call works.
    """
    compiled = torch.compile(call)

    def run(*arguments: Any) -> Any:
        try:
            return compiled(*arguments)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            call(*arguments)  # the network's own error, if it has one
            raise SwitchError(
                f"compile: torch.compile failed ({reason_of(error)}), expected a working C++ compiler or "
                "Triton; switch it off."
            ) from error

    return run

"""What every text-guided segmenter of this package shares: the contract and what a checkpoint holds.

README.md in this folder says how to add a system.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, Self, overload, runtime_checkable

from torch import Tensor, nn

from ..data.framing import Framing
from ..errors import InputError
from ..layers.adapters import is_adapter
from ..weights.pretrained import FrozenBase
from .guidance import Guidance


@runtime_checkable
class PretrainedEncoder(Protocol):
    """An encoder that knows which pretrained weights it started from.

    Attributes:
        source: hub id or folder of the weights; None for random ones.
    """

    source: str | None

    def base(self) -> FrozenBase | None:
        """The record of its weights; None for random ones."""


class Prediction(NamedTuple):
    """What `forward(..., features=True)` returns.

    Attributes:
        logits: (P, 1, H, W) float, no sigmoid.
        features: tensors that a loss may ask for, by name.
    """

    logits: Tensor
    features: Mapping[str, Tensor]


class TextSegmenter(nn.Module, ABC):
    """A network that takes an image and words and returns logits.

    Its state dict is what a checkpoint holds: everything but the pretrained encoders that stay frozen, which
    stand in files of their own and are never in training mode. Loading asks for exactly the rest. An encoder
    of random weights, or one that is trained, is kept whole.

    Attributes:
        image_size: side in pixels of the square field that the network was built for.
        default_prompt: used when nothing is asked, so that `network(image)` works alone.
        framing: what that field shows of a slice or an image. Whoever makes the field asks the network.
        threshold: a pixel belongs to a mask where its probability is above this; of the class.
        normalisation: what the network does to a field in [0, 1] first, a key of `layers.normalisation`.
    """

    threshold: float = 0.5
    normalisation: str = "unit"

    def __init__(self, *, image_size: int, default_prompt: str, framing: Framing | None = None) -> None:
        """See the class.

        Raises:
            InputError: the class has a threshold that is not between 0 and 1.
        """
        super().__init__()
        self.image_size = image_size
        self.default_prompt = default_prompt
        self.framing = framing or Framing()
        _check_threshold(self.threshold)
        self.register_state_dict_post_hook(_leave_bases_out)
        self.register_load_state_dict_post_hook(_bases_may_be_missing)

    @abstractmethod
    def encode_image(self, image: Tensor) -> Any:
        """Encode (B, C, H, W) float32 in [0, 1]: everything that does not depend on the prompts."""

    @abstractmethod
    def encode_text(self, prompts: Sequence[str]) -> Guidance:
        """What P prompts say; keep it to use it again.

        An empty prompt says nothing, in as many rows as others (see `TextEncoder`), so that both may stand in
        one call. It is what a network learns from where no words are given, and not `unguided`, which is what
        a network falls back on where nobody asks.
        """

    @abstractmethod
    def decode(self, image_features: Any, guidance: Guidance) -> Tensor:
        """Logits (P, 1, H, W) of B encoded images and P prompts, P a multiple of B.

        Row i belongs to image i // (P // B): the prompts of an image follow one another.
        """

    def predict(self, image_features: Any, guidance: Guidance) -> Prediction:
        """As `decode`, with the features that the network's losses ask for by name; here there are none."""
        return Prediction(self.decode(image_features, guidance), {})

    def unguided(self, images: int) -> Guidance:
        """The text for B images without a prompt: the default prompt."""
        return self.encode_text([self.default_prompt]).repeat(images)

    @overload
    def forward(self, image: Tensor, guidance: Guidance | Sequence[str] | None = ...) -> Tensor: ...

    @overload
    def forward(
        self, image: Tensor, guidance: Guidance | Sequence[str] | None = ..., features: bool = ...
    ) -> Tensor | Prediction: ...

    def forward(
        self, image: Tensor, guidance: Guidance | Sequence[str] | None = None, features: bool = False
    ) -> Tensor | Prediction:
        """Segment.

        Args:
            image: (B, C, H, W) float32 in [0, 1], with the channels of `framing`.
            guidance: what `encode_text` gave for P prompts (P a multiple of B, see `decode`), or the prompts
                themselves, or None for `unguided`.
            features: return a `Prediction`, with what losses ask for beside the logits.

        Returns:
            Logits (P, 1, H, W), no sigmoid; or a `Prediction`.
        """
        if guidance is None:
            guidance = self.unguided(image.shape[0])
        elif not isinstance(guidance, Guidance):
            guidance = self.encode_text(guidance)
        encoded = self.encode_image(image)
        return self.predict(encoded, guidance) if features else self.decode(encoded, guidance)

    @property
    def field_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of an image, as `framing` makes it."""
        return len(self.framing.channels), self.image_size, self.image_size

    @property
    def logit_threshold(self) -> float:
        """The logit of `threshold`.

        Raises:
            InputError: it was changed to one that is not between 0 and 1.
        """
        _check_threshold(self.threshold)
        return math.log(self.threshold / (1.0 - self.threshold))

    def train(self, mode: bool = True) -> Self:
        """Set the mode; the pretrained encoders that stay frozen stay in evaluation mode.

        A checkpoint leaves them out, so nothing in them may change, statistics of batch norms included. They
        have no dropout either, nor have adapters inside them.
        """
        super().train(mode)
        for name, _ in self._frozen():
            self.get_submodule(name).eval()
        return self

    def settings(self) -> dict[str, Any]:
        """What changes its results and no tensor's shape shows, by the names of its arguments.

        It stands in the record beside a checkpoint, so values are those of JSON.
        """
        return {}

    def frozen_bases(self) -> dict[str, FrozenBase]:
        """Which pretrained weights stand in which part, for the record beside a checkpoint."""
        bases = {name: encoder.base() for name, encoder in self._frozen()}
        return {name: base for name, base in bases.items() if base is not None}

    def frozen_keys(self, prefix: str = "") -> set[str]:
        """State-dict keys of the frozen pretrained encoders, but for adapters inside them."""
        prefixes = tuple(f"{name}." for name, _ in self._frozen())
        # Under every name: peft's prefix model has the word embeddings twice.
        tensors = (self.named_parameters(remove_duplicate=False), self.named_buffers(remove_duplicate=False))
        names = [name for named in tensors for name, _ in named]
        return {prefix + name for name in names if name.startswith(prefixes) and not is_adapter(name)}

    def _frozen(self) -> list[tuple[str, PretrainedEncoder]]:
        """Name and module of each encoder whose pretrained weights stay as they are."""
        return [
            (name, child)
            for name, child in self.named_children()
            if isinstance(child, PretrainedEncoder) and child.source and _is_frozen(child)
        ]


def check_channels(framing: Framing, allowed: Sequence[int]) -> None:
    """Refuse a framing whose channels a network cannot take.

    Raises:
        InputError: names the channels.
    """
    if len(framing.channels) not in allowed:
        found = "; ".join(channel.name for channel in framing.channels)
        raise InputError(
            f"framing#channels: found {len(framing.channels)} ({found}), expected "
            f"{' or '.join(map(str, allowed))} for this network."
        )


def _check_threshold(threshold: float) -> None:
    if not 0.0 < threshold < 1.0:
        raise InputError(
            f"threshold: found {threshold}, expected a probability between 0 and 1, such as 0.5."
        )


def _is_frozen(encoder: nn.Module) -> bool:
    """Whether none of its own weights is trained; adapters inside it may be."""
    return not any(p.requires_grad for name, p in encoder.named_parameters() if not is_adapter(name))


def _leave_bases_out(module: nn.Module, state: dict[str, Any], prefix: str, _metadata: Any) -> None:
    assert isinstance(module, TextSegmenter)
    for key in module.frozen_keys(prefix):
        state.pop(key, None)


def _bases_may_be_missing(module: nn.Module, incompatible: Any) -> None:
    assert isinstance(module, TextSegmenter)
    frozen = module.frozen_keys()
    incompatible.missing_keys[:] = [
        key for key in incompatible.missing_keys if not any(key.endswith(name) for name in frozen)
    ]

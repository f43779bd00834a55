"""What every text-guided segmenter of this package shares: the contract and what a checkpoint holds."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

from torch import Tensor, nn

from ..layers.adapters import is_adapter
from ..weights import FrozenBase

if TYPE_CHECKING:
    from ..data.slices import Framing


@runtime_checkable
class FrozenEncoder(Protocol):
    """An encoder that knows which pretrained weights it holds.

    Attributes:
        source: hub id or folder of the weights; None for random ones.
    """

    source: str | None

    def base(self) -> FrozenBase | None:
        """The record of its weights; None for random ones."""


class TextFeatures(NamedTuple):
    """Word-piece features of P prompts.

    Attributes:
        tokens: (P, T, C) float.
        mask: (P, T) bool, True where a word piece is real (not padding).
    """

    tokens: Tensor
    mask: Tensor


class TextSegmenter(nn.Module, ABC):
    """A network that takes an image and words and returns logits.

    Its state dict is what a checkpoint holds: everything but the frozen pretrained encoders, which stand
    in files of their own. Loading asks for exactly the rest. An encoder of random weights is kept whole.

    Attributes:
        image_size: side in pixels of the square field that the network was built for.
        default_prompt: used when no text is given, so that `network(image)` works alone.
        framing: what that field shows of a slice; None where its bundle leaves no choice. Whoever makes the
            images applies it; the network has it for the record beside a checkpoint.
    """

    def __init__(self, *, image_size: int, default_prompt: str, framing: "Framing | None" = None) -> None:
        super().__init__()
        self.image_size = image_size
        self.default_prompt = default_prompt
        self.framing = framing
        self.register_state_dict_post_hook(_leave_bases_out)
        self.register_load_state_dict_post_hook(_bases_may_be_missing)

    @abstractmethod
    def encode_image(self, image: Tensor) -> Any:
        """All that does not depend on text, of (B, 1, H, W) float32 in [0, 1]."""

    @abstractmethod
    def encode_text(self, prompts: Sequence[str]) -> TextFeatures:
        """Features of P prompts; keep them to use them again."""

    @abstractmethod
    def decode(self, image_features: Any, text: TextFeatures) -> Tensor:
        """Logits (P, 1, H, W) of B encoded images and P prompts, P a multiple of B.

        Row i belongs to image i // (P // B): the prompts of an image follow one another.
        """

    def forward(self, image: Tensor, text: TextFeatures | Sequence[str] | None = None) -> Tensor:
        """Segment.

        Args:
            image: (B, 1, H, W) float32 in [0, 1].
            text: what `encode_text` gave for P prompts (P a multiple of B, see `decode`), or the prompts
                themselves, or None for the default prompt.

        Returns:
            Logits (P, 1, H, W), no sigmoid.
        """
        if text is None:
            text = [self.default_prompt] * len(image)
        if not isinstance(text, TextFeatures):
            text = self.encode_text(text)
        return self.decode(self.encode_image(image), text)

    def settings(self) -> dict[str, Any]:
        """What changes its results and no tensor's shape shows, by the names of its arguments.

        It stands in the record beside a checkpoint, so values are those of JSON.
        """
        return {}

    def frozen_bases(self) -> dict[str, FrozenBase]:
        """Which pretrained weights stand in which part, for the record beside a checkpoint."""
        bases = {name: encoder.base() for name, encoder in self._pretrained()}
        return {name: base for name, base in bases.items() if base is not None}

    def frozen_keys(self, prefix: str = "") -> set[str]:
        """State-dict keys of the pretrained encoders, but for adapters inside them."""
        prefixes = tuple(f"{name}." for name, _ in self._pretrained())
        # Under every name: peft's prefix model has the word embeddings twice.
        tensors = (self.named_parameters(remove_duplicate=False), self.named_buffers(remove_duplicate=False))
        names = [name for named in tensors for name, _ in named]
        return {prefix + name for name in names if name.startswith(prefixes) and not is_adapter(name)}

    def _pretrained(self) -> list[tuple[str, FrozenEncoder]]:
        """Name and module of each encoder that holds frozen pretrained weights."""
        children = self.named_children()
        return [
            (name, child) for name, child in children if isinstance(child, FrozenEncoder) and child.source
        ]


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

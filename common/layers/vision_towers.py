"""Pretrained ViT-B image encoders through transformers: ViT, CLIP and SAM (or MedSAM) vision towers."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn
from transformers import (
    AutoConfig,
    CLIPVisionConfig,
    CLIPVisionModel,
    PretrainedConfig,
    PreTrainedModel,
    SamVisionConfig,
    SamVisionModel,
    ViTConfig,
    ViTModel,
)

from ..errors import InputError
from ..weights.pretrained import (
    FrozenBase,
    find_pretrained,
    frozen_base,
    known_normalisation,
    load_pretrained,
)
from ..weights.sam import load_sam
from .adapters import is_adapter
from .normalisation import Normalise

# What each family's published image processor does after scaling to [0, 1].
NORMALISATION = {"vit": "half", "clip_vision_model": "clip", "sam_vision_model": "imagenet"}
FAMILIES: dict[str, tuple[type[PretrainedConfig], type[PreTrainedModel], dict[str, Any]]] = {
    "vit": (ViTConfig, ViTModel, {"add_pooling_layer": False}),
    "clip_vision_model": (CLIPVisionConfig, CLIPVisionModel, {}),
    "sam_vision_model": (SamVisionConfig, SamVisionModel, {}),
}
VISION_PART = {"clip": "clip_vision_model", "sam": "sam_vision_model"}  # of a model that has more parts


def load_tower(model: str, *, revision: str | None = None) -> PreTrainedModel:
    """The vision tower of a hub id, a local folder or a SAM `.pth` file, see `find_pretrained`.

    Raises:
        InputError: not found, another model family, or weights of the tower are missing in the checkpoint.
    """
    folder = find_pretrained(model, revision=revision)
    if folder.is_file():
        return load_sam(folder)
    try:
        family = AutoConfig.from_pretrained(folder).model_type
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{folder / 'config.json'}: not the settings of a known kind of model; give another folder."
        ) from error
    family = VISION_PART.get(family, family)
    if family not in FAMILIES:
        raise InputError(
            f"{model}: holds a model of type '{family}', expected one of vit, clip or sam; "
            "give another image encoder."
        )
    _, model_class, options = FAMILIES[family]
    return load_pretrained(model_class, model, revision=revision, **options)


def random_tower(family: str, **config: Any) -> PreTrainedModel:
    """A randomly initialised tower of `family` (a key of FAMILIES); `config` as transformers names it."""
    config_class, model_class, options = FAMILIES[family]
    return model_class(config_class(**config), **options)


class EncodedImage(NamedTuple):
    """What an image encoder gives: the maps of B images.

    Attributes:
        features: (B, C, h, w), the encoder's output.
        embedded: (B, C, h, w), the patch embeddings that went into it; empty where there are none to adapt.
        skips: finer maps for the decoder, coarse to fine; () for a plain ViT.
        taps: (B, C, h, w) each, the outputs of the blocks that were asked for, in that order.
        class_tokens: (B, C) each, the class token in each of the `taps`; () for SAM, which has none.
    """

    features: Tensor
    embedded: Tensor
    skips: tuple[Tensor, ...] = ()
    taps: tuple[Tensor, ...] = ()
    class_tokens: tuple[Tensor, ...] = ()


class VisionTower(nn.Module):
    """A ViT that takes grey slices of a size of its own; frozen unless it is `trainable`.

    Args:
        model: a transformers vision tower.
        image_size: pixels of a side; ViT and CLIP interpolate their position embeddings, SAM is fixed.
        source: hub id, folder or file of its weights, for a checkpoint's record; None for a random tower.
        revision: hub commit of the weights; None for the pinned one.
        normalisation: of the pixels, see `Normalise`; None for the family's, or MedSAM's "unit" where these
            are its published weights. SAM's family needs it for weights that are not known.
        trainable: train all of its weights.
        taps: blocks, the first one is 1, whose outputs `EncodedImage` has beside those of the last one; as
            they are, without the layer norm or neck that follows the last block.

    Attributes:
        width: channels that `project` gives: the tower's own, or those of SAM's neck.
        embed_width: channels before `project`, where an adapter acts.

    Raises:
        InputError: an image size that SAM's tower cannot take, a tap at no block, or a normalisation that is
            unknown, or missing for weights that may be SAM's or MedSAM's.
    """

    skip_channels: tuple[int, ...] = ()
    takes_channels = (1, 3)

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        image_size: int,
        source: str | None = None,
        revision: str | None = None,
        normalisation: str | None = None,
        trainable: bool = False,
        taps: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.source, self.revision = source, revision
        self.model: Any = model.requires_grad_(trainable).train(trainable)
        self.family = model.config.model_type
        config = model.config
        if self.family == "sam_vision_model" and image_size != config.image_size:
            raise InputError(
                f"image_size: {image_size}, but this SAM tower works at {config.image_size} pixels only; "
                "set that."
            )
        self.taps = _checked_taps(taps, blocks=int(config.num_hidden_layers))
        self.stride = int(config.patch_size)
        self.embed_width = int(config.hidden_size)
        self.width = int(config.output_channels if self.family == "sam_vision_model" else config.hidden_size)
        if self.family == "clip_vision_model":
            self.model.post_layernorm.requires_grad_(False)  # only CLIP's class token passes through it
        if normalisation is None:
            normalisation = _normalisation(self.family, source, revision)
        self.normalise = Normalise(normalisation)

    @property
    def normalisation(self) -> str:
        """How pixels are normalised: a name that `Normalise` knows."""
        return self.normalise.name

    @property
    def frozen(self) -> bool:
        """Whether no weight of its own asks for gradients; those of adapters inside it may."""
        parameters = self.named_parameters()
        return not any(value.requires_grad for name, value in parameters if not is_adapter(name))

    def train(self, mode: bool = True) -> "VisionTower":
        """Set the mode; a frozen tower stays in evaluation mode, and adapters inside it have no dropout."""
        return super().train(mode and not self.frozen)

    def base(self) -> FrozenBase | None:
        """The record of the pretrained weights; None for a random tower."""
        return None if self.source is None else frozen_base(self.source, revision=self.revision)

    def forward(self, image: Tensor) -> EncodedImage:
        """(B, 1 or 3, H, W) in [0, 1] -> maps (B, embed_width, H / stride, W / stride)."""
        states = embedded = self._embed(self.normalise(image))
        tapped = {}
        for number, block in enumerate(self._blocks(), start=1):
            states = block(states) if self.family == "sam_vision_model" else block(states, None)
            if number in self.taps:
                tapped[number] = states
        if self.family == "vit":
            states = self.model.layernorm(states)
        kept = [tapped[number] for number in self.taps]
        if self.family == "sam_vision_model":
            features, embedded, *taps = (value.permute(0, 3, 1, 2) for value in (states, embedded, *kept))
            return EncodedImage(features, embedded, taps=tuple(taps))
        grid = (image.shape[-2] // self.stride, image.shape[-1] // self.stride)
        features, embedded, *taps = (_to_map(value, grid) for value in (states, embedded, *kept))
        return EncodedImage(
            features, embedded, taps=tuple(taps), class_tokens=tuple(value[:, 0] for value in kept)
        )

    def _embed(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) -> what goes into the first block: (B, 1 + h * w, C), of SAM (B, h, w, C)."""
        if self.family == "sam_vision_model":
            encoder = self.model.vision_encoder
            return encoder.patch_embed(pixels) + encoder.pos_embed
        embedded = self.model.embeddings(pixels, interpolate_pos_encoding=True)
        return self.model.pre_layrnorm(embedded) if self.family == "clip_vision_model" else embedded

    def _blocks(self) -> nn.ModuleList:
        """The transformer's blocks.

        They are called one by one: transformers' own `hidden_states` miss what an adapter changes whose hook
        comes after the recording one.
        """
        if self.family == "sam_vision_model":
            return self.model.vision_encoder.layers
        return self.model.encoder.layers if self.family == "clip_vision_model" else self.model.layers

    def project(self, features: Tensor) -> Tensor:
        """SAM's own neck, (B, 768, h, w) -> (B, 256, h, w); nothing for ViT and CLIP."""
        if self.family == "sam_vision_model":
            return self.model.vision_encoder.neck(features.permute(0, 2, 3, 1))
        return features


def _checked_taps(taps: Sequence[int], *, blocks: int) -> tuple[int, ...]:
    """Refuse what is the number of no block, and one that comes twice."""
    numbers = tuple(taps)
    if len(set(numbers)) < len(numbers) or not set(numbers) <= set(range(1, blocks + 1)):
        raise InputError(
            f"taps: found {list(numbers)}, expected different numbers of the image encoder's blocks, from 1 "
            f"to {blocks}; change them."
        )
    return numbers


def _normalisation(family: str, source: str | None, revision: str | None) -> str:
    """The family's; of SAM's, that of the weights, since MedSAM has the same layout and another one.

    Raises:
        InputError: weights of SAM's family that are not known.
    """
    if family != "sam_vision_model" or source is None:
        return NORMALISATION[family]
    known = known_normalisation(source, revision=revision)
    if known is None:
        raise InputError(
            f"image_normalisation: found none for {source}, whose weights are not known and have the layout "
            "of both SAM and MedSAM; set it to imagenet for weights that go back to SAM, to unit for those "
            "that go back to MedSAM."
        )
    return known


def _to_map(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """(B, 1 + h * w, C) with the class token first -> (B, C, h, w)."""
    return tokens[:, 1:].transpose(1, 2).unflatten(2, grid)

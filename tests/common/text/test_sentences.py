"""Sentence vectors of CLIP and BERT folders against transformers' own."""

import re
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    AutoTokenizer,
    BertModel,
    CLIPModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    GPT2Config,
    GPT2Model,
)

from common.errors import InputError
from common.layers.adapters import add_query_value_lora, with_prefix
from common.networks.guidance import Guidance
from common.networks.medvlm.network import MedVLM
from common.text.bank import BankedTextEncoder
from common.text.bank_file import read_bank
from common.text.encoders import TextEncoder
from tests.common.text.clips import JOINT, SIZES, WIDTH, write_clip
from tests.common.text.test_encoders import write_bert
from tests.tiny_models import write_bytes_tokenizer

PROMPTS = ["polyp", "one small pink round polyp at the left", "", "Two polyps"]
MOST = 77


def clip_features(folder: Path, prompts: list[str], **options: Any) -> torch.Tensor:
    """What transformers' CLIP gives for texts, by its own tokenizer in one padded batch."""
    batch = AutoTokenizer.from_pretrained(folder)(prompts, padding=True, return_tensors="pt", **options)
    with torch.no_grad():
        return CLIPModel.from_pretrained(folder).eval().get_text_features(**batch).pooler_output


def sentences(encoder: TextEncoder | BankedTextEncoder, prompts: list[str]) -> torch.Tensor:
    encoded = encoder(prompts)
    return encoder.sentences(encoded.tokens, encoded.mask)


@pytest.mark.parametrize("end", [2, 513])
def test_a_clips_sentence_vectors_are_its_text_features(end: int, tmp_path: Path) -> None:
    """With OpenAI's settings, whose end of a text is none, and with those that name it."""
    folder = write_clip(tmp_path / "clip", end=end)
    encoder = TextEncoder(str(folder), max_tokens=MOST)
    assert (encoder.width, encoder.sentence_width) == (WIDTH, JOINT)
    expected = clip_features(folder, PROMPTS)
    assert (expected[0] - expected[1]).abs().max() > 0.1
    torch.testing.assert_close(sentences(encoder, PROMPTS), expected, rtol=0, atol=1e-5)
    for index, prompt in enumerate(PROMPTS):  # without any padding
        torch.testing.assert_close(sentences(encoder, [prompt])[0], expected[index], rtol=0, atol=1e-5)


def test_a_clips_word_features_and_embeddings_are_transformers_own(tmp_path: Path) -> None:
    folder = write_clip(tmp_path / "clip")
    encoded = TextEncoder(str(folder), max_tokens=MOST)(PROMPTS)
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    network = CLIPModel.from_pretrained(folder).text_model.eval()
    for index, prompt in enumerate(PROMPTS):
        batch = tokenizer(prompt, return_tensors="pt")
        count = batch["input_ids"].shape[1]
        with torch.no_grad():
            states = network(**batch, output_hidden_states=True)
        assert encoded.mask[index].sum() == count
        expected = states.last_hidden_state[0]
        torch.testing.assert_close(encoded.tokens[index, :count], expected, rtol=0, atol=1e-5)
        first = states.hidden_states[0][0]
        torch.testing.assert_close(encoded.embedded[index, :count], first, rtol=0, atol=1e-6)
        assert not encoded.tokens[index, count:].any()


def test_the_mask_says_what_is_real_and_no_id(tmp_path: Path) -> None:
    """Padding has the id of the end of a text, which is real once: 'polyp' has 5 letters, a start, an end."""
    encoder = TextEncoder(str(write_clip(tmp_path / "clip")), max_tokens=MOST)
    ids = encoder.tokenizer(["polyp", "polyps!"], padding=True)["input_ids"][0]
    assert ids[-3:] == [513, 513, 513]
    assert encoder(["polyp", "polyps!"]).mask.sum(dim=1).tolist() == [7, 9]


def test_words_see_only_those_before_them(tmp_path: Path) -> None:
    encoder = TextEncoder(str(write_clip(tmp_path / "clip")), max_tokens=MOST)
    one, two = encoder(["left polyp"]).tokens[0], encoder(["left liver"]).tokens[0]
    torch.testing.assert_close(one[:5], two[:5], rtol=0, atol=1e-6)  # the start and four letters
    assert (one[5] - two[5]).abs().max() > 1e-2


def test_a_clip_reads_77_tokens_and_says_what_it_did_not(tmp_path: Path) -> None:
    folder = write_clip(tmp_path / "clip")
    with pytest.raises(
        InputError, match=r"max_tokens: found 96, expected 3 to 77 for .*clip; choose a number"
    ):
        TextEncoder(str(folder))
    encoder = TextEncoder(str(folder), max_tokens=MOST)
    long = " ".join(["polyp"] * 16)  # 80 letters
    said = r"found 80 word pieces, expected at most 75; its end, from 'polyp' on, was not read"
    with pytest.warns(UserWarning, match=said):
        found = sentences(encoder, [long])
    expected = clip_features(folder, [long], truncation=True, max_length=MOST)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoder([" ".join(["polyp"] * 15)])  # exactly 75


def test_the_text_part_alone_is_read_too(tmp_path: Path) -> None:
    folder = write_clip(tmp_path / "text", "projected")
    expected = sentences(TextEncoder(str(write_clip(tmp_path / "clip")), max_tokens=MOST), PROMPTS)
    found = sentences(TextEncoder(str(folder), max_tokens=MOST), PROMPTS)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    batch = AutoTokenizer.from_pretrained(folder)(PROMPTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        peer = CLIPTextModelWithProjection.from_pretrained(folder).eval()(**batch).text_embeds
    torch.testing.assert_close(found, peer, rtol=0, atol=1e-5)


def test_without_a_projection_there_are_words_and_no_sentence(tmp_path: Path) -> None:
    folder = write_clip(tmp_path / "text", "bare")
    whole = TextEncoder(str(write_clip(tmp_path / "clip")), max_tokens=MOST)(PROMPTS)
    encoder = TextEncoder(str(folder), max_tokens=MOST)
    encoded = encoder(PROMPTS)
    assert torch.equal(encoded.tokens, whole.tokens)
    assert torch.equal(encoded.embedded, whole.embedded)
    refused = re.escape(
        f"{folder}: found a language model without sentence vectors, expected a BERT, or the text part of a "
        "CLIP with its weight text_projection; give the folder of one."
    )
    with pytest.raises(InputError, match=f"^{refused}$"):
        encoder.sentences(encoded.tokens, encoded.mask)
    with pytest.raises(InputError, match=refused):
        _ = encoder.sentence_width


def test_a_projection_that_should_be_there_is_missed(tmp_path: Path) -> None:
    folder = write_clip(tmp_path / "clip")
    model = CLIPModel.from_pretrained(folder)
    state = {name: value for name, value in model.state_dict().items() if name != "text_projection.weight"}
    model.save_pretrained(folder, state_dict=state)
    with pytest.raises(InputError, match=r"1 weights of CLIPTextModelWithProjection are missing \(text_proj"):
        TextEncoder(str(folder), max_tokens=MOST)


def test_a_clip_without_tokenizer_is_refused(tmp_path: Path) -> None:
    folder = write_clip(tmp_path / "clip")
    for name in ("vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json"):
        (folder / name).unlink()
    with pytest.raises(InputError, match=r"(found no tokenizer|no tokenizer can be read there)"):
        TextEncoder(str(folder), max_tokens=MOST)


def test_a_berts_sentence_vector_is_its_first_token(tmp_path: Path) -> None:
    folder = write_bert(tmp_path / "bert")
    encoder, prompts = TextEncoder(str(folder), max_tokens=24), ["left kidney", "spleen", "the large liver"]
    batch = AutoTokenizer.from_pretrained(folder)(prompts, padding=True, return_tensors="pt")
    with torch.no_grad():
        expected = BertModel.from_pretrained(folder).eval()(**batch).last_hidden_state[:, 0]
    assert encoder.sentence_width == encoder.width
    torch.testing.assert_close(sentences(encoder, prompts), expected, rtol=0, atol=1e-5)


def test_a_decoder_has_no_sentence_vector(tmp_path: Path) -> None:
    """Its first token has read nothing, and its last one no end of a text."""
    size = write_bytes_tokenizer(tmp_path)
    GPT2Model(GPT2Config(vocab_size=size, n_embd=16, n_layer=1, n_head=2)).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="found a language model without sentence vectors"):
        sentences(TextEncoder(str(tmp_path)), ["polyp"])


def test_guidance_is_enough_for_sentence_vectors(tmp_path: Path) -> None:
    """Word features and mask of a network's guidance, chosen and repeated, need nothing beside them."""
    encoder = TextEncoder(str(write_clip(tmp_path / "clip")), max_tokens=MOST)
    encoded = encoder(PROMPTS)
    guidance = Guidance(encoded.tokens, encoded.mask).rows([3, 0]).repeat(2)
    assert guidance.tokens is not None
    assert guidance.mask is not None
    found = encoder.sentences(guidance.tokens, guidance.mask)
    expected = encoder.sentences(encoded.tokens, encoded.mask)
    torch.testing.assert_close(found, expected[[3, 0, 3, 0]], rtol=0, atol=1e-6)


def test_a_bank_gives_sentence_vectors_without_the_clip(tmp_path: Path) -> None:
    folder, bank = write_clip(tmp_path / "clip"), tmp_path / "bank.npz"
    expected = sentences(TextEncoder(str(folder), max_tokens=MOST), PROMPTS)
    new = BankedTextEncoder(str(folder), bank=bank, max_tokens=MOST)
    assert torch.equal(sentences(new, PROMPTS), expected)
    del new
    shutil.rmtree(folder)
    old = BankedTextEncoder(str(folder), bank=bank, max_tokens=MOST)
    assert old.sentence_width == JOINT
    assert torch.equal(sentences(old, PROMPTS), expected)
    assert not old.state_dict()
    assert not list(old.parameters())


def test_banks_of_models_without_a_projection(tmp_path: Path) -> None:
    """A BERT's has no further array and gives the first token; a bare CLIP's still says that it has none."""
    bert, bank = write_bert(tmp_path / "bert"), tmp_path / "bert.npz"
    expected = sentences(TextEncoder(str(bert), max_tokens=24), ["left kidney"])
    BankedTextEncoder(str(bert), bank=bank, max_tokens=24)(["left kidney"])
    with np.load(bank) as file:
        assert set(file) == {"texts", "lengths", "tokens", "embedded", "cuts", "made"}
    shutil.rmtree(bert)
    assert torch.equal(
        sentences(BankedTextEncoder(str(bert), bank=bank, max_tokens=24), ["left kidney"]), expected
    )
    bare, bank = write_clip(tmp_path / "bare", "bare"), tmp_path / "bare.npz"
    BankedTextEncoder(str(bare), bank=bank, max_tokens=MOST)(PROMPTS)
    shutil.rmtree(bare)
    with pytest.raises(InputError, match="bare: found a language model without sentence vectors"):
        sentences(BankedTextEncoder(str(bare), bank=bank, max_tokens=MOST), PROMPTS)


def test_a_bank_whose_projection_does_not_fit_is_refused(tmp_path: Path) -> None:
    folder, bank = write_clip(tmp_path / "clip"), tmp_path / "bank.npz"
    BankedTextEncoder(str(folder), bank=bank, max_tokens=MOST)(PROMPTS)
    with np.load(bank) as file:
        arrays = dict(file)
    np.savez(bank, **arrays | {"projection": arrays["projection"][:, 1:]})
    assert len(read_bank(bank)[1]) == len(PROMPTS)
    with pytest.raises(
        InputError, match=r"bank\.npz: cannot be read as a bank of texts \(its projection does not fit its t"
    ):
        BankedTextEncoder(str(folder), bank=bank, max_tokens=MOST)


def test_a_clip_that_is_trained_learns_in_all_of_its_weights(tmp_path: Path) -> None:
    encoder = TextEncoder(str(write_clip(tmp_path / "clip")), max_tokens=MOST, trainable=True)
    sentences(encoder, PROMPTS).square().sum().backward()
    assert not [name for name, value in encoder.named_parameters() if value.grad is None]


def test_adapters_in_a_clip_learn_and_show_in_its_sentences(tmp_path: Path) -> None:
    encoder = TextEncoder(str(write_clip(tmp_path / "clip")), max_tokens=MOST)
    before = sentences(encoder, PROMPTS)
    add_query_value_lora(encoder.model, rank=2)
    assert encoder.frozen
    torch.testing.assert_close(sentences(encoder, PROMPTS), before)
    sentences(encoder, PROMPTS).square().sum().backward()
    learning = {name: value for name, value in encoder.named_parameters() if value.requires_grad}
    assert len(learning) == 2 * 2 * 2  # layers, queries and values, A and B
    assert all(value.grad is not None for value in learning.values())
    with torch.no_grad():
        for name, value in learning.items():
            if ".lora_B." in name:
                value.normal_()
    assert (sentences(encoder, PROMPTS) - before).abs().max() > 1e-2


def test_a_prefix_in_a_clip_is_refused(tmp_path: Path) -> None:
    encoder = TextEncoder(str(write_clip(tmp_path / "clip")), max_tokens=MOST)
    refused = "tuning 'prefix': CLIPTextModelWithProjection takes no keys and values beside its own"
    with pytest.raises(InputError, match=refused):
        with_prefix(encoder.model)


def test_weights_in_bfloat16_give_sentence_vectors_in_float32(tmp_path: Path) -> None:
    folder = write_clip(tmp_path / "clip")
    full = sentences(TextEncoder(str(folder), max_tokens=MOST), PROMPTS)
    half = sentences(TextEncoder(str(folder), max_tokens=MOST, dtype="bfloat16"), PROMPTS)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, full, rtol=0, atol=0.2 * full.abs().max().item())
    assert not torch.equal(half, full)


def test_a_random_clip_text_part_has_sentence_vectors() -> None:
    config = {"model_type": "clip_text_model", "projection_dim": JOINT, "vocabulary": ["polyp"], **SIZES}
    encoder = TextEncoder(None, config=config, max_tokens=MOST)
    encoded = encoder(["polyp", ""])
    assert encoder.sentences(encoded.tokens, encoded.mask).shape == (2, JOINT)


def test_a_network_takes_a_clips_words(tmp_path: Path) -> None:
    network = MedVLM.from_preset(
        "compact", text_model=str(write_clip(tmp_path / "clip")), max_tokens=MOST, image_size=64, width=16
    )
    assert network(torch.rand(1, *network.field_shape[:1], 64, 64), PROMPTS[:2]).shape == (2, 1, 64, 64)
    assert set(network.frozen_bases()) == {"text_encoder"}
    assert not any(key.startswith("text_encoder") for key in network.state_dict())

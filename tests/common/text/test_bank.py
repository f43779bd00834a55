"""A bank stands for the language model: same features, and the model's files may be gone."""

import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel

from common.checkpoints import load_trained, save_trained
from common.errors import InputError
from common.networks.medvlm import MedVLM
from common.text.bank import BankedTextEncoder, read_bank
from common.text.encoders import TextEncoder

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "left", "kidney", "liver", "the", "of", "large"]
PROMPTS = ["left kidney", "the large liver of the left", "spleen"]


def write_bert(folder: Path, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=len(WORDS), max_position_embeddings=96, **sizes)).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    return folder


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    return write_bert(tmp_path / "bert")


def assert_same(one, two):
    for first, second in zip(one, two, strict=True):
        assert torch.equal(first, second)


def test_known_texts_need_no_language_model(bert, tmp_path):
    bank, reference = tmp_path / "bank.npz", TextEncoder(str(bert))
    expected = reference(PROMPTS), reference(PROMPTS[:1])
    assert_same(BankedTextEncoder(str(bert), bank=bank)(PROMPTS), expected[0])
    base = reference.base()
    shutil.rmtree(bert)
    banked = BankedTextEncoder(str(bert), bank=bank)
    assert banked.width == 16
    assert_same(banked(PROMPTS), expected[0])
    assert_same(banked(PROMPTS[:1]), expected[1])
    assert not list(banked.parameters())
    assert banked.base() == base
    with pytest.raises(InputError, match=r"bert: "):
        banked(["liver"])


def test_unknown_texts_are_encoded_once_and_added(bert, tmp_path):
    bank, reference = tmp_path / "bank.npz", TextEncoder(str(bert))
    for texts in (PROMPTS[:2], [PROMPTS[2], PROMPTS[0]], [*PROMPTS, PROMPTS[1]]):
        assert_same(BankedTextEncoder(str(bert), bank=bank)(texts), reference(texts))
    assert list(read_bank(bank)[1]) == PROMPTS


def sentences(encoder, *calls):
    """What is warned of in calls with these prompts."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for prompts in calls:
            encoder(prompts)
    return [str(warning.message) for warning in caught]


def test_a_text_that_was_cut_is_warned_of_as_the_language_model_does_it(bert, tmp_path):
    """Once a run, whoever encoded it; a text that fits exactly is not mentioned."""
    long, fits, longer = (" ".join(["liver"] * count + ["left"]) for count in (95, 93, 199))
    said = (
        f"prompt '{long[:80].rstrip()}...': found 96 word pieces, expected at most 94; not read was its end "
        "from 'liver left' on, so shorten the text."
    )
    bank = tmp_path / "bank.npz"
    assert sentences(TextEncoder(str(bert)), [fits, long], [long]) == [said]
    assert sentences(BankedTextEncoder(str(bert), bank=bank), [fits, long], [long]) == [said]
    later = sentences(BankedTextEncoder(str(bert), bank=bank), [longer, fits, long], [long, longer])
    assert sorted(later) == sorted([said, *sentences(TextEncoder(str(bert)), [longer])])
    shutil.rmtree(bert)
    banked = BankedTextEncoder(str(bert), bank=bank)
    assert sentences(banked, [fits]) == []
    assert sentences(banked, [fits, long, longer], [long]) == [said, *set(later) - {said}]


def test_texts_are_data(bert, tmp_path):
    texts = ["$(x)", "Niere, linke ü", "a b", "../x", "__import__('os')"]
    encoder = BankedTextEncoder(str(bert), bank=tmp_path / "bank.npz")
    encoder(texts)
    assert list(read_bank(tmp_path / "bank.npz")[1]) == texts
    assert_same(BankedTextEncoder(str(bert), bank=tmp_path / "bank.npz")(texts[::-1]), encoder(texts[::-1]))


def test_a_trained_network_gives_the_same_masks_without_its_language_model(bert, tmp_path):
    """From checkpoint to logits with the files of the language model gone; its record is checked still."""

    def build(**options):
        torch.manual_seed(1)
        return MedVLM.from_preset("compact", text_model=str(bert), image_size=64, **options).eval()

    bank, image = tmp_path / "bank.npz", torch.rand(1, 1, 64, 64)
    trained = build(text_bank=bank)
    with torch.no_grad():
        expected = trained(image, PROMPTS)
    save_trained(trained, tmp_path / "model.pt", half=False)
    assert torch.equal(load_trained(build(), tmp_path / "model.pt")(image, PROMPTS), expected)
    shutil.rmtree(bert)
    with torch.no_grad():
        assert torch.equal(
            load_trained(build(text_bank=bank), tmp_path / "model.pt")(image, PROMPTS), expected
        )


def test_errors_say_what_to_do(bert, tmp_path):
    bank = tmp_path / "bank.npz"
    BankedTextEncoder(str(bert), bank=bank)(PROMPTS)
    with pytest.raises(InputError, match=r"bank\.bin: found the ending '\.bin', expected \.npz"):
        BankedTextEncoder(str(bert), bank=tmp_path / "bank.bin")
    other = str(write_bert(tmp_path / "other", seed=1))
    with pytest.raises(InputError, match=r"bank\.npz: its texts were encoded by bert \(sha256 .*other is in"):
        BankedTextEncoder(other, bank=bank)
    write_bert(bert, seed=1)
    with pytest.raises(InputError, match=r"bank\.npz: its texts were encoded by bert \(sha256 "):
        BankedTextEncoder(str(bert), bank=bank)(["liver"])
    with pytest.raises(
        InputError, match="text_bank: with tuning 'lora' the language model is not the frozen"
    ):
        MedVLM.from_preset("compact", text_model=str(bert), text_bank=str(bank), tuning="lora")
    bank.write_bytes(bank.read_bytes()[:-50])
    with pytest.raises(InputError, match=r"bank\.npz: cannot be read as a bank of texts \(.*delete it"):
        BankedTextEncoder(str(bert), bank=bank)
    np.savez(bank, texts=np.array([{"a": 1}], dtype=object))
    with pytest.raises(InputError, match=r"bank\.npz: cannot be read as a bank of texts"):
        BankedTextEncoder(str(bert), bank=bank)

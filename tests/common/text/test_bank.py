"""A bank stands for the language model: same features, and the model's files may be gone."""

import gc
import multiprocessing
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel

from common.errors import InputError
from common.networks.lsms.network import LSMS
from common.networks.medvlm.network import MedVLM
from common.text import bank as bank_module
from common.text.bank import BankedTextEncoder
from common.text.bank_file import read_bank, write_bank
from common.text.encoders import TextEncoder
from common.weights.checkpoints import load_trained, save_trained

REPOSITORY = Path(__file__).parents[3]
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
        f"prompt '{long[:80].rstrip()}...': found 96 word pieces, expected at most 94; its end, from "
        "'liver left' on, was not read, so shorten the text."
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

    bank, image = tmp_path / "bank.npz", torch.rand(1, 5, 64, 64)
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
    with pytest.raises(InputError, match="text_bank: found a bank and the tuning 'lora'"):
        MedVLM.from_preset("compact", text_model=str(bert), text_bank=str(bank), tuning="lora")
    bank.write_bytes(bank.read_bytes()[:-50])
    with pytest.raises(InputError, match=r"bank\.npz: cannot be read as a bank of texts \(.*delete it"):
        BankedTextEncoder(str(bert), bank=bank)
    np.savez(bank, texts=np.array([{"a": 1}], dtype=object))
    with pytest.raises(InputError, match=r"bank\.npz: cannot be read as a bank of texts"):
        BankedTextEncoder(str(bert), bank=bank)


@pytest.fixture
def clock(monkeypatch) -> dict[str, float]:
    """Seconds that pass when the test says so, and how often a bank was written."""
    state = {"now": 1000.0, "writes": 0, "takes": 0.0}

    def write(*arguments):
        state["writes"] += 1
        state["now"] += state["takes"]
        write_bank(*arguments)

    monkeypatch.setattr(bank_module.time, "monotonic", lambda: state["now"])
    monkeypatch.setattr(bank_module, "write_bank", write)
    return state


def test_new_texts_are_written_at_most_once_a_minute_and_when_the_encoder_goes(bert, tmp_path, clock):
    path = tmp_path / "bank.npz"
    encoder = BankedTextEncoder(str(bert), bank=path)
    texts = [f"liver {'left ' * count}" for count in range(60)]
    for text in texts[:50]:  # a second each
        encoder([text])
        clock["now"] += 1.0
    assert clock["writes"] == 1
    assert list(read_bank(path)[1]) == texts[:1]
    clock["now"] += 10.0
    encoder([texts[50]])
    assert clock["writes"] == 2
    assert list(read_bank(path)[1]) == texts[:51]
    clock["now"] += 100.0
    encoder(texts[:51])
    assert clock["writes"] == 2  # nothing new
    clock["takes"] = 30.0  # then a tenth of the time is 300 seconds
    encoder([texts[51]])
    clock["now"] += 299.0
    encoder([texts[52]])
    assert clock["writes"] == 3
    del encoder
    gc.collect()
    assert list(read_bank(path)[1]) == texts[:53]


def test_a_bank_does_not_grow_without_end(bert, tmp_path, clock, monkeypatch, caplog):
    """Misspelt words of a training: what is over the limit is right all the same, and kept by nobody."""
    path, reference = tmp_path / "bank.npz", TextEncoder(str(bert))
    texts = [f"left kidney{'s' * count}" for count in range(40)]  # [CLS] left [UNK] [SEP]: 512 bytes each
    monkeypatch.setattr(bank_module, "MOST_BYTES", 10 * 512 + 100)
    encoder = BankedTextEncoder(str(bert), bank=path)
    clock["now"] += 60.0
    for text in texts:
        assert_same(encoder([text, texts[0]]), reference([text, texts[0]]))
        clock["now"] += 61.0
    assert list(read_bank(path)[1]) == texts[:10]
    assert clock["writes"] == 10
    assert (
        caplog.messages.count(f"{path}: full with 10 texts; further texts are encoded each time they occur.")
        == 1
    )
    assert_same(BankedTextEncoder(str(bert), bank=path)(texts[5:15]), reference(texts[5:15]))


def test_settings_of_another_bank_are_refused(bert, tmp_path):
    path = tmp_path / "bank.npz"
    BankedTextEncoder(str(bert), bank=path, max_tokens=8)(PROMPTS)
    made = read_bank(path)[0]
    assert (made.max_tokens, made.dtype) == (8, "float32")
    sentence = r"bank\.npz: its texts were encoded with max_tokens 8, but 96 is set; set max_tokens to 8"
    with pytest.raises(InputError, match=sentence):
        BankedTextEncoder(str(bert), bank=path)
    sentence = r"bank\.npz: its texts were encoded with text_dtype float32, but bfloat16 is set; set"
    with pytest.raises(InputError, match=sentence):
        BankedTextEncoder(str(bert), bank=path, max_tokens=8, dtype="bfloat16")


def test_max_tokens_and_dtype_reach_the_language_model(bert, tmp_path):
    options = {"max_tokens": 5, "dtype": "bfloat16"}
    text = ["the large liver of the left"]
    with pytest.warns(UserWarning, match="found 6 word pieces, expected at most 3"):
        expected = TextEncoder(str(bert), **options)(text)
    assert expected.tokens.shape[1] == 5
    with pytest.warns(UserWarning, match="found 6 word pieces, expected at most 3"):
        found = BankedTextEncoder(str(bert), bank=tmp_path / "bank.npz", **options)(text)
    assert_same(found, expected)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for preset, network in (("compact", MedVLM), ("compact", LSMS)):
            for bank in (None, str(tmp_path / "bank.npz")):
                built = network.from_preset(
                    preset, text_model=str(bert), text_bank=bank, text_dtype="bfloat16", max_tokens=5
                )
                assert_same(built.text_encoder(text), expected)


def test_a_network_learns_from_a_bank_alone(bert, tmp_path):
    """Bypass and projection get the gradients that they get from the language model itself."""

    def gradients(**options):
        torch.manual_seed(1)
        network = MedVLM.from_preset("compact", text_model=str(bert), image_size=64, **options).train()
        torch.nn.init.normal_(network.text_adapter.b)  # else A has no gradient yet
        network(torch.ones(1, 5, 64, 64), PROMPTS).square().mean().backward()
        assert network.text_encoder.frozen
        return {name: value.grad for name, value in network.named_parameters() if value.grad is not None}

    bank = tmp_path / "bank.npz"
    expected = gradients()
    assert {"text_adapter.a", "text_adapter.b", "text_projection.weight"} <= expected.keys()
    for _ in range(2):  # the bank is made; then it stands alone
        found = gradients(text_bank=bank)
        assert found.keys() == expected.keys()
        for name, gradient in expected.items():
            torch.testing.assert_close(found[name], gradient, msg=name)
        assert expected["text_adapter.a"].any()
        gc.collect()
        shutil.rmtree(bert, ignore_errors=True)


def test_processes_that_train_together_have_the_same_modules(bert, tmp_path):
    """torch's DistributedDataParallel compares them, whichever process has loaded the language model."""
    first = BankedTextEncoder(str(bert), bank=tmp_path / "bank.npz")
    first(PROMPTS)
    second = BankedTextEncoder(str(bert), bank=tmp_path / "bank.npz")
    for part in ("named_parameters", "named_buffers"):
        names = [[name for name, _ in getattr(encoder, part)()] for encoder in (first, second)]
        assert names[0] == names[1]
    assert not first.state_dict()


def _write_often(path, rows, made):
    for _ in range(60):
        write_bank(path, rows, made)


def test_two_processes_that_write_leave_a_whole_file(bert, tmp_path):
    path = tmp_path / "bank.npz"
    BankedTextEncoder(str(bert), bank=path)(PROMPTS)
    made, rows = read_bank(path)
    halves = [dict(list(rows.items())[part]) for part in (slice(0, 2), slice(1, 3))]
    fork = multiprocessing.get_context("fork")
    writers = [fork.Process(target=_write_often, args=(path, half, made)) for half in halves]
    for writer in writers:
        writer.start()
    seen = set()
    while any(writer.is_alive() for writer in writers):
        seen.add(tuple(read_bank(path)[1]))  # raises where the file is not whole
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert seen <= {tuple(rows), *(tuple(half) for half in halves)}
    assert tuple(read_bank(path)[1]) in {tuple(half) for half in halves}
    assert [entry.name for entry in tmp_path.iterdir() if entry.name != "bert"] == ["bank.npz"]


def test_a_full_disk_is_said_at_once_and_is_no_error_at_the_end(bert, tmp_path, monkeypatch, caplog):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    path = tmp_path / "bank.npz"
    said = f"{path}: the bank of texts cannot be written (No space left on device); make room"
    encoder = BankedTextEncoder(str(bert), bank=path)
    encoder(PROMPTS[:1])
    monkeypatch.setattr(bank_module.np, "savez", full)
    encoder(PROMPTS)  # in memory: the last minute's
    del encoder
    gc.collect()
    (warning,) = caplog.messages
    assert warning.startswith(said)
    assert list(read_bank(path)[1]) == PROMPTS[:1]
    with pytest.raises(InputError, match=re.escape(said)):
        BankedTextEncoder(str(bert), bank=path)(PROMPTS)


def test_texts_are_written_when_the_program_ends(bert, tmp_path):
    program = (
        "import sys; from common.text.bank import BankedTextEncoder\n"
        "encoder = BankedTextEncoder(sys.argv[1], bank=sys.argv[2])\n"
        "for text in sys.argv[3:]: encoder([text])"
    )
    path = tmp_path / "bank.npz"
    subprocess.run([sys.executable, "-c", program, bert, path, *PROMPTS], check=True, cwd=REPOSITORY)
    assert list(read_bank(path)[1]) == PROMPTS


@pytest.mark.parametrize("prompts", [[], "liver", [None]])
def test_prompts_that_are_none(bert, tmp_path, prompts):
    with pytest.raises(InputError, match=r"prompts: expected a list of texts, found .*; write \['left kid"):
        BankedTextEncoder(str(bert), bank=tmp_path / "bank.npz")(prompts)

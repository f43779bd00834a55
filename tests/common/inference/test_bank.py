"""A bank gives back what the network encoded, to the network that encoded it."""

import numpy as np
import pytest
import torch

from common.errors import InputError
from common.inference import CaseRunner, VolumeInferer
from common.inference.bank import encode_with_bank, read_bank
from common.networks.base import TextFeatures


class Encoder:
    """A text of n characters becomes n tokens of width 3, padded as a batch."""

    def __init__(self):
        self.calls = []

    def __call__(self, texts):
        self.calls.append(list(texts))
        longest = max(len(text) for text in texts)
        tokens = torch.zeros(len(texts), longest, 3)
        mask = torch.zeros(len(texts), longest, dtype=torch.bool)
        for row, text in enumerate(texts):
            tokens[row, : len(text)] = torch.tensor([ord(letter) for letter in text])[:, None] / 7.0
            mask[row, : len(text)] = True
        return TextFeatures(tokens, mask)


def assert_same(one, two):
    assert torch.equal(one.tokens, two.tokens)
    assert torch.equal(one.mask, two.mask)


def test_only_unknown_texts_are_encoded_and_added(tmp_path):
    path, encode = tmp_path / "bank.npz", Encoder()
    reference = Encoder()
    for texts in (["liver", "left kidney"], ["spleen", "liver"], ["left kidney", "spleen", "spleen"]):
        assert_same(encode_with_bank(path, texts, encode, weights="w"), reference(texts))
    assert encode.calls == [["liver", "left kidney"], ["spleen"]]
    assert list(read_bank(path, weights="w")) == ["liver", "left kidney", "spleen"]


def test_texts_are_data(tmp_path):
    path, texts = tmp_path / "bank.npz", ["$(x)", "Niere, linke ü", "a b", "../x"]
    encode_with_bank(path, texts, Encoder(), weights="w")
    assert_same(encode_with_bank(path, texts[::-1], None, weights="w"), Encoder()(texts[::-1]))


def test_a_run_with_a_bank_gives_the_same_masks_and_encodes_nothing_the_second_time(
    network, make_nifti, random_hu, tmp_path
):
    source = make_nifti(random_hu(8, 8, 3))

    def run(name, **options):
        texts = ["9 at 99.5", "3 at 19.5"]
        CaseRunner(source, tmp_path / name, network=network, inferer=VolumeInferer(), prompts=texts,
                   progress=False, **options).run()  # fmt: skip
        return (tmp_path / name / "case_seg.nii.gz").read_bytes()

    without = run("without")
    assert run("first", text_bank=tmp_path / "bank.npz") == without
    network.encode_text = None
    assert run("second", text_bank=tmp_path / "bank.npz") == without


def test_errors_say_what_to_do(tmp_path):
    path = tmp_path / "bank.npz"
    encode_with_bank(path, ["liver"], Encoder(), weights="a" * 64)
    with pytest.raises(
        InputError, match=r"bank\.npz: its texts were encoded by other weights \(sha256 aaaaaa"
    ):
        encode_with_bank(path, ["liver"], Encoder(), weights="b" * 64)
    with pytest.raises(InputError, match=r"bank\.bin: found the ending '\.bin', expected \.npz"):
        encode_with_bank(tmp_path / "bank.bin", ["liver"], Encoder(), weights="w")
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(InputError, match=r"bank\.npz: cannot be read as a bank of texts \(.*delete it"):
        encode_with_bank(path, ["liver"], Encoder(), weights="w")
    np.savez(path, texts=np.array([{"a": 1}], dtype=object))
    with pytest.raises(InputError, match=r"bank\.npz: cannot be read as a bank of texts"):
        encode_with_bank(path, ["liver"], Encoder(), weights="w")

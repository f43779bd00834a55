"""medvlm_organ: every ablation of the paper's Tables 2 to 5 is an override, and is trained for two steps.

The language models and the tower are random ones of the real architectures, saved as their hubs have them.
"""

import json
import math
import shutil
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import nn
from transformers import (
    BertConfig,
    BertModel,
    BioGptConfig,
    BioGptModel,
    GlmConfig,
    GlmModel,
    GPT2Config,
    GPT2Model,
    LlamaConfig,
    LlamaModel,
    SamVisionConfig,
    SamVisionModel,
    ViTConfig,
    ViTModel,
)

from tests.bundles.subjects import REPOSITORY, Subject
from tests.tiny_models import write_bytes_tokenizer

TWO_STEPS = {
    "network_def#image_size": 32,
    "epochs": 1,
    "draws_per_epoch": 4,
    "batch_size": 2,
    "val_interval": 2,  # so never
    "keep_states": 1,
    "text_level": "simple",
}
SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 128,
}
LARGE = SIZES | {"hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 8}  # BERT-large: all twice
GLM = SIZES | {"num_key_value_heads": 2, "head_dim": 8, "pad_token_id": 0}
LANGUAGE: dict[str, Callable[[int], Any]] = {
    "GPT-2": lambda words: GPT2Model(
        GPT2Config(vocab_size=words, n_positions=128, n_embd=32, n_layer=2, n_head=4)
    ),
    "BioGPT": lambda words: BioGptModel(BioGptConfig(vocab_size=words, **SIZES)),
    "LLaMA": lambda words: LlamaModel(LlamaConfig(vocab_size=words, **SIZES)),
    "GLM": lambda words: GlmModel(GlmConfig(vocab_size=words, **GLM)),
    "BERT": lambda words: BertModel(BertConfig(vocab_size=words, **SIZES)),
    "BERT-large": lambda words: BertModel(BertConfig(vocab_size=words, **LARGE)),
    "BioBERT": lambda words: BertModel(BertConfig(vocab_size=words, **SIZES)),
}
QUICK = ("GPT-2", "BioBERT")  # a decoder and an encoder; all take a second or two
MARKS = {"bypass": "_adapter.", "lora": ".lora_", "bottleneck": ".bottleneck.", "prefix": ".prompt_encoder."}
SIDES = {"both": {"image", "text"}, "text": {"text"}, "image": {"image"}, "none": set()}


class Trained(NamedTuple):
    """What two steps left: the network, which of its tensors changed, the words of the first draw."""

    network: nn.Module
    changed: set[str]
    prompts: list[str]


def write_word_pieces(folder: Path, *, cased: bool) -> int:
    """BERT's vocabulary of letters; cased and without settings, as BioBERT has it."""
    letters = string.ascii_letters if cased else string.ascii_lowercase
    special = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    words = [*special, *letters, *(f"##{letter}" for letter in letters)]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    if not cased:
        settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": True}
        (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return len(words)


def write_language_model(name: str, folder: Path) -> Path:
    torch.manual_seed(0)
    is_bert = "BERT" in name
    words = write_word_pieces(folder, cased=name == "BioBERT") if is_bert else write_bytes_tokenizer(folder)
    LANGUAGE[name](words).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Overrides that put a tiny ViT and a tiny BERT into the paper's preset."""
    folder = tmp_path_factory.mktemp("encoders")
    torch.manual_seed(0)
    sizes = {name: value for name, value in SIZES.items() if name != "max_position_embeddings"}
    ViTModel(ViTConfig(image_size=32, patch_size=16, **sizes), add_pooling_layer=False).save_pretrained(
        folder / "vit"
    )
    bert = write_language_model("BERT", folder / "bert")
    return {"preset": "paper", "image_model": str(folder / "vit"), "text_model": str(bert)}


@pytest.fixture
def two_steps(
    data: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Trained]:
    medvlm = Subject(REPOSITORY / "bundles" / "medvlm_organ", "organ", data("organ"))

    def train(**ablation: Any) -> Trained:
        """Two steps with arguments of the network, or with other keys of train.json, replaced."""
        monkeypatch.chdir(tmp_path)
        network = medvlm.config("train.json")["network_def"]
        changes = {f"network_def#{key}" if key in network else key: value for key, value in ablation.items()}
        workflow = medvlm.workflow("train.json", **{**medvlm.training(tmp_path), **TWO_STEPS, **changes})
        workflow.initialize()
        network = workflow.parser.get_parsed_content("network_def")
        before = {name: value.detach().clone() for name, value in network.named_parameters()}
        workflow.run()
        state = workflow.parser.get_parsed_content("train#trainer").state
        prompts = workflow.parser.get_parsed_content("train#dataset")[0]["prompt"]
        workflow.finalize()
        shutil.rmtree(tmp_path / "models")  # 50 MB of training state
        assert state.iteration == 2
        assert math.isfinite(state.output["loss"])
        changed = {name for name, value in network.named_parameters() if not torch.equal(value, before[name])}
        assert {"decoder.mask_vector.0.weight", "mixers.0.mlp.0.weight"} <= changed
        return Trained(network, changed, prompts)

    return train


def frozen(names: set[str]) -> set[str]:
    """Those that belong to a pretrained encoder and to no adapter in it."""
    encoders = {name for name in names if name.startswith(("text_encoder.", "image_encoder.model."))}
    return {name for name in encoders if not any(mark in name for mark in MARKS.values())}


@pytest.mark.parametrize(("level", "words"), [("none", (0, 0)), ("simple", (1, 6)), ("complex", (50, 75))])
def test_table_2_description(
    two_steps: Callable[..., Trained], tmp_path: Path, level: str, words: tuple[int, int]
) -> None:
    folder = write_language_model("BERT", tmp_path / "bert")
    trained = two_steps(text_model=str(folder), text_level=level, noise=0.0)
    assert len(trained.prompts) == 2
    assert all(words[0] <= len(prompt.split()) <= words[1] for prompt in trained.prompts)


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in LANGUAGE]
)
def test_table_3_text_encoder(two_steps: Callable[..., Trained], tmp_path: Path, name: str) -> None:
    folder = write_language_model(name, tmp_path / name)
    trained = two_steps(text_model=str(folder))
    encoder = trained.network.text_encoder
    assert (
        type(encoder.model).__name__ == json.loads((folder / "config.json").read_text())["architectures"][0]
    )
    assert encoder.width == (64 if name == "BERT-large" else 32)
    assert {"text_adapter.b", "text_projection.weight"} <= trained.changed
    assert not frozen(trained.changed)
    if name == "BioBERT":
        assert encoder.tokenizer.tokenize("CT") == ["C", "##T"]


@pytest.mark.parametrize("tuning", ["bypass", "lora", "bottleneck"])
@pytest.mark.parametrize(
    "adapter", ["both", *(pytest.param(side, marks=pytest.mark.slow) for side in ("text", "image"))]
)
def test_tables_4_and_5_adapter_and_tuning(
    two_steps: Callable[..., Trained], encoders: dict[str, str], adapter: str, tuning: str
) -> None:
    trained = two_steps(**encoders, adapter=adapter, tuning=tuning)
    of_adapters = {name for name in trained.changed if any(mark in name for mark in MARKS.values())}
    assert {name.split("_")[0] for name in of_adapters} == SIDES[adapter]
    assert all(MARKS[tuning] in name for name in of_adapters)
    assert not frozen(trained.changed)


@pytest.mark.parametrize("tuning", ["bypass", "lora"])
def test_sam_as_the_image_encoder(
    two_steps: Callable[..., Trained], encoders: dict[str, str], tmp_path: Path, tuning: str
) -> None:
    """Its neck gives the mixers' width and stays frozen; the adapters of queries and values learn."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "mlp_dim": 64}
    windows = {"image_size": 32, "global_attn_indexes": [1], "window_size": 1, "initializer_range": 0.2}
    SamVisionModel(SamVisionConfig(**sizes, **windows)).save_pretrained(tmp_path / "sam")
    sam = {
        "preset": "paper_sam",
        "image_model": str(tmp_path / "sam"),
        "image_normalisation": "imagenet",
    }
    trained = two_steps(**(encoders | sam), tuning=tuning)
    assert trained.network.normalisation == "imagenet"
    assert isinstance(trained.network.image_projection, nn.Identity)
    of_image = {name for name in trained.changed if name.startswith("image_")}
    if tuning == "lora":  # A moves in the second step, when B is no longer 0
        assert {name.split(".qkv.lora_")[1] for name in of_image} >= {"B.query.weight", "B.value.weight"}
    else:
        assert of_image == {"image_adapter.a", "image_adapter.b"}
    assert not frozen(trained.changed)


def test_table_4_without_adapters(two_steps: Callable[..., Trained], encoders: dict[str, str]) -> None:
    trained = two_steps(**encoders, adapter="none")
    assert not [name for name, _ in trained.network.named_parameters() if "adapter" in name]
    assert not frozen(trained.changed)


def test_table_5_prefix(two_steps: Callable[..., Trained], encoders: dict[str, str]) -> None:
    trained = two_steps(**encoders, adapter="text", tuning="prefix")
    of_adapters = {name for name in trained.changed if any(mark in name for mark in MARKS.values())}
    assert of_adapters == {"text_encoder.model.prompt_encoder.default.embedding.weight"}
    assert not frozen(trained.changed)

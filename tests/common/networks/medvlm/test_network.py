"""Med-VLM: counts of the sheet, adapters that start as nothing, and one image pass for many prompts."""

import inspect
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from common.errors import InputError
from common.layers.vision_towers import VisionTower, random_tower
from common.networks.guidance import Guidance
from common.networks.medvlm.network import MedVLM
from common.networks.medvlm.pyramid import PyramidEncoder
from common.text.encoders import TextEncoder
from common.weights.checkpoints import load_trained, save_trained
from tests.tiny_models import SAM_TOWER

WORDS = ["liver", "spleen", "left", "right", "kidney", "the", "is", "large"]
BIOBERT = {"model_type": "bert", "vocab_size": 28_996}  # BERT-base sizes are the defaults
MINILM = {
    "model_type": "bert",
    "vocab_size": 30_522,
    "hidden_size": 384,
    "num_hidden_layers": 6,
    "num_attention_heads": 12,
    "intermediate_size": 1536,
}
VIT_B16 = {"image_size": 224, "patch_size": 16}
CLIP_B16 = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "patch_size": 16,
}
TINY_BERT = {
    "model_type": "bert",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 32,
    "vocabulary": WORDS,
}
TINY_VIT = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "image_size": 32,
    "patch_size": 16,
}


def trainable(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


def total(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


# Which encoders, and how; the fourth tuning, prefixes, is for text alone.
ADAPTED = [
    (side, tuning) for tuning in ("bypass", "lora", "bottleneck") for side in ("both", "text", "image")
]
ALL = [*ADAPTED, ("text", "prefix"), ("none", "bypass")]


def tiny(
    adapter: str = "both", tuning: str = "bypass", *, frozen_tower: bool = True, **changes: Any
) -> MedVLM:
    torch.manual_seed(0)
    if frozen_tower:
        image_encoder = VisionTower(random_tower("vit", **TINY_VIT), image_size=64, source="somewhere")
    else:
        image_encoder = PyramidEncoder(channels=(8, 16, 32), depths=(0, 1, 1))
    text_encoder = TextEncoder(None, config=TINY_BERT, max_tokens=16)
    text_encoder.source = "somewhere"  # so that it counts as pretrained: its weights stay out of checkpoints
    settings: dict[str, Any] = {
        "image_size": 64,
        "adapter": adapter,
        "tuning": tuning,
        "width": 16,
        "heads": 2,
        "mlp_width": 32,
        "mixers": 2,
        "decoder_channels": (8, 8) if frozen_tower else (),
    }
    return MedVLM(image_encoder=image_encoder, text_encoder=text_encoder, **(settings | changes)).eval()


def preset_on_meta(name: str, monkeypatch: pytest.MonkeyPatch, tower: str = "clip_vision_model") -> MedVLM:
    """A preset as `from_preset` builds it, but with bases of the published sizes and no weights."""
    towers = {"vit": VIT_B16, "clip_vision_model": CLIP_B16, "sam_vision_model": {}}  # SAM's defaults: ViT-B
    texts = {"dmis-lab/biobert-base-cased-v1.1": BIOBERT, "sentence-transformers/all-MiniLM-L6-v2": MINILM}

    def load_tower(_model: str, *, revision: str | None) -> nn.Module:
        return random_tower(tower, **towers[tower])

    def text_encoder(model: str, *, revision: str | None, **options: Any) -> TextEncoder:
        return TextEncoder(None, config=texts[model], **options)

    monkeypatch.setattr("common.networks.medvlm.network.load_tower", load_tower)
    monkeypatch.setattr("common.networks.medvlm.network.TextEncoder", text_encoder)
    monkeypatch.setattr("common.layers.vision_towers.known_normalisation", lambda *_, **__: "imagenet")
    with torch.device("meta"):
        return MedVLM.from_preset(name)


# The sheet counts 5.205 M (bypass) and 5.77 M (LoRA on queries and values), without the 128 weights of
# the decoder's channel norm.
@pytest.mark.parametrize("tower", ["vit", "clip_vision_model"])
@pytest.mark.parametrize(
    ("preset", "millions", "exact"), [("paper", 5.205, 5_205_504), ("paper_qv", 5.770, 5_770_752)]
)
def test_paper_presets_have_the_published_size(
    preset: str, millions: float, exact: int, tower: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = preset_on_meta(preset, monkeypatch, tower)
    assert trainable(network) == exact
    assert trainable(network) / 1e6 == pytest.approx(millions, rel=1e-3)
    assert total(network) / 1e6 == pytest.approx(200, rel=0.02)  # "about 200 M"


def test_the_preset_of_sam_has_adapters_and_no_image_projection(monkeypatch: pytest.MonkeyPatch) -> None:
    """LoRA on queries and values (2 x 294,912) and the neck's 256 channels: 7 % over the published 5.2 M."""
    network = preset_on_meta("paper_sam", monkeypatch, "sam_vision_model")
    assert trainable(network) == 5_573_888
    assert trainable(network.image_encoder) == trainable(network.text_encoder) == 294_912
    assert total(network.image_encoder) - 294_912 == 89_670_912  # of SAM's image encoder
    assert total(network) / 1e6 == pytest.approx(200, rel=0.02)
    assert isinstance(network.image_projection, nn.Identity)
    assert network.image_size == 1024


def test_compact_has_four_to_five_million_parameters_and_fits_in_12_mb(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = preset_on_meta("compact", monkeypatch)
    assert trainable(network) == 4_462_096  # the bundle's README says so
    assert 4e6 <= trainable(network) <= 5e6
    assert 2 * trainable(network) < 12e6  # bytes in float16


def test_unknown_adapters_and_sizes_are_refused() -> None:
    with pytest.raises(InputError, match="adapter: found 'all', expected one of both, text, image, none; ch"):
        tiny("all")
    with pytest.raises(InputError, match="tuning: found 'qv', expected one of bypass, lora, bottleneck, pre"):
        tiny("both", "qv")
    with pytest.raises(
        InputError, match="adapter: found 'both' with the tuning 'prefix', which is for the te"
    ):
        tiny("both", "prefix")
    with pytest.raises(InputError, match="image_size: found 100, expected a multiple of 16"):
        MedVLM(
            image_encoder=VisionTower(random_tower("vit", **TINY_VIT), image_size=100),
            text_encoder=TextEncoder(None, config=TINY_BERT, max_tokens=16),
            image_size=100,
        )


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("adapter", "tuning"), ADAPTED)
def test_adapted_encoders_equal_the_frozen_ones_before_training(
    adapter: str, tuning: str, training: bool
) -> None:
    adapted, frozen = tiny(adapter, tuning).train(training), tiny("none")
    shared = {key: value for key, value in adapted.state_dict().items() if key in frozen.state_dict()}
    frozen.load_state_dict(shared)
    image = torch.rand(2, 1, 64, 64)
    prompts = ["the left kidney", "liver"]
    torch.testing.assert_close(adapted.encode_image(image).features, frozen.encode_image(image).features)
    torch.testing.assert_close(adapted.encode_text(prompts).tokens, frozen.encode_text(prompts).tokens)
    torch.testing.assert_close(adapted(image, prompts), frozen(image, prompts))


@pytest.mark.parametrize(("adapter", "tuning"), ALL)
def test_adapters_learn_and_bases_do_not(adapter: str, tuning: str) -> None:
    network = tiny(adapter, tuning).train()
    before = {name: value.detach().clone() for name, value in network.named_parameters()}
    optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr=0.01)
    for _ in range(2):  # B is zero at first, so A has its first gradient in the second step
        optimizer.zero_grad()
        network(torch.rand(1, 1, 64, 64), ["liver"]).square().mean().backward()
        optimizer.step()
    changed = {name for name, value in network.named_parameters() if not torch.equal(value, before[name])}
    marks = ("_adapter.", ".lora_", ".bottleneck.", ".prompt_encoder.")
    adapters = {name for name in before if any(mark in name for mark in marks)}
    # Tensors of an encoder of two layers: A and B beside it; A and B of q and v; two weights and two biases.
    of_side = {"bypass": 2, "lora": 2 * 4, "bottleneck": 2 * 4, "prefix": 1}[tuning]
    assert len(adapters) == of_side * {"both": 2, "text": 1, "image": 1, "none": 0}[adapter]
    assert not {name for name in adapters if adapter == "text" and name.startswith("image_")}
    assert not {name for name in adapters if adapter == "image" and name.startswith("text_")}
    assert adapters <= changed
    bases = ("image_encoder.model", "text_encoder")
    assert not {name for name in changed if name.startswith(bases)} - adapters


@pytest.mark.parametrize("frozen_tower", [True, False])
@pytest.mark.parametrize("words_per_token", [1, 3])
def test_many_prompts_share_one_image_pass(words_per_token: int, frozen_tower: bool) -> None:
    network = tiny(frozen_tower=frozen_tower, words_per_token=words_per_token)
    calls = []
    network.image_encoder.register_forward_hook(lambda *_: calls.append(1))
    image = torch.rand(2, 1, 64, 64)
    prompts = ["liver", "spleen", "the right kidney"]
    features = network.encode_image(image)
    rows = [network.decode(features, network.encode_text([prompt] * 2)) for prompt in prompts]
    together = network.decode(features, network.encode_text(prompts * 2))
    assert len(calls) == 1
    assert together.shape == (6, 1, 64, 64)
    torch.testing.assert_close(together.view(2, 3, 1, 64, 64), torch.stack(rows, dim=1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("words_per_token", [1, 3, 8])
def test_padding_does_not_change_a_mask(words_per_token: int) -> None:
    network = tiny(words_per_token=words_per_token)
    image = torch.rand(1, 1, 64, 64)
    alone = network(image, ["liver"])
    beside_a_longer_one = network(image, ["liver", "the right kidney is the left kidney"])[:1]
    torch.testing.assert_close(alone, beside_a_longer_one, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("count", [2, 3, 8])
def test_tokens_are_means_of_neighbouring_real_words(count: int) -> None:
    prompts = ["liver", "the right kidney is the left kidney", "the spleen"]
    words, means = tiny().encode_text(prompts), tiny(words_per_token=count).encode_text(prompts)
    assert words.mask.sum(dim=1).tolist() == [3, 9, 4]  # with [CLS] and [SEP]
    assert means.tokens.shape[1] == -(-9 // count)
    for row, length in enumerate((3, 9, 4)):
        starts = range(0, length, count)
        expected = [words.tokens[row, start : min(start + count, length)].mean(dim=0) for start in starts]
        assert means.mask[row].tolist() == [place < len(expected) for place in range(means.mask.shape[1])]
        torch.testing.assert_close(means.tokens[row, : len(expected)], torch.stack(expected))


@pytest.mark.parametrize("frozen_tower", [True, False])
def test_image_alone_uses_the_default_prompt(frozen_tower: bool) -> None:
    network = tiny(frozen_tower=frozen_tower)
    image = torch.rand(2, 1, 64, 64)
    torch.testing.assert_close(network(image), network(image, ["liver", "liver"]))


@pytest.mark.parametrize(("adapter", "tuning"), ALL)
def test_checkpoint_holds_what_was_trained_and_loads_strictly(adapter: str, tuning: str) -> None:
    network = tiny(adapter, tuning)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
    state = network.state_dict()
    trained = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert set(state) == trained
    assert sum(value.numel() for value in state.values()) == trainable(network)
    again = tiny(adapter, tuning)
    again.load_state_dict(state, strict=True)
    image = torch.rand(1, 1, 64, 64)
    torch.testing.assert_close(again(image, ["the liver"]), network(image, ["the liver"]), rtol=0, atol=0)
    adapters = [
        name for name in trained if name.startswith(("text_adapter", "image_adapter", "text_encoder"))
    ]
    for missing in ("text_projection.weight", *adapters[:1]):
        incomplete = {key: value for key, value in state.items() if key != missing}
        with pytest.raises(RuntimeError, match=re.escape(missing)):
            tiny(adapter, tuning).load_state_dict(incomplete, strict=True)


def test_loading_says_what_a_checkpoint_was_trained_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    network = tiny(frozen_tower=False)
    network.text_encoder.source = None
    save_trained(network, tmp_path / "model.pt", half=False)
    load_trained(network, tmp_path / "model.pt")
    assert "Research use only" not in caplog.text
    record = json.loads((tmp_path / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps(record | {"trained_on": "three phantoms"}))
    load_trained(network, tmp_path / "model.pt")
    assert "trained on three phantoms. Research use only, not for diagnosis." in caplog.text


OTHERS: dict[str, Any] = {
    "adapter": "none",
    "tuning": "lora",
    "rank": 4,
    "width": 32,
    "heads": 4,
    "mlp_width": 64,
    "mixers": 3,
    "decoder_channels": (8,),
    "words_per_token": 2,
}


def test_a_checkpoint_or_its_record_shows_every_argument(tmp_path: Path) -> None:
    def random(**changes: Any) -> MedVLM:
        network = tiny(frozen_tower=False, **changes)
        network.text_encoder.source = None  # of no file, so it stands in checkpoints
        return network

    arguments = set(inspect.signature(MedVLM).parameters)
    given = {"image_encoder", "text_encoder", "image_size", "default_prompt", "framing"}
    assert arguments == OTHERS.keys() | given
    save_trained(random(), tmp_path / "model.pt", half=False)
    recorded = set()
    for name, value in OTHERS.items():
        with pytest.raises(InputError) as caught:
            load_trained(random(**{name: value}), tmp_path / "model.pt")
        message = str(caught.value)
        if "these weights do not fit MedVLM" not in message:
            assert f"trained with network_def#{name} " in message
            recorded.add(name)
    assert recorded == {"heads", "words_per_token"}


def test_random_encoders_are_kept_in_the_checkpoint() -> None:
    network = tiny()
    network.text_encoder.source = None
    assert any(key.startswith("text_encoder.") for key in network.state_dict())
    assert not any(key.startswith("image_encoder.") for key in network.state_dict())


def test_sam_tower_keeps_its_neck_and_refuses_other_sizes() -> None:
    model = random_tower("sam_vision_model", **SAM_TOWER).eval()
    tower = VisionTower(model, image_size=64)
    image = torch.rand(1, 1, 64, 64)
    expected = model(tower.normalise(image)).last_hidden_state
    torch.testing.assert_close(tower.project(tower(image).features), expected)
    with pytest.raises(InputError, match="image_size: 128, but this SAM tower works at 64 pixels only"):
        VisionTower(model, image_size=128)


def test_vit_tower_equals_transformers_own_output() -> None:
    model = random_tower("vit", **TINY_VIT).eval()
    tower = VisionTower(model, image_size=64)
    image = torch.rand(2, 1, 64, 64)
    expected = model((image.expand(-1, 3, -1, -1) - 0.5) / 0.5, interpolate_pos_encoding=True)
    torch.testing.assert_close(
        tower(image).features.flatten(2).transpose(1, 2), expected.last_hidden_state[:, 1:]
    )


class TextFree(nn.Module):
    """A network without its language model: image and word-piece features in, logits out."""

    def __init__(self, network: MedVLM) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return self.network.decode(self.network.encode_image(image), Guidance(tokens, mask))


@pytest.mark.parametrize("frozen_tower", [True, False])
def test_the_text_free_part_traces(frozen_tower: bool) -> None:
    network = tiny(frozen_tower=frozen_tower)
    text_free = TextFree(network)
    with torch.no_grad():
        asked = [network.encode_text([prompt]) for prompt in ("the left kidney", "the right spleen")]
        first, second = ((torch.rand(1, 1, 64, 64), guidance.tokens, guidance.mask) for guidance in asked)
        traced = torch.jit.trace(text_free, first)
        torch.testing.assert_close(traced(*second), text_free(*second))

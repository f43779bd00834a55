"""The exported folder, built anew from its files alone, against the network that it came from."""

import logging
from pathlib import Path

import pytest
import torch
from torch import nn

from common.errors import InputError
from common.export import export_full, fold_adapters
from common.layers.vision_towers import VisionTower, load_tower, random_tower
from common.networks.medvlm.network import MedVLM
from common.text.encoders import TextEncoder
from common.weights.checkpoints import load_trained

PROMPTS = ["left kidney", "the liver"]
BERT = {
    "model_type": "bert",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "vocabulary": ["liver", "left", "right", "kidney", "the"],
}
SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 64,
    "patch_size": 16,
}


def build(image: str, text: str, tuning: str, normalisation: str | None = "unit") -> MedVLM:
    """MedSAM normalises as "unit" does; written anew, its bytes do not say that they are its."""
    return MedVLM(
        image_encoder=VisionTower(
            load_tower(image), image_size=64, source=image, normalisation=normalisation
        ),
        text_encoder=TextEncoder(text, max_tokens=16),
        image_size=64,
        adapter="none" if tuning == "none" else "both",
        tuning="lora" if tuning == "none" else tuning,
        width=16,
        heads=2,
        mlp_width=32,
        mixers=1,
        decoder_channels=(8, 8),
    ).eval()


SAM = {name: size for name, size in SIZES.items() if name != "patch_size"} | {
    "mlp_dim": 64,
    "output_channels": 16,
    "global_attn_indexes": [1],
    "window_size": 2,
    "initializer_range": 0.2,
}


@pytest.fixture(params=["vit", "clip_vision_model", "sam_vision_model"])
def network(request: pytest.FixtureRequest, tmp_path: Path) -> MedVLM:
    """With base encoders in folders, as a user has them."""
    torch.manual_seed(0)
    sizes = SAM if request.param == "sam_vision_model" else SIZES | {"intermediate_size": 64}
    random_tower(request.param, **sizes).save_pretrained(tmp_path / "tower")
    text = TextEncoder(None, config=BERT, max_tokens=16)
    text.model.save_pretrained(tmp_path / "bert")
    text.tokenizer.save_pretrained(tmp_path / "bert")
    return build(str(tmp_path / "tower"), str(tmp_path / "bert"), "none")


def trained(network: MedVLM, tuning: str) -> MedVLM:
    """The same bases with adapters that do something."""
    sources = [str(encoder.source) for encoder in (network.image_encoder, network.text_encoder)]
    torch.manual_seed(1)
    adapted = build(*sources, tuning)
    for name, parameter in adapted.named_parameters():
        if ".lora_B." in name or name.endswith("adapter.b"):
            nn.init.normal_(parameter, std=0.2)
    return adapted


@pytest.mark.parametrize("tuning", ["lora", "bypass", "none"])
def test_export_gives_the_same_logits(
    network: MedVLM, tuning: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    adapted = trained(network, tuning)
    image = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        expected = adapted(image, PROMPTS)
        features = adapted.encode_text(PROMPTS).tokens
        plain = trained(network, "none").encode_text(PROMPTS).tokens
    if tuning != "none":
        assert (features - plain).abs().max() > 1e-2  # the adapters matter
    out = tmp_path / "full"
    with caplog.at_level(logging.INFO):
        export_full(adapted, out)
    assert sorted(path.name for path in out.iterdir()) == [
        "image_encoder",
        "model.json",
        "model.pt",
        "text_encoder",
    ]
    assert f"image_normalisation {adapted.normalisation}" in caplog.text
    left = "none" if tuning == "lora" else tuning
    if adapted.image_encoder.family == "sam_vision_model":
        with pytest.raises(
            InputError, match="set it to imagenet for weights that go back to SAM, to unit fo"
        ):
            build(str(out / "image_encoder"), str(out / "text_encoder"), left, normalisation=None)
    again = build(str(out / "image_encoder"), str(out / "text_encoder"), left)
    load_trained(again, out / "model.pt")
    with torch.no_grad():
        torch.testing.assert_close(again(image, PROMPTS), expected, rtol=0, atol=1e-5)
    assert not [name for name, _ in again.named_modules() if "lora" in name]


def test_folding_counts_the_adapters(network: MedVLM) -> None:
    """Two encoders, two layers, query and value, which are one layer in SAM."""
    fused = network.image_encoder.family == "sam_vision_model"
    assert fold_adapters(trained(network, "lora")) == (2 * 2 + 2 if fused else 2 * 2 * 2)
    assert fold_adapters(trained(network, "bypass")) == 0


def test_an_existing_folder_is_left_alone(network: MedVLM, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="exists already; give another folder, or remove it"):
        export_full(network, tmp_path)

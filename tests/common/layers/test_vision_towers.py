"""Vision towers read from checkpoints in the published layout, which the test writes small."""

from pathlib import Path

import pytest
import torch
from transformers import (
    BertConfig,
    BertModel,
    CLIPConfig,
    CLIPModel,
    SamConfig,
    SamModel,
    SamVisionConfig,
    ViTConfig,
    ViTModel,
)

from common.errors import InputError
from common.layers.vision_towers import VisionTower, load_tower
from common.networks import MedVLM

TINY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
SAM = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "mlp_dim": 64,
    "output_channels": 16,
    "image_size": 64,
    "global_attn_indexes": [1],
    "window_size": 2,
}


def vit(folder: Path) -> torch.nn.Module:
    model = ViTModel(ViTConfig(**TINY, image_size=32, patch_size=16))  # with a pooler, as published
    model.save_pretrained(folder)
    return model


def clip(folder: Path) -> torch.nn.Module:
    parts = {
        "text_config": {**TINY, "vocab_size": 50},
        "vision_config": {**TINY, "image_size": 32, "patch_size": 16},
    }
    model = CLIPModel(CLIPConfig(**parts, projection_dim=16))
    model.save_pretrained(folder)
    return model.vision_model


def sam(folder: Path) -> torch.nn.Module:
    model = SamModel(SamConfig(vision_config=SamVisionConfig(**SAM)))
    model.save_pretrained(folder)
    return model.vision_encoder


@pytest.mark.parametrize("write", [vit, clip, sam])
def test_tower_computes_what_the_published_model_computes(write, tmp_path: Path) -> None:
    torch.manual_seed(0)
    written = write(tmp_path).eval()
    size = 64 if write is sam else 32
    tower = VisionTower(load_tower(str(tmp_path)), image_size=size, source=str(tmp_path))
    pixels = torch.rand(2, 3, size, size)
    expected = written(pixels).last_hidden_state
    torch.testing.assert_close(tower.model(pixels).last_hidden_state, expected)
    assert not any(parameter.requires_grad for parameter in tower.parameters())
    base = tower.base()
    assert base is not None
    assert base.model == tmp_path.name


def test_preset_is_built_from_local_folders(tmp_path: Path) -> None:
    clip(tmp_path / "clip")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "liver", "left", "kidney"]
    BertModel(BertConfig(**TINY, vocab_size=len(words), max_position_embeddings=128)).save_pretrained(
        tmp_path / "bert"
    )
    (tmp_path / "bert" / "vocab.txt").write_text("\n".join(words))
    network = MedVLM.from_preset(
        "paper", image_model=str(tmp_path / "clip"), text_model=str(tmp_path / "bert"), image_size=64
    )
    logits = network(torch.rand(1, 1, 64, 64), ["liver", "left kidney"])
    assert logits.shape == (2, 1, 64, 64)
    assert set(network.frozen_bases()) == {"image_encoder", "text_encoder"}
    assert not any(key.startswith(("image_encoder", "text_encoder")) for key in network.state_dict())


def test_another_family_and_an_incomplete_checkpoint_are_refused(tmp_path: Path) -> None:
    BertModel(BertConfig(**TINY, vocab_size=20)).save_pretrained(tmp_path / "bert")
    with pytest.raises(InputError, match="holds a model of type 'bert', expected one of vit, clip or sam"):
        load_tower(str(tmp_path / "bert"))
    model = vit(tmp_path / "vit")
    state = {name: value for name, value in model.state_dict().items() if "layers.1" not in name}
    model.save_pretrained(tmp_path / "vit", state_dict=state)
    with pytest.raises(InputError, match="weights of ViTModel are missing"):
        load_tower(str(tmp_path / "vit"))


def test_an_unknown_preset_is_refused() -> None:
    with pytest.raises(InputError, match="found 'huge', expected one of paper, paper_qv, paper_sam, compact"):
        MedVLM.from_preset("huge")

"""Vision towers read from checkpoints in the published layout, which the test writes small."""

import hashlib
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

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
from common.layers.adapters import add_query_value_lora
from common.layers.normalisation import Normalise
from common.layers.vision_towers import VisionTower, load_tower
from common.networks.lsms.network import LSMS
from common.networks.medvlm.network import MedVLM
from common.text.encoders import TextEncoder
from common.weights.checkpoints import load_trained, save_trained
from common.weights.known import KNOWN_BASES
from tests.tiny_models import SAM_TOWER

TINY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}


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
    model = SamModel(SamConfig(vision_config=SamVisionConfig(**SAM_TOWER)))
    model.save_pretrained(folder)
    return model.vision_encoder


def write_bert(folder: Path) -> str:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "liver", "left", "kidney"]
    sizes = {"vocab_size": len(words), "max_position_embeddings": 128}
    BertModel(BertConfig(**TINY, **sizes)).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(words))
    return str(folder)


@pytest.mark.parametrize("write", [vit, clip, sam])
def test_tower_computes_what_the_published_model_computes(write, tmp_path: Path) -> None:
    torch.manual_seed(0)
    written = write(tmp_path).eval()
    size = 64 if write is sam else 32
    tower = VisionTower(
        load_tower(str(tmp_path)), image_size=size, source=str(tmp_path), normalisation="unit"
    )
    pixels = torch.rand(2, 3, size, size)
    expected = written(pixels).last_hidden_state
    torch.testing.assert_close(tower.model(pixels).last_hidden_state, expected)
    assert not any(parameter.requires_grad for parameter in tower.parameters())
    base = tower.base()
    assert base is not None
    assert base.model == tmp_path.name


def test_preset_is_built_from_local_folders(tmp_path: Path) -> None:
    clip(tmp_path / "clip")
    bert = write_bert(tmp_path / "bert")
    network = MedVLM.from_preset("paper", image_model=str(tmp_path / "clip"), text_model=bert, image_size=64)
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


WRITERS = {"vit": vit, "clip": clip, "sam": sam}


@pytest.mark.parametrize(("kind", "name"), [("vit", "half"), ("clip", "clip"), ("sam", "imagenet")])
def test_pixels_are_normalised_as_the_family_was_trained(kind: str, name: str, tmp_path: Path) -> None:
    WRITERS[kind](tmp_path)
    size = 64 if kind == "sam" else 32
    tower = VisionTower(load_tower(str(tmp_path)), image_size=size)
    assert tower.normalisation == name
    image = torch.rand(1, 1, size, size)
    expected = VisionTower(tower.model, image_size=size, normalisation="unit")(Normalise(name)(image))
    torch.testing.assert_close(tower(image).features, expected.features)


def test_medsam_is_known_by_its_bytes_or_told_and_never_by_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "medsam"
    sam(folder)
    model, source = load_tower(str(folder)), str(folder)
    with pytest.raises(InputError) as caught:
        VisionTower(model, image_size=64, source=source)
    assert str(caught.value) == (
        f"image_normalisation: found none for {source}, whose weights are not known and have the layout of "
        "both SAM and MedSAM; set it to imagenet for weights that go back to SAM, to unit for those that go "
        "back to MedSAM."
    )
    for name in ("unit", "imagenet"):
        assert VisionTower(model, image_size=64, source=source, normalisation=name).normalisation == name
    sha256 = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    medsam = KNOWN_BASES["wanglab/medsam-vit-base"]
    monkeypatch.setitem(KNOWN_BASES, "wanglab/medsam-vit-base", replace(medsam, sha256=sha256))  # type: ignore[misc]
    folder.rename(tmp_path / "sam")
    again = VisionTower(model, image_size=64, source=str(tmp_path / "sam"))
    assert again.normalisation == "unit"


def test_networks_say_how_pixels_are_normalised(tmp_path: Path) -> None:
    sam(tmp_path / "sam")
    bert = write_bert(tmp_path / "bert")
    options = {"text_model": bert, "image_size": 64, "max_tokens": 16, "width": 16}
    told = {"image_model": str(tmp_path / "sam"), "image_normalisation": "unit"}
    network = MedVLM.from_preset("paper_sam", **told, **options)
    assert network.normalisation == network.image_encoder.normalisation == "unit"
    assert MedVLM.from_preset("compact", **options).normalisation == "unit"
    with pytest.raises(
        InputError, match="image_normalisation: found 'clip' without an image_model, expected null"
    ):
        MedVLM.from_preset("compact", image_normalisation="clip", **options)
    assert LSMS(text_encoder=None, image_size=64).normalisation == "imagenet"


def test_a_checkpoints_advice_names_arguments_that_there_are(tmp_path: Path) -> None:
    """With the checkpoint's values for the overrides that the message names, it loads."""
    sam(tmp_path / "sam")
    options = {"text_model": write_bert(tmp_path / "bert"), "image_size": 64, "max_tokens": 16, "width": 16}

    def build(**changes: Any) -> MedVLM:
        return MedVLM.from_preset("paper_sam", image_model=str(tmp_path / "sam"), **options, **changes)

    then = {"image_normalisation": "unit", "heads": 2}
    save_trained(build(**then), tmp_path / "model.pt", half=False)
    with pytest.raises(InputError, match='trained with network_def#normalisation "unit"') as caught:
        load_trained(build(image_normalisation="imagenet", heads=4), tmp_path / "model.pt")
    named = re.search("override (.*) with the checkpoint's values", str(caught.value))
    assert named is not None
    arguments = [name.removeprefix("network_def#") for name in named.group(1).split(", ")]
    load_trained(build(**{name: then[name] for name in arguments}), tmp_path / "model.pt")


def test_a_checkpoint_holds_sams_adapters_and_not_sam(tmp_path: Path) -> None:
    sam(tmp_path / "sam")
    bert = write_bert(tmp_path / "bert")

    def build() -> MedVLM:
        return MedVLM.from_preset(
            "paper_sam",
            image_model=str(tmp_path / "sam"),
            image_normalisation="imagenet",
            text_model=bert,
            max_tokens=16,
            image_size=64,
            width=16,
        ).eval()

    torch.manual_seed(0)
    network, image = build(), torch.rand(1, 1, 64, 64)
    for name, parameter in network.named_parameters():
        if ".lora_B." in name:
            torch.nn.init.normal_(parameter, std=0.3)
    of_sam = {key for key in network.state_dict() if key.startswith("image_encoder.")}
    assert len(of_sam) == 2 * 2 * 2  # layers, queries and values, A and B
    assert all(".attn.qkv.lora_" in key for key in of_sam)
    save_trained(network, tmp_path / "model.pt", half=False)
    with torch.no_grad():
        expected = network(image, ["liver"])
        assert not torch.allclose(build()(image, ["liver"]), expected)
        torch.testing.assert_close(load_trained(build(), tmp_path / "model.pt")(image, ["liver"]), expected)


@pytest.mark.parametrize("kind", WRITERS)
def test_a_tower_that_is_trained_learns_in_all_of_its_weights(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    WRITERS[kind](tmp_path)
    size = 64 if kind == "sam" else 32
    frozen = VisionTower(load_tower(str(tmp_path)), image_size=size).train()
    assert frozen.frozen
    assert not any(module.training for module in frozen.modules())
    tower = VisionTower(load_tower(str(tmp_path)), image_size=size, trainable=True)
    assert not tower.frozen
    assert not tower.eval().model.training
    assert tower.train().model.training
    tower.project(tower(torch.rand(2, 1, size, size)).features).square().mean().backward()
    silent = {name for name, value in tower.named_parameters() if value.requires_grad and value.grad is None}
    assert not silent
    fixed = {name for name, value in tower.named_parameters() if not value.requires_grad}
    assert fixed == (
        {f"model.post_layernorm.{leaf}" for leaf in ("weight", "bias")} if kind == "clip" else set()
    )


def test_adapters_leave_a_tower_frozen(tmp_path: Path) -> None:
    vit(tmp_path)
    tower = VisionTower(load_tower(str(tmp_path)), image_size=32)
    add_query_value_lora(tower.model)
    assert any(parameter.requires_grad for parameter in tower.parameters())
    assert tower.frozen


def test_a_tower_that_is_trained_belongs_in_the_checkpoint(tmp_path: Path) -> None:
    vit(tmp_path)
    text = TextEncoder(write_bert(tmp_path / "bert"), max_tokens=16)
    for trainable in (False, True):
        tower = VisionTower(
            load_tower(str(tmp_path)), image_size=32, source=str(tmp_path), trainable=trainable
        )
        network = MedVLM(image_encoder=tower, text_encoder=text, image_size=32, adapter="none", width=16)
        assert set(network.frozen_bases()) == (
            {"text_encoder"} if trainable else {"text_encoder", "image_encoder"}
        )
        held = {key for key in network.state_dict() if key.startswith("image_encoder.")}
        assert held == ({f"image_encoder.{key}" for key in tower.state_dict()} if trainable else set())

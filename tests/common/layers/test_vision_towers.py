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
    CLIPVisionConfig,
    CLIPVisionModel,
    SamConfig,
    SamModel,
    SamVisionConfig,
    SamVisionModel,
    ViTConfig,
    ViTModel,
)

from common.errors import InputError
from common.layers.adapters import add_bottlenecks, add_query_value_lora
from common.layers.normalisation import Normalise
from common.layers.vision_towers import VisionTower, load_tower
from common.networks.lsms.network import LSMS
from common.networks.medvlm.network import MedVLM
from common.text.encoders import TextEncoder
from common.weights.checkpoints import load_trained, save_trained
from common.weights.known import KNOWN_BASES
from tests.tiny_models import SAM_TOWER

TINY: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
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


DEEP = {"num_hidden_layers": 4, "initializer_range": 0.2}


def vit_of_four(folder: Path) -> torch.nn.Module:
    model = ViTModel(ViTConfig(**TINY | DEEP, image_size=32, patch_size=16), add_pooling_layer=False)
    return _written(model, folder)


def clip_of_four(folder: Path) -> torch.nn.Module:
    model = CLIPVisionModel(CLIPVisionConfig(**TINY | DEEP, image_size=32, patch_size=16))
    return _written(model, folder)


def sam_of_four(folder: Path) -> torch.nn.Module:
    return _written(SamVisionModel(SamVisionConfig(**SAM_TOWER | DEEP, use_rel_pos=True)), folder)


def _written(model: Any, folder: Path) -> torch.nn.Module:
    model.eval().save_pretrained(folder)
    return model


FOUR_BLOCKS = {"vit": vit_of_four, "clip": clip_of_four, "sam": sam_of_four}


def as_map(states: torch.Tensor, kind: str) -> torch.Tensor:
    """What a block gives, without the class token, (B, C, h, w) of a square image."""
    if kind == "sam":
        return states.permute(0, 3, 1, 2)
    side = round((states.shape[1] - 1) ** 0.5)
    return states[:, 1:].transpose(1, 2).reshape(len(states), -1, side, side)


@pytest.mark.parametrize("kind", FOUR_BLOCKS)
def test_taps_are_transformers_own_hidden_states(kind: str, tmp_path: Path) -> None:
    """Their list starts with the embeddings, so its entry n is the output of block n."""
    torch.manual_seed(0)
    written = FOUR_BLOCKS[kind](tmp_path)
    options = {"image_size": 64, "source": str(tmp_path), "normalisation": "imagenet"}
    tower = VisionTower(load_tower(str(tmp_path)), taps=(4, 1, 3), **options)
    image = torch.rand(2, 3, 64, 64)
    interpolated: dict[str, Any] = {} if kind == "sam" else {"interpolate_pos_encoding": True}
    with torch.no_grad():
        found = tower(image)
        expected = written(Normalise("imagenet")(image), output_hidden_states=True, **interpolated)
    assert len(expected.hidden_states) == 5
    chosen = [expected.hidden_states[number] for number in (4, 1, 3)]
    assert len(found.taps) == 3
    for tap, states in zip(found.taps, chosen, strict=True):
        assert torch.equal(tap, as_map(states, kind))
    assert torch.equal(found.embedded, as_map(expected.hidden_states[0], kind))
    if kind == "sam":
        assert found.class_tokens == ()
        last = found.features.permute(0, 2, 3, 1)
        assert torch.equal(written.vision_encoder.neck(last), expected.last_hidden_state)
    else:
        assert torch.equal(found.features, as_map(expected.last_hidden_state, kind))
        for token, states in zip(found.class_tokens, chosen, strict=True):
            assert torch.equal(token, states[:, 0])


@pytest.mark.parametrize("kind", FOUR_BLOCKS)
def test_taps_change_nothing_else(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    FOUR_BLOCKS[kind](tmp_path)
    image = torch.rand(1, 1, 64, 64)
    towers = [VisionTower(load_tower(str(tmp_path)), image_size=64, taps=taps) for taps in ((), (2,))]
    plain, tapped = (tower(image) for tower in towers)
    assert plain.taps == plain.class_tokens == ()
    assert torch.equal(plain.features, tapped.features)
    assert torch.equal(plain.embedded, tapped.embedded)
    assert towers[0].state_dict().keys() == towers[1].state_dict().keys()


@pytest.mark.parametrize("taps", [(0,), (-1,), (5,), (2, 2), (1.5,), "12"])
def test_taps_at_no_block_are_refused(taps: Any, tmp_path: Path) -> None:
    vit_of_four(tmp_path)
    with pytest.raises(InputError) as caught:
        VisionTower(load_tower(str(tmp_path)), image_size=32, taps=taps)
    assert str(caught.value) == (
        f"taps: found {list(taps)}, expected different numbers of the image encoder's blocks, from 1 to 4; "
        "change them."
    )


@pytest.mark.parametrize("kind", FOUR_BLOCKS)
@pytest.mark.parametrize("add", ["lora", "bottleneck"])
def test_adapters_show_in_the_taps_behind_them_and_learn_from_them(
    kind: str, add: str, tmp_path: Path
) -> None:
    """An adapter in block 2 changes what blocks 2 and 3 give; a loss on block 3 reaches blocks 1 to 3."""
    torch.manual_seed(0)
    FOUR_BLOCKS[kind](tmp_path)
    tower = VisionTower(load_tower(str(tmp_path)), image_size=64, taps=(1, 2, 3))
    image = torch.rand(1, 1, 64, 64)
    before = tower(image).taps
    if add == "lora":
        add_query_value_lora(tower.model, rank=2)
    else:
        add_bottlenecks(tower.model, width=32, rank=2)
    for tap, former in zip(tower(image).taps, before, strict=True):
        torch.testing.assert_close(tap, former)  # they start as nothing
    adapters = {name: value for name, value in tower.named_parameters() if value.requires_grad}
    block_of = {name: int(re.search(r"layers\.(\d)\.", name).group(1)) + 1 for name in adapters}  # type: ignore[union-attr]
    with torch.no_grad():
        for name, value in adapters.items():
            if block_of[name] == 2:
                value.normal_(std=0.5)
    after = tower(image).taps
    same = [torch.allclose(tap, former, atol=1e-4) for tap, former in zip(after, before, strict=True)]
    assert same == [True, False, False]
    after[2].square().mean().backward()
    reached = {block_of[name] for name, value in adapters.items() if value.grad is not None}
    assert reached == {1, 2, 3}
    assert tower.frozen
    assert not any(module.training for module in tower.train().modules())


def test_a_trained_tower_with_bottlenecks_comes_back_from_its_checkpoint(tmp_path: Path) -> None:
    """A step of training in all weights, adapters included, is all there after loading."""
    clip_of_four(tmp_path)
    text = TextEncoder(write_bert(tmp_path / "bert"), max_tokens=16)

    def build() -> MedVLM:
        tower = VisionTower(
            load_tower(str(tmp_path)),
            image_size=32,
            source=str(tmp_path),
            normalisation="imagenet",
            trainable=True,
            taps=(2,),
        )
        return MedVLM(
            image_encoder=tower,
            text_encoder=text,
            image_size=32,
            adapter="image",
            tuning="bottleneck",
            width=16,
        )

    torch.manual_seed(0)
    network, image = build(), torch.rand(2, 1, 32, 32)
    first = network.image_encoder(image).taps[0].detach()
    optimiser = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1)
    encoded = network.image_encoder(image)
    (encoded.features.square().mean() + encoded.taps[0].square().mean()).backward()
    optimiser.step()
    network.eval()
    with torch.no_grad():
        trained = network.image_encoder(image)
    assert not torch.allclose(trained.taps[0], first)
    save_trained(network, tmp_path / "model.pt", half=False)
    loaded = load_trained(build().eval(), tmp_path / "model.pt")
    with torch.no_grad():
        found = loaded.image_encoder(image)
    assert torch.equal(found.taps[0], trained.taps[0])
    assert torch.equal(found.features, trained.features)
    names = {name for name, value in network.image_encoder.named_parameters() if value.requires_grad}
    assert any(".bottleneck." in name for name in names)
    assert "model.embeddings.patch_embedding.weight" in names

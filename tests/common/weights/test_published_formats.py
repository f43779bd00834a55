"""Weights under the names that their authors publish: every one that a network has is taken from the file.

The files are small, the names are those of the published ones (listed on their hub pages, and for SAM's own
format in the state dict of `segment_anything`). A network's tensors are matched with the file's by value.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn
from transformers import SamVisionConfig, SamVisionModel

from common.errors import InputError
from common.layers.vision_towers import VisionTower, load_tower
from common.text.encoders import TextEncoder
from common.weights.checkpoints import save_checkpoint
from common.weights.known import KNOWN_FILES
from common.weights.sam import load_sam, tower_config

W, LAYERS, INNER, WORDS, TOKENS = 16, 2, 24, 7, 12
HEADS, GRID, WINDOW, OUT = 2, 4, 2, 6
Shapes = dict[str, tuple[int, ...]]


def linear(name: str, out: int, into: int) -> Shapes:
    return {f"{name}.weight": (out, into), f"{name}.bias": (out,)}


def norm(name: str, width: int = W, leaves: tuple[str, str] = ("weight", "bias")) -> Shapes:
    return {f"{name}.{leaf}": (width,) for leaf in leaves}


def bert(prefix: str = "", leaves: tuple[str, str] = ("weight", "bias")) -> Shapes:
    shapes = {
        f"{prefix}embeddings.word_embeddings.weight": (WORDS, W),
        f"{prefix}embeddings.position_embeddings.weight": (TOKENS, W),
        f"{prefix}embeddings.token_type_embeddings.weight": (2, W),
        **norm(f"{prefix}embeddings.LayerNorm", leaves=leaves),
        **linear(f"{prefix}pooler.dense", W, W),
    }
    for index in range(LAYERS):
        layer = f"{prefix}encoder.layer.{index}"
        for part in ("self.query", "self.key", "self.value", "output.dense"):
            shapes |= linear(f"{layer}.attention.{part}", W, W)
        shapes |= norm(f"{layer}.attention.output.LayerNorm", leaves=leaves)
        shapes |= linear(f"{layer}.intermediate.dense", INNER, W) | linear(f"{layer}.output.dense", W, INNER)
        shapes |= norm(f"{layer}.output.LayerNorm", leaves=leaves)
    return shapes


def bert_heads(leaves: tuple[str, str]) -> Shapes:
    transform = "cls.predictions.transform"
    shapes = {"cls.predictions.bias": (WORDS,), **linear("cls.seq_relationship", 2, W)}
    return shapes | linear(f"{transform}.dense", W, W) | norm(f"{transform}.LayerNorm", leaves=leaves)


def vit() -> Shapes:
    shapes = {
        "embeddings.cls_token": (1, 1, W),
        "embeddings.position_embeddings": (1, GRID * GRID + 1, W),
        "embeddings.patch_embeddings.projection.weight": (W, 3, 16, 16),
        "embeddings.patch_embeddings.projection.bias": (W,),
        **norm("layernorm"),
        **linear("pooler.dense", W, W),
    }
    for index in range(LAYERS):
        layer = f"encoder.layer.{index}"
        for part in ("attention.query", "attention.key", "attention.value", "output.dense"):
            shapes |= linear(f"{layer}.attention.{part}", W, W)
        shapes |= linear(f"{layer}.intermediate.dense", INNER, W) | linear(f"{layer}.output.dense", W, INNER)
        shapes |= norm(f"{layer}.layernorm_before") | norm(f"{layer}.layernorm_after")
    return shapes


def clip_layers(tower: str) -> Shapes:
    shapes: Shapes = {}
    for index in range(LAYERS):
        layer = f"{tower}.encoder.layers.{index}"
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes |= linear(f"{layer}.self_attn.{part}", W, W)
        shapes |= norm(f"{layer}.layer_norm1") | norm(f"{layer}.layer_norm2")
        shapes |= linear(f"{layer}.mlp.fc1", INNER, W) | linear(f"{layer}.mlp.fc2", W, INNER)
    return shapes


def clip() -> Shapes:
    return {
        "logit_scale": (),
        "text_model.embeddings.token_embedding.weight": (WORDS, W),
        "text_model.embeddings.position_embedding.weight": (TOKENS, W),
        **norm("text_model.final_layer_norm"),
        **clip_layers("text_model"),
        "text_projection.weight": (8, W),
        "visual_projection.weight": (8, W),
        "vision_model.embeddings.class_embedding": (W,),
        "vision_model.embeddings.patch_embedding.weight": (W, 3, 16, 16),
        "vision_model.embeddings.position_embedding.weight": (GRID * GRID + 1, W),
        **norm("vision_model.pre_layrnorm"),
        **norm("vision_model.post_layernorm"),
        **clip_layers("vision_model"),
    }


def sam(*, original: bool) -> Shapes:
    """The image encoder in `segment_anything`'s names or in the hub's, and one tensor of the other parts."""
    names = {
        True: ("image_encoder", "proj", "blocks", "norm", ("0", "1", "2", "3")),
        False: ("vision_encoder", "projection", "layers", "layer_norm", _HUB_NECK),
    }
    top, patch, layers, layer_norm, neck = names[original]
    shapes = {
        f"{top}.pos_embed": (1, GRID, GRID, W),
        f"{top}.patch_embed.{patch}.weight": (W, 3, 16, 16),
        f"{top}.patch_embed.{patch}.bias": (W,),
        f"{top}.neck.{neck[0]}.weight": (OUT, W, 1, 1),
        f"{top}.neck.{neck[2]}.weight": (OUT, OUT, 3, 3),
        **norm(f"{top}.neck.{neck[1]}", OUT),
        **norm(f"{top}.neck.{neck[3]}", OUT),
        "mask_decoder.iou_token.weight": (1, OUT),
    }
    for index in range(LAYERS):
        layer, span = f"{top}.{layers}.{index}", GRID if index in GLOBAL else WINDOW
        shapes |= {f"{layer}.attn.rel_pos_{axis}": (2 * span - 1, W // HEADS) for axis in "hw"}
        shapes |= linear(f"{layer}.attn.qkv", 3 * W, W) | linear(f"{layer}.attn.proj", W, W)
        shapes |= norm(f"{layer}.{layer_norm}1") | norm(f"{layer}.{layer_norm}2")
        shapes |= linear(f"{layer}.mlp.lin1", INNER, W) | linear(f"{layer}.mlp.lin2", W, INNER)
    return shapes


_HUB_NECK = ("conv1", "layer_norm1", "conv2", "layer_norm2")
GLOBAL = (1,)
SIZES = {"hidden_size": W, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS}
MIDDLE = {"intermediate_size": INNER}
BERT = {"model_type": "bert", "vocab_size": WORDS, "max_position_embeddings": TOKENS, **SIZES, **MIDDLE}
VIT = {"model_type": "vit", "image_size": GRID * 16, "patch_size": 16, **SIZES, **MIDDLE}
CLIP_TEXT = {"vocab_size": WORDS, "max_position_embeddings": TOKENS, **SIZES, **MIDDLE}
CLIP = {
    "model_type": "clip",
    "projection_dim": 8,
    "text_config": CLIP_TEXT,
    "vision_config": {"image_size": GRID * 16, "patch_size": 16, **SIZES, **MIDDLE},
}
SAM_VISION = {
    "image_size": GRID * 16,
    "mlp_dim": INNER,
    "window_size": WINDOW,
    "output_channels": OUT,
    "global_attn_indexes": list(GLOBAL),
    **SIZES,
}
SAM = {"model_type": "sam", "vision_config": SAM_VISION}
GOOGLE = ("gamma", "beta")  # as BERT's authors named them

# How the parts of a name are called in one place or another.
ROLES = {
    "query": r"query|q_proj",
    "key": r"\bkey|k_proj",
    "value": r"value|v_proj",
    "weight": r"weight$|gamma$",
    "bias": r"bias$|beta$",
    "before": r"layernorm_before|(?<!neck\.layer_)norm1",
    "after": r"layernorm_after|(?<!neck\.layer_)norm2",
    "height": r"pos_h$",
    "width": r"pos_w$",
    "attention output": r"attention\.output\.(?!LayerNorm)|attention\.o_proj|out_proj|attn\.proj",
}


def random_tensors(shapes: Shapes) -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {name: torch.randn(shape) for name, shape in shapes.items()}


def write(folder: Path, config: dict, tensors: dict[str, Tensor], kind: str) -> None:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "liver", "left"]
    (folder / "vocab.txt").write_text("\n".join(words))
    if kind == "bin":
        torch.save(tensors, folder / "pytorch_model.bin")
    else:
        safetensors.torch.save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def pairs(network: nn.Module, tensors: dict[str, Tensor]) -> Iterator[tuple[str, str]]:
    """(name in the network, name in the file) of equal tensors; each has to be there exactly once."""
    for name, value in network.state_dict().items():
        same = [other for other, tensor in tensors.items() if torch.equal(tensor, value)]
        assert len(same) == 1, f"{name}: {same or 'not from the file'}"
        yield name, same[0]


def check(network: nn.Module, tensors: dict[str, Tensor], unused: str) -> None:
    """Nothing is random, nothing is left but what `unused` matches, and each part is where it belongs."""
    taken = dict(pairs(network, tensors))
    assert len(set(taken.values())) == len(taken)
    left = tensors.keys() - taken.values()
    assert all(re.match(unused, name) for name in left), sorted(left)
    assert not [name for name in taken.values() if re.match(unused, name)]
    for ours, theirs in taken.items():
        assert re.findall(r"\.(\d+)\.", ours)[:1] == re.findall(r"\.(\d+)\.", theirs)[:1] or "neck" in ours
        for role, pattern in ROLES.items():
            assert bool(re.search(pattern, ours)) == bool(re.search(pattern, theirs)), (role, ours, theirs)


def published_bert() -> Shapes:
    return bert("bert.", GOOGLE) | bert_heads(GOOGLE)


TEXT_FORMATS = {
    "google-bert/bert-base-uncased": (published_bert, "safetensors", r"bert\.pooler|cls\."),
    "dmis-lab/biobert-base-cased-v1.1": (lambda: bert("bert."), "bin", r"bert\.pooler"),
    "sentence-transformers/all-MiniLM-L6-v2": (bert, "safetensors", r"pooler"),
}
VISION_FORMATS = {
    "google/vit-base-patch16-224-in21k": (VIT, vit, "safetensors", r"pooler"),
    "openai/clip-vit-base-patch16": (CLIP, clip, "bin", r"text_|visual_projection|logit_scale"),
    "facebook/sam-vit-base": (SAM, lambda: sam(original=False), "safetensors", r"mask_decoder"),
    "wanglab/medsam-vit-base": (SAM, lambda: sam(original=False), "bin", r"mask_decoder"),
}


@pytest.mark.parametrize("name", TEXT_FORMATS)
def test_text_encoders(tmp_path: Path, name: str) -> None:
    shapes, kind, unused = TEXT_FORMATS[name]
    tensors = random_tensors(shapes())
    extra = {"embeddings.position_ids": torch.arange(TOKENS)[None]} if "MiniLM" in name else {}
    write(tmp_path / "model", BERT, tensors | extra, kind)
    check(TextEncoder(str(tmp_path / "model"), max_tokens=TOKENS).model, tensors, unused)


@pytest.mark.parametrize("name", VISION_FORMATS)
def test_vision_towers(tmp_path: Path, name: str) -> None:
    config, shapes, kind, unused = VISION_FORMATS[name]
    tensors = random_tensors(shapes())
    extra = {"vision_model.embeddings.position_ids": torch.arange(17)[None]} if config is CLIP else {}
    write(tmp_path / "model", config, tensors | extra, kind)
    check(load_tower(str(tmp_path / "model")), tensors, unused)


@pytest.mark.parametrize("name", [*TEXT_FORMATS, *VISION_FORMATS])
def test_a_file_without_one_tensor_is_refused(tmp_path: Path, name: str) -> None:
    config, shapes, kind, unused = VISION_FORMATS.get(name) or (BERT, *TEXT_FORMATS[name])
    tensors = random_tensors(shapes())
    lost = next(key for key in tensors if not re.match(unused, key) and ".1." in key)
    del tensors[lost]
    write(tmp_path / "model", config, tensors, kind)
    load = partial(TextEncoder, max_tokens=TOKENS) if name in TEXT_FORMATS else load_tower
    with pytest.raises(InputError, match=r"1 weights of \w+ are missing"):
        load(str(tmp_path / "model"))


def test_sams_own_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same numbers under the hub's names, read by transformers, give the same features."""
    tensors = random_tensors(sam(original=True))
    torch.save(tensors, tmp_path / "medsam_vit_b.pth")
    md5 = hashlib.md5((tmp_path / "medsam_vit_b.pth").read_bytes()).hexdigest()
    published = KNOWN_FILES["medsam_vit_b.pth"]
    monkeypatch.setitem(KNOWN_FILES, "medsam_vit_b.pth", replace(published, md5=md5))  # type: ignore[misc]
    tower = VisionTower(
        load_tower(str(tmp_path / "medsam_vit_b.pth")),
        image_size=GRID * 16,
        source=str(tmp_path / "medsam_vit_b.pth"),
    )
    check(tower.model, tensors, r"mask_decoder")
    hub = dict(zip(sam(original=False), tensors.values(), strict=True))
    peer = SamVisionModel(SamVisionConfig(**SAM_VISION)).eval()
    peer.load_state_dict({name: hub[name] for name in peer.state_dict()})
    image = torch.rand(2, 1, GRID * 16, GRID * 16)
    with torch.no_grad():
        expected = peer(image.expand(-1, 3, -1, -1)).last_hidden_state  # MedSAM takes [0, 1] as it is
        torch.testing.assert_close(tower.project(tower(image).features), expected)
    base = tower.base()
    assert base is not None
    assert base.model == "medsam_vit_b.pth"


def test_the_published_vit_b_is_recognised_by_its_shapes() -> None:
    """`sam_vit_b_01ec64.pth` has 177 tensors in its image encoder; nothing but shapes is needed here."""
    blocks = [f"blocks.{index}.attn.rel_pos_{axis}" for index in range(12) for axis in "hw"]
    spans = {name: 127 if int(name.split(".")[1]) in (2, 5, 8, 11) else 27 for name in blocks}
    with torch.device("meta"):
        encoder = {name: torch.empty(rows, 64) for name, rows in spans.items()}
        encoder |= {"pos_embed": torch.empty(1, 64, 64, 768), "neck.0.weight": torch.empty(256, 768, 1, 1)}
        encoder["patch_embed.proj.weight"] = torch.empty(768, 3, 16, 16)
        encoder["blocks.0.mlp.lin1.weight"] = torch.empty(3072, 768)
        ours, published = SamVisionModel(tower_config(encoder)), SamVisionModel(SamVisionConfig())
    shapes = {name: value.shape for name, value in ours.state_dict().items()}
    assert shapes == {name: value.shape for name, value in published.state_dict().items()}
    assert len(shapes) == 177
    for setting in ("image_size", "window_size", "num_attention_heads", "output_channels"):
        assert getattr(ours.config, setting) == getattr(published.config, setting)
    assert list(ours.config.global_attn_indexes) == list(published.config.global_attn_indexes)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            lambda t: t.pop("image_encoder.blocks.1.attn.rel_pos_w"),
            r"1 missing \(vision_encoder.layers.1.attn.rel",
        ),
        (
            lambda t: t.update({"image_encoder.extra": torch.zeros(1)}),
            r"1 without a place \(vision_encoder.extra\)",
        ),
        (
            lambda t: t.update({"image_encoder.blocks.1.mlp.lin1.bias": torch.zeros(3)}),
            r"1 of another shape \(vision_encoder.layers.1.mlp.lin1.bias\)",
        ),
        (
            lambda t: t.pop("image_encoder.pos_embed"),
            r"expected SAM's weights .*, found image_encoder.blocks",
        ),
        (lambda t: t.clear(), "found no tensors; give sam_vit_b_01ec64.pth or medsam_vit_b.pth"),
    ],
)
def test_sam_files_that_are_not_whole(tmp_path: Path, change, sentence: str) -> None:
    tensors = random_tensors(sam(original=True))
    change(tensors)
    torch.save(tensors, tmp_path / "sam.pth")
    with pytest.raises(InputError, match=sentence):
        load_sam(tmp_path / "sam.pth")


def test_a_checkpoint_of_another_kind_is_no_sam(tmp_path: Path) -> None:
    save_checkpoint(nn.Linear(2, 2), tmp_path / "other.pth", half=False)
    with pytest.raises(InputError, match=r"expected SAM's weights .*, found bias, weight; give"):
        load_tower(str(tmp_path / "other.pth"))

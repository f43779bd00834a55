"""Exported graphs compute what the network computes, with any batch and any number of word pieces."""

import json
import math
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from common.data.framing import RGB, Framing
from common.data.volumes import read_volume
from common.errors import InputError
from common.export import OPSET, ExportedSegmenter, export_graphs, fold_adapters
from common.inference import VolumeInferer
from common.layers.vision_towers import VisionTower, random_tower
from common.networks.base import TextSegmenter
from common.networks.guidance import Guidance
from common.networks.lsms.network import LSMS
from common.networks.medvlm.network import MedVLM
from common.networks.medvlm.pyramid import PyramidEncoder
from common.text.encoders import TextEncoder
from common.text.prompts import read_prompts_file

REPOSITORY = Path(__file__).parents[3]
BUNDLES = sorted(path.parents[1] for path in REPOSITORY.glob("bundles/*/models/model.pt"))
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
WORDS = ["liver", "spleen", "left", "right", "kidney", "the", "on", ","]
TEXT = {"model_type": "bert", "max_position_embeddings": 32, "vocabulary": WORDS, **SIZES}
ONNX = pytest.mark.skipif(
    not all(find_spec(name) for name in ("onnx", "onnxscript", "onnxruntime")),
    reason="ONNX IS NOT TESTED: pip install '.[export]'",
)
KINDS = [pytest.param("onnx", marks=[ONNX, pytest.mark.slow]), "torchscript"]  # 15 s a network for ONNX


def med_vlm(image_encoder: nn.Module, tuning: str, words_per_token: int = 1) -> MedVLM:
    return MedVLM(
        image_encoder=image_encoder,
        text_encoder=TextEncoder(None, config=TEXT, max_tokens=16),
        image_size=64,
        tuning=tuning,
        words_per_token=words_per_token,
        width=16,
        heads=2,
        mlp_width=32,
        mixers=2,
        decoder_channels=(8, 8),
    )


def build(name: str) -> TextSegmenter:
    torch.manual_seed(0)
    if name == "lsms":
        widths = {"widths": (8, 16, 24, 32), "depths": (1, 1, 1, 1), "ham_channels": 32, "align_channels": 32}
        network: TextSegmenter = LSMS(
            text_encoder=TextEncoder(None, config=TEXT, max_tokens=16), image_size=64, **widths
        )
    elif name == "medvlm, pyramid":
        network = med_vlm(PyramidEncoder(channels=(8, 16, 32), depths=(0, 1, 1)), "bypass", words_per_token=8)
    else:
        tower = random_tower("vit", image_size=32, patch_size=16, **SIZES)
        network = med_vlm(VisionTower(tower, image_size=64), name.removeprefix("medvlm, "))
    with torch.no_grad():  # adapters start as nothing and norms as one: neither would show
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return network.eval()


NETWORKS = ["medvlm, pyramid", "medvlm, bypass", "medvlm, lora", "lsms"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NETWORKS)
def test_graphs_equal_the_network(name: str, kind, tmp_path: Path) -> None:
    network = build(name)
    cases = [(1, ["liver"]), (3, ["the left kidney", "the spleen", "liver"]), (2, ["liver", "spleen"] * 2)]
    cases.append((1, ["the left kidney on the right, the spleen, the liver"]))
    images = [torch.rand(batch, 1, 64, 64) for batch, _ in cases]
    with torch.no_grad():
        expected = [network(image, prompts) for image, (_, prompts) in zip(images, cases, strict=True)]
    record = export_graphs(network, tmp_path, formats=[kind])
    exported = ExportedSegmenter(network, tmp_path, kind)
    with torch.no_grad():
        for image, (_, prompts), logits in zip(images, cases, expected, strict=True):
            torch.testing.assert_close(exported(image, prompts), logits, rtol=1e-3, atol=1e-4)
    assert json.loads((tmp_path / "export.json").read_text()) == record
    assert record["opset"] == (OPSET if kind == "onnx" else None)
    assert record["channels"] == ["grey"]
    settings = ("image_size", "framing", "threshold", "normalisation", "default_prompt")
    assert [getattr(exported, name) for name in settings] == [getattr(network, name) for name in settings]


class Reds(TextSegmenter):
    """A network that sees colours, and takes the brightest red for anything."""

    threshold = 0.9

    def __init__(self) -> None:
        super().__init__(image_size=16, default_prompt="liver", framing=Framing(channels=RGB, images=True))
        self.mix = nn.Conv2d(3, 4, 1)
        self.out = nn.Conv2d(4, 1, 1)
        self.words = nn.Embedding(128, 4)

    def encode_text(self, prompts):
        tokens = self.words(torch.tensor([[ord(prompt[0])] for prompt in prompts]))
        return Guidance(tokens, torch.ones(len(prompts), 1, dtype=torch.bool))

    def encode_image(self, image):
        return self.mix(image)

    def decode(self, image_features, guidance):
        repeats = guidance.tokens.shape[0] // image_features.shape[0]
        said = (guidance.tokens * guidance.mask[..., None]).sum(dim=1)[..., None, None]
        return self.out(image_features.repeat_interleave(repeats, dim=0) * said)


def test_a_network_of_colours_is_exported_with_its_channels(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network, image = Reds().eval(), torch.rand(2, 3, 16, 16)
    record = export_graphs(network, tmp_path, formats=["torchscript"], prompts=["liver"])
    assert record["image_encoder"]["inputs"] == {"image": ["B", 3, 16, 16]}
    assert record["channels"] == ["red", "green", "blue"]
    said = json.loads((tmp_path / "export.json").read_text())
    assert said == record
    assert said["threshold"] == 0.9
    assert said["logit_threshold"] == pytest.approx(math.log(9))  # 0.9 / 0.1
    assert Framing(**said["framing"]) == network.framing  # the window and the crop among them
    assert said["framing"]["window"] == [-160, 240]
    exported = ExportedSegmenter(network, tmp_path, "torchscript")
    assert (exported.threshold, exported.field_shape) == (0.9, (3, 16, 16))
    with torch.no_grad():
        asked = network(image, ["liver", "spleen"] * 2)
        torch.testing.assert_close(exported(image, ["liver", "spleen"] * 2), asked)


def test_torchscript_files_hold_the_weights_of_their_own_part(tmp_path: Path) -> None:
    """Neither the language model's nor the other part's; a graph alone takes less than 48 KiB here."""
    network = build("medvlm, bypass")
    export_graphs(network, tmp_path, formats=["torchscript"])
    own = {"image_encoder": [network.image_encoder, network.image_adapter, network.image_projection]}
    own["decoder"] = [network.mixers, network.decoder]
    for name, parts in own.items():
        weights = sum(4 * value.numel() for part in parts for value in part.parameters())
        assert weights < (tmp_path / f"{name}.ts").stat().st_size < weights + 48 * 1024, name


@ONNX
@pytest.mark.slow
def test_onnx_files_are_valid_and_say_what_is_free(tmp_path: Path) -> None:
    import onnx

    export_graphs(build("medvlm, lora"), tmp_path, formats=["onnx"])
    for name in ("image_encoder", "decoder"):
        model = onnx.load(tmp_path / f"{name}.onnx")
        onnx.checker.check_model(model, full_check=True)
        assert {entry.domain: entry.version for entry in model.opset_import}[""] == OPSET
        names = [tensor.name for tensor in model.graph.initializer]
        assert not [name for name in names if "lora" in name or "text_encoder" in name]
        shapes = {
            value.name: [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]
            for value in (*model.graph.input, *model.graph.output)
        }
        if name == "image_encoder":
            assert shapes["image"] == ["batch", 1, 64, 64]
            assert shapes["map_0"] == ["batch", 16, 4, 4]
        else:
            assert list(shapes) == ["map_0", "tokens", "mask", "logits"]  # not the patch embeddings
            assert shapes["tokens"] == ["batch", "words", 16]
            assert shapes["logits"] == ["batch", 1, 64, 64]


NUMPY_ALONE = """
import sys
import numpy as np, onnxruntime
folder = sys.argv[1]
encoder, decoder = (onnxruntime.InferenceSession(f"{folder}/{n}.onnx") for n in ("image_encoder", "decoder"))
image, words = np.load(f"{folder}/image.npy"), np.load(f"{folder}/prompts.npz", allow_pickle=False)
maps = encoder.run(None, {"image": image})
rows = len(words["tokens"])
given = {f"map_{i}": np.repeat(value, rows, axis=0) for i, value in enumerate(maps)}
(logits,) = decoder.run(None, {**given, "tokens": words["tokens"], "mask": words["mask"]})
np.save(f"{folder}/logits.npy", logits)
assert "torch" not in sys.modules and "common" not in sys.modules
"""


@ONNX
@pytest.mark.slow
def test_a_program_with_numpy_and_onnxruntime_alone_can_use_them(tmp_path: Path) -> None:
    network, prompts = build("medvlm, pyramid"), ["liver", "the left kidney"]
    image = torch.rand(1, 1, 64, 64)
    record = export_graphs(network, tmp_path, formats=["onnx"], prompts=prompts)
    assert record["prompts"] == prompts
    np.save(tmp_path / "image.npy", image.numpy())
    done = subprocess.run([sys.executable, "-c", NUMPY_ALONE, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with torch.no_grad():
        expected = network(image, prompts).numpy()
    np.testing.assert_allclose(np.load(tmp_path / "logits.npy"), expected, rtol=1e-3, atol=1e-4)


def test_folded_adapters_leave_plain_layers_that_compute_the_same() -> None:
    network = build("medvlm, lora")
    image, prompts = torch.rand(2, 1, 64, 64), ["liver", "the left kidney"]
    with torch.no_grad():
        before = network(image, prompts)
        count = fold_adapters(network)
        assert count == 2 * 2 * 2  # queries and values of two layers of two encoders
        assert not [name for name, _ in network.named_parameters() if "lora" in name]
        torch.testing.assert_close(network(image, prompts), before, rtol=1e-4, atol=1e-5)
    assert fold_adapters(network) == 0


class ByBatch(TextSegmenter):
    """A network that no graph with a free batch can stand for."""

    def encode_text(self, prompts):
        return Guidance(torch.zeros(len(prompts), 3, 4), torch.ones(len(prompts), 3, dtype=torch.bool))

    def encode_image(self, image):
        return image * len(image)

    def decode(self, image_features, guidance):
        return image_features + guidance.tokens.sum()


@ONNX
def test_a_graph_with_a_fixed_batch_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"image_encoder.onnx: the batch of image is not free"):
        export_graphs(ByBatch(image_size=8, default_prompt="liver"), tmp_path, formats=["onnx"])
    assert list(tmp_path.iterdir()) == []


def test_missing_packages_and_files_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = build("lsms")
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(
        InputError, match=r"onnx: the package onnxscript is missing, .* pip install '\.\[export\]'"
    ):
        export_graphs(network, tmp_path, formats=["onnx"])
    with pytest.raises(
        InputError, match=r"image_encoder.ts: there is no such file; run python -m tools.export"
    ):
        ExportedSegmenter(network, tmp_path, "torchscript")


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda path: path.name)
def test_a_shipped_network_segments_a_phantom_as_before(bundle: Path, kind, tmp_path: Path) -> None:
    """Asked for what the bundle's own prompts say, of a phantom that lacks none of the organs."""
    from tools.benchmark.export import load_network
    from tools.engine import prompt_kinds
    from tools.phantom.dataset import SIZES as SCANS
    from tools.phantom.dataset import absent_organs, write_case

    network = load_network(bundle)
    volume = read_volume(tmp_path / str(write_case(tmp_path, seed=5, case=3, size=SCANS["small"])["image"]))
    prompts = read_prompts_file(bundle / "docs" / "prompts.txt")
    inferer = VolumeInferer()
    before = inferer(volume, network, prompts).labels
    export_graphs(network, tmp_path, formats=[kind])
    after = inferer(volume, ExportedSegmenter(network, tmp_path, kind), prompts).labels
    assert not absent_organs(5, 3)
    least = 500 if "organ" in prompt_kinds(bundle) else 0  # voxels; lesions are small
    for value, prompt in enumerate(prompts, start=1):
        one, other = before == value, after == value
        assert one.sum() > least, prompt
        assert 2 * (one & other).sum() >= 0.999 * (one.sum() + other.sum()), prompt

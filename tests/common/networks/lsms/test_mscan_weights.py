"""SegNeXt's checkpoints: an encoder that loads one computes what MSCAN computes."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from common.errors import InputError
from common.networks.lsms.mscan_weights import load_mscan
from common.networks.lsms.network import LSMS

WIDTHS, DEPTHS, RATIOS = (8, 16, 24, 32), (1, 2, 2, 1), (2, 2, 1, 1)
State = dict[str, Tensor]


def network(**options: Any) -> LSMS:
    torch.manual_seed(1)
    settings: dict[str, Any] = {
        "image_size": 64,
        "widths": WIDTHS,
        "depths": DEPTHS,
        "ffn_ratios": RATIOS,
        "norm_order": "pre",
        "projected": True,
        "ham_channels": 32,
        "align_channels": 32,
    }
    return LSMS(text_encoder=None, **(settings | options)).eval()


def norm(name: str, width: int) -> State:
    return {
        f"{name}.weight": torch.rand(width) + 0.5,
        f"{name}.bias": torch.randn(width),
        f"{name}.running_mean": torch.randn(width),
        f"{name}.running_var": torch.rand(width) + 0.5,
        f"{name}.num_batches_tracked": torch.tensor(7),
    }


def conv(name: str, after: int, before: int, rows: int, columns: int) -> State:
    weight = torch.randn(after, before, rows, columns) * (before * rows * columns) ** -0.5
    return {f"{name}.weight": weight, f"{name}.bias": torch.randn(after) * 0.1}


def block(name: str, width: int, ratio: int) -> State:
    unit = f"{name}.attn.spatial_gating_unit"
    state = {f"{name}.layer_scale_{k}": torch.rand(width) for k in (1, 2)}
    state |= norm(f"{name}.norm1", width) | norm(f"{name}.norm2", width)
    state |= conv(f"{name}.attn.proj_1", width, width, 1, 1) | conv(f"{name}.attn.proj_2", width, width, 1, 1)
    state |= conv(f"{unit}.conv0", width, 1, 5, 5) | conv(f"{unit}.conv3", width, width, 1, 1)
    for n, length in enumerate((7, 11, 21)):
        state |= conv(f"{unit}.conv{n}_1", width, 1, 1, length)
        state |= conv(f"{unit}.conv{n}_2", width, 1, length, 1)
    inner = width * ratio
    state |= conv(f"{name}.mlp.fc1", inner, width, 1, 1) | conv(f"{name}.mlp.fc2", width, inner, 1, 1)
    return state | conv(f"{name}.mlp.dwconv.dwconv", inner, 1, 3, 3)


def mscan(depths: tuple[int, ...] = DEPTHS) -> State:
    """Random weights under SegNeXt's names, with the classifier that ImageNet needed."""
    torch.manual_seed(0)
    half = WIDTHS[0] // 2
    state = conv("patch_embed1.proj.0", half, 3, 3, 3) | norm("patch_embed1.proj.1", half)
    state |= conv("patch_embed1.proj.3", WIDTHS[0], half, 3, 3) | norm("patch_embed1.proj.4", WIDTHS[0])
    for i, (width, depth, ratio) in enumerate(zip(WIDTHS, depths, RATIOS, strict=True), start=1):
        if i > 1:
            state |= conv(f"patch_embed{i}.proj", width, WIDTHS[i - 2], 3, 3)
            state |= norm(f"patch_embed{i}.norm", width)
        for j in range(depth):
            state |= block(f"block{i}.{j}", width, ratio)
        state |= {f"norm{i}.weight": torch.rand(width), f"norm{i}.bias": torch.randn(width)}
    return state | {"head.weight": torch.randn(10, WIDTHS[-1]), "head.bias": torch.randn(10)}


class Mscan:
    """MSCAN of Guo et al. 2022 as functions of a checkpoint's names, in evaluation."""

    def __init__(self, state: State) -> None:
        self.state = state

    def conv(self, name: str, x: Tensor, *, stride: int = 1) -> Tensor:
        weight, bias = self.state[f"{name}.weight"], self.state[f"{name}.bias"]
        padding = (weight.shape[2] // 2, weight.shape[3] // 2)
        groups = len(weight) if weight.shape[1] == 1 else 1
        return F.conv2d(x, weight, bias, stride, padding, groups=groups)

    def norm(self, name: str, x: Tensor) -> Tensor:
        leaves = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(x, *(self.state[f"{name}.{leaf}"] for leaf in leaves))

    def attention(self, name: str, x: Tensor) -> Tensor:
        inner = F.gelu(self.conv(f"{name}.proj_1", x))
        unit = f"{name}.spatial_gating_unit"
        before = self.conv(f"{unit}.conv0", inner)
        strips = [self.conv(f"{unit}.conv{n}_2", self.conv(f"{unit}.conv{n}_1", before)) for n in range(3)]
        gate = self.conv(f"{unit}.conv3", before + sum(strips))
        return x + self.conv(f"{name}.proj_2", gate * inner)

    def block(self, name: str, x: Tensor) -> Tensor:
        first, second = (self.state[f"{name}.layer_scale_{k}"].view(-1, 1, 1) for k in (1, 2))
        x = x + first * self.attention(f"{name}.attn", self.norm(f"{name}.norm1", x))
        inner = self.conv(f"{name}.mlp.fc1", self.norm(f"{name}.norm2", x))
        inner = F.gelu(self.conv(f"{name}.mlp.dwconv.dwconv", inner))
        return x + second * self.conv(f"{name}.mlp.fc2", inner)

    def __call__(self, x: Tensor) -> list[Tensor]:
        maps = []
        for i, depth in enumerate(DEPTHS, start=1):
            if i == 1:
                x = F.gelu(self.norm("patch_embed1.proj.1", self.conv("patch_embed1.proj.0", x, stride=2)))
                x = self.norm("patch_embed1.proj.4", self.conv("patch_embed1.proj.3", x, stride=2))
            else:
                x = self.norm(f"patch_embed{i}.norm", self.conv(f"patch_embed{i}.proj", x, stride=2))
            for j in range(depth):
                x = self.block(f"block{i}.{j}", x)
            leaves = (self.state[f"norm{i}.weight"], self.state[f"norm{i}.bias"])
            x = F.layer_norm(x.movedim(1, -1), x.shape[1:2], *leaves).movedim(-1, 1)
            maps.append(x)
        return maps


def save(state: Any, folder: Path) -> Path:
    torch.save(state, folder / "mscan.pth")
    return folder / "mscan.pth"


@pytest.mark.parametrize("wrapped", ["plain", "state_dict", "backbone", "openmmlab"])
def test_loaded_encoder_computes_what_mscan_computes(tmp_path: Path, wrapped: str) -> None:
    state = mscan()
    content: Any = state
    if wrapped == "state_dict":
        content = {"meta": {"epoch": 300}, "state_dict": state}
    elif wrapped == "backbone":
        whole = {f"backbone.{name}": value for name, value in state.items() if not name.startswith("head.")}
        content = {"state_dict": whole | {"decode_head.conv_seg.weight": torch.zeros(1)}}
    elif wrapped == "openmmlab":  # since its pull request 2653
        content = {name.replace(".dwconv.dwconv.", ".dwconv."): value for name, value in state.items()}
        assert "block1.0.mlp.dwconv.weight" in content
    loaded = network()
    count = load_mscan(loaded, save(content, tmp_path))
    assert count == len([name for name in state if not name.endswith("_tracked") and "head." not in name])
    found: list[Tensor] = []
    for stage in loaded.stages:
        stage.register_forward_hook(lambda _module, _given, out: found.append(out))
    image = torch.rand(1, 1, 64, 64)
    loaded(image)
    for ours, theirs in zip(found, Mscan(state)(loaded.normalise(image)), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_every_weight_of_the_encoder_is_replaced(tmp_path: Path) -> None:
    loaded = network()
    before = {name: value.clone() for name, value in loaded.state_dict().items()}
    load_mscan(loaded, save(mscan(), tmp_path))
    after = loaded.state_dict()
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert {name.split(".")[0] for name in same if not name.endswith("_tracked")} == {"decoder"}


def test_post_norm_networks_take_the_visual_branch_of_their_first_blocks(tmp_path: Path) -> None:
    state = mscan(depths=(1, 2, 5, 1))
    loaded = network(norm_order="post", projected=False, ffn_ratios=(4, 4, 4, 4))
    before = {name: value.clone() for name, value in loaded.state_dict().items()}
    assert load_mscan(loaded, save(state, tmp_path)) == sum(DEPTHS) * 2 * 8
    changed = {name for name, value in loaded.state_dict().items() if not torch.equal(before[name], value)}
    parts = (".attention.pre.", ".attention.mix.", ".attention.units.")
    assert changed == {name for name in before if any(part in name for part in parts)}
    last = loaded.stages[2].blocks[1].attention
    assert torch.equal(last.mix.weight, state["block3.1.attn.spatial_gating_unit.conv3.weight"])
    assert torch.equal(last.units["11"][0].weight, state["block3.1.attn.spatial_gating_unit.conv1_1.weight"])
    assert torch.equal(last.units["21"][1].bias, state["block3.1.attn.spatial_gating_unit.conv2_2.bias"])


def test_networks_without_the_last_stage_load_the_others(tmp_path: Path) -> None:
    loaded, weights = network(decoder_stages=(1, 2, 3)), mscan()
    count = load_mscan(loaded, save(weights, tmp_path))
    left = ("head.", "patch_embed4.", "block4.", "norm4.")
    assert count == len(
        [name for name in weights if not name.endswith("_tracked") and not name.startswith(left)]
    )


def test_networks_with_other_convunits_load_the_rest(tmp_path: Path) -> None:
    loaded = network(kernels=(5, 11))
    weights = mscan()
    before = loaded.stages[0].blocks[0].attention.svla.units["5"][0].weight.clone()
    load_mscan(loaded, save(weights, tmp_path))
    units = loaded.stages[0].blocks[0].attention.svla.units
    assert torch.equal(units["5"][0].weight, before)
    assert torch.equal(units["11"][0].weight, weights["block1.0.attn.spatial_gating_unit.conv1_1.weight"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"widths": (8, 16, 32, 32)}, r"of another shape \(patch_embed3\.proj\.weight is \(24, 16, 3, 3\)"),
        ({"ffn_ratios": (4, 2, 1, 1)}, r"5 of another shape \(block1\.0\.mlp\.fc1\.weight"),
        ({"depths": (2, 2, 2, 1)}, r"36 missing \(block1\.1\."),
        ({"projected": False}, r"24 without a place \(block1\.0\.attn\.proj_1"),
    ],
)
def test_refuses_weights_that_do_not_fit_and_leaves_the_network_alone(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    unsuited = network(**options)
    before = {name: value.clone() for name, value in unsuited.state_dict().items()}
    with pytest.raises(InputError, match=f"these MSCAN weights do not fit the encoder: .*{message}"):
        load_mscan(unsuited, save(mscan(), tmp_path))
    assert all(torch.equal(value, before[name]) for name, value in unsuited.state_dict().items())


def test_refuses_other_files(tmp_path: Path) -> None:
    with pytest.raises(
        InputError,
        match=r"absent\.pth: there is no such file, expected SegNeXt's weights; give the path of .* or the "
        r"name of one that python -m tools\.weights get fetches \(mscan_t_20230227-119e8c9f\.pth, mscan_b_",
    ):
        load_mscan(network(), tmp_path / "absent.pth")
    (tmp_path / "cut.pth").write_bytes(save(mscan(), tmp_path).read_bytes()[:1000])
    with pytest.raises(InputError, match=r"cut\.pth: cannot be read as a torch file of weights \("):
        load_mscan(network(), tmp_path / "cut.pth")
    with pytest.raises(
        InputError, match=r"expected MSCAN's weights .*, found layer1\.weight; give SegNeXt's"
    ):
        load_mscan(network(), save({"layer1.weight": torch.zeros(3)}, tmp_path))
    with pytest.raises(InputError, match="found no tensors"):
        load_mscan(network(), save([1, 2], tmp_path))

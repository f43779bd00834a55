"""Volume inference from file to file, beside the naive loop and the bare network."""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.command_line import Parser

from ._output import report

if TYPE_CHECKING:
    import torch

    from common.networks.medvlm.network import MedVLM

    from ._clock import Timing

NETWORK_PARTS = ("text", "encode", "decode")


def main(arguments: list[str]) -> int:
    """Measure and print a table."""
    options = options_of(arguments)
    return report(measure(options), _table, options.out)


def options_of(arguments: list[str]) -> argparse.Namespace:
    """The command line's options."""
    parser = Parser(
        prog="python -m tools.benchmark inference",
        description="Segment a CT-like volume from NIfTI to NIfTI with 1 and 13 prompts: seconds by part and "
        "peak memory; beside one slice and one prompt at a time with the text encoded each time, and beside "
        "the network alone on random tensors. Weights are random: speed depends on sizes alone.",
    )
    parser.add_argument("--preset", choices=("compact", "paper"), default="compact", help="of Med-VLM")
    parser.add_argument("--slices", type=int, default=200, help="of the volume (default 200)")
    parser.add_argument(
        "--naive-slices", type=int, default=8, help="of the volume that the naive loop gets (default 8)"
    )
    parser.add_argument("--side", type=int, default=512, help="pixels of a slice's side (default 512)")
    parser.add_argument("--slice-batch", type=int, default=8, help="slices at once (default 8)")
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    parser.add_argument("--amp", action="store_true", help="mixed precision")
    parser.add_argument("--channels-last", action="store_true", help="memory format")
    parser.add_argument("--compile", action="store_true", help="torch.compile, warmed up beforehand")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each (default 3)")
    parser.add_argument("--out", type=Path, help="also write the numbers as JSON to this file")
    return parser.parse_args(arguments)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds, memory and operations of all ways."""
    import torch

    from ._clock import take_turns
    from ._networks import build
    from ._volumes import ORGANS, write_volume

    torch.manual_seed(0)
    network = build("MedVLM", options.preset).to(options.device).eval()
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        source = write_volume(Path(name) / "case.nii.gz", slices=options.slices, side=options.side)
        few = write_volume(Path(name) / "few.nii.gz", slices=options.naive_slices, side=options.side)
        calls: dict[str, Callable[[], Any]] = {}
        for texts in (ORGANS[:1], ORGANS):
            count = len(texts)
            calls[f"engine, {count} prompts"] = _engine(options, network, source, texts)
            calls[f"network alone, {count} prompts"] = _bare(options, network, texts)
            calls[f"naive loop, {count} prompts"] = _naive(options, network, few, texts)
        for texts in (ORGANS[:1], ORGANS):  # kernels are chosen and libraries loaded before a clock runs
            _engine(options, network, few, texts)()
        timings = take_turns(calls, options.rounds, note=_note, memory=False)
        for call, timing in take_turns(calls, 1, note=lambda text: _note(f"memory: {text}")).items():
            timings[call].peak_mb = timing.peak_mb  # of a round of its own, since measuring it takes time
    return {
        "preset": options.preset,
        "volume": [options.slices, options.side, options.side],
        "device": options.device,
        "naive_slices": options.naive_slices,
        **{name: getattr(options, name) for name in ("amp", "channels_last", "compile")},
        "threads": torch.get_num_threads(),
        "gpu_peak_mb": torch.cuda.max_memory_allocated() / 2**20 if options.device != "cpu" else None,
        "flops_ratio": _flops_ratio(network, ORGANS),
        "input_and_output_mb": options.slices * options.side**2 * 5 / 2**20,  # float32 in, uint8 out
        "runs": {name: _numbers(timing) for name, timing in timings.items()},
    }


def _note(text: str) -> None:
    print(text, file=sys.stderr)


def _engine(
    options: argparse.Namespace, network: "MedVLM", source: Path, texts: tuple[str, ...]
) -> Callable[[], dict[str, float]]:
    """From file to files; returns the seconds by part."""
    from common.inference import CaseRunner, VolumeInferer

    inferer = VolumeInferer(
        slice_batch=options.slice_batch,
        amp=options.amp,
        channels_last=options.channels_last,
        compiled=options.compile,
    )
    out = source.parent / f"out-{len(texts)}"
    runner = CaseRunner(source, out, network=network, inferer=inferer, prompts=texts, progress=False)

    def run() -> dict[str, float]:
        network.text_encoder.load_state_dict(network.text_encoder.state_dict())  # forget encoded texts
        (outcome,) = runner.run().outcomes
        return dict(json.loads(Path(outcome.report).read_text("utf-8"))["seconds"])

    return run


def _bare(options: argparse.Namespace, network: "MedVLM", texts: tuple[str, ...]) -> Callable[[], None]:
    """The same batches of random slices through the network, and nothing else."""
    import torch

    from common.inference.passes import working

    device = torch.device(options.device)

    def run() -> None:
        with working(network, device, amp=options.amp):
            text = network.encode_text(texts)
            for start in range(0, options.slices, options.slice_batch):
                batch = min(options.slice_batch, options.slices - start)
                features = network.encode_image(torch.rand(batch, *network.field_shape, device=device))
                for first in range(0, len(texts), 4):
                    group = range(first, min(first + 4, len(texts)))
                    network.decode(features, text.rows(group).repeat(batch))
            _wait(device)

    return run


def _naive(
    options: argparse.Namespace, network: "MedVLM", source: Path, texts: tuple[str, ...]
) -> Callable[[], None]:
    """What a short script does: read, then one slice and one prompt at a time with its text."""
    import numpy as np
    import torch

    from common.data.volumes import read_volume, write_labels
    from common.inference.passes import working

    device = torch.device(options.device)

    def run() -> None:
        volume = read_volume(source)
        frame = network.framing.frame(volume, network.image_size)
        labels = np.zeros(volume.slices.shape, np.uint8)
        with working(network, device, amp=options.amp):
            for number, text in enumerate(texts, start=1):
                for index in range(len(volume.slices)):
                    # a text of its own for every slice, since the encoder remembers those that it has seen
                    image = network.framing.field(volume, [index], frame, device=device)
                    logits = frame.from_field(network(image, [f"{text} {index}"]).float())
                    labels[index][(logits[0, 0] > 0).cpu().numpy()] = number
        write_labels(source.parent / "naive.nii.gz", labels, like=volume)

    return run


def _wait(device: "torch.device") -> None:
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _flops_ratio(network: "MedVLM", texts: tuple[str, ...]) -> float:
    """What all prompts cost, by operations, in units of one: (encode + P decode) / (encode + decode)."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    device = next(network.parameters()).device
    with torch.no_grad():
        text = network.encode_text(texts[:1])
        with FlopCounterMode(display=False) as encoding:
            features = network.encode_image(torch.rand(1, *network.field_shape, device=device))
        with FlopCounterMode(display=False) as decoding:
            network.decode(features, text)
    one, more = encoding.get_total_flops(), decoding.get_total_flops()
    return (one + len(texts) * more) / (one + more)


def _numbers(timing: "Timing") -> dict[str, Any]:
    return {
        "seconds": timing.seconds,
        "cpu_seconds": timing.cpu_seconds,
        "peak_mb": timing.peak_mb,
        "parts": timing.result,
    }


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def _table(results: dict[str, Any]) -> str:
    depth, side, _ = results["volume"]
    runs = results["runs"]
    switches = ", ".join(name for name in ("amp", "channels_last", "compile") if results[name]) or "none"
    lines = [
        f"Med-VLM {results['preset']}, {depth} slices of {side} x {side} (naive loop: "
        f"{results['naive_slices']}), {results['device']}, {results['threads']} threads, "
        f"switches: {switches}\n",
        "| | seconds | processor's seconds a slice | peak MB |",
        "|---|---|---|---|",
    ]
    a_slice = {}
    for name, run in runs.items():
        count = results["naive_slices"] if name.startswith("naive") else depth
        a_slice[name] = _median(run["cpu_seconds"]) / count
        peak = "not measured" if run["peak_mb"] is None else f"{run['peak_mb']:.0f}"
        lines.append(f"| {name} | {_median(run['seconds']):.2f} | {a_slice[name]:.3f} | {peak} |")
    lines += ["", "| part, seconds | 1 prompt | 13 prompts |", "|---|---|---|"]
    one, all_ = (runs[f"engine, {count} prompts"]["parts"] for count in (1, 13))
    lines += [f"| {part} | {one[part]:.3f} | {all_[part]:.3f} |" for part in all_]
    outside = [1 - sum(parts[part] for part in NETWORK_PARTS) / sum(parts.values()) for parts in (one, all_)]
    of_slice = a_slice if results["device"] == "cpu" else _wall(results)
    cost = [
        of_slice[f"{name}, 13 prompts"] / of_slice[f"{name}, 1 prompts"]
        for name in ("engine", "network alone")
    ]
    naive = [of_slice[f"naive loop, {n} prompts"] / of_slice[f"engine, {n} prompts"] for n in (1, 13)]
    lines += [
        "",
        f"13 prompts cost {cost[0]:.2f} times one; the network alone {cost[1]:.2f} times, by its FLOPs "
        f"{results['flops_ratio']:.2f} times.",
        f"The naive loop takes {naive[1]:.1f} times as long with 13 prompts, {naive[0]:.1f} with one.",
        f"Outside the network: {outside[0]:.0%} of the time with one prompt, {outside[1]:.0%} with 13.",
        f"Input and output hold {results['input_and_output_mb']:.0f} MB.",
    ]
    if results["gpu_peak_mb"] is not None:
        lines.append(f"Peak GPU memory: {results['gpu_peak_mb']:.0f} MB.")
    return "\n".join(lines)


def _wall(results: dict[str, Any]) -> dict[str, float]:
    """Seconds a slice by the clock on the wall: the processor waits for a GPU."""
    counts = {"naive": results["naive_slices"]}
    return {
        name: _median(run["seconds"]) / counts.get(name.split()[0], results["volume"][0])
        for name, run in results["runs"].items()
    }

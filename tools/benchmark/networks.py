"""Parameters, multiply-accumulates and speed of every preset, beside MONAI's networks."""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import InputError
from tools.command_line import Parser

from ._output import write_results

if TYPE_CHECKING:
    import torch

    from ._clock import Timing
    from ._counting import Cost

TEXT = "text encoder"
LANGUAGE = "language branches"


def main(arguments: list[str]) -> int:
    """Count, measure and print tables."""
    parser = Parser(
        prog="python -m tools.benchmark networks",
        description="Parameters and multiply-accumulates of every preset by part, with and without the "
        "language branch, at its own image size; then latency and throughput of all of them and of MONAI's "
        "UNet, AttentionUnet and SwinUNETR at one size, in turns; then where their time goes. Weights are "
        "random: what networks cost depends on sizes alone. Texts are encoded beforehand. On a CPU times are "
        "those of the processor (all threads), so that a busy machine does not count.",
    )
    parser.add_argument("--side", type=int, default=256, help="pixels, a multiple of 32 (default 256)")
    parser.add_argument("--batch", type=int, default=8, help="images at once for the throughput (default 8)")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each (default 5)")
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    parser.add_argument("--only", nargs="+", metavar="NAME", help='such as "LSMS compact" (default: all)')
    parser.add_argument("--counts", action="store_true", help="print the counts alone")
    parser.add_argument("--out", type=Path, help="also write the numbers as JSON to this file")
    options = parser.parse_args(arguments)
    names = choose_names(options.only)
    results: dict[str, Any] = {"counts": count(names)}
    print(count_tables(results["counts"]))
    if not options.counts:
        results |= measure(options, names)
        print(speed_tables(results))
    write_results(results, options.out)
    return 0


def choose_names(only: Sequence[str] | None) -> list[str]:
    """Names of all networks, MONAI's first, or those of them in `only`.

    Raises:
        InputError: an unknown name.
    """
    from ._networks import peers, systems

    own = [f"{name} {preset}" for name, system in systems().items() for preset in system.presets]
    names = [*peers(), *own]
    if unknown := set(only or ()) - set(names):
        raise InputError(f"--only: found {', '.join(sorted(unknown))}, expected some of {', '.join(names)}.")
    return [name for name in names if only is None or name in only]


def _presets(names: Sequence[str]) -> list[tuple[str, str]]:
    """(system, preset) of those names that are no peer's."""
    from ._networks import systems

    return [
        (name, preset)
        for name, system in systems().items()
        for preset in system.presets
        if f"{name} {preset}" in names
    ]


def count(names: Sequence[str]) -> dict[str, dict[str, "Cost"]]:
    """{"system preset, side": {part: cost}} of presets at their own sizes."""
    from ._counting import costs
    from ._networks import SENTENCE, build

    counts = {}
    for system, preset in _presets(names):
        _note(f"counting {system} {preset}")
        network = build(system, preset)
        counts[f"{system} {preset}, {network.image_size} pixels"] = costs(network, SENTENCE)
    return counts


def measure(options: argparse.Namespace, names: Sequence[str]) -> dict[str, Any]:
    """Speed of networks at `options.side`, in turns, and the kinds of operations of the presets."""
    import torch

    from ._clock import take_turns
    from ._counting import gmac, kinds
    from ._networks import PEER_CHANNELS, SENTENCE, build, peers

    device = torch.device(options.device)
    counts, side = (1, options.batch), options.side
    calls: dict[str, Callable[[], Any]] = {}
    macs, inside = {}, {}
    for name, network in peers().items():
        if name not in names:
            continue
        network.to(device).eval()
        images = {n: torch.rand(n, PEER_CHANNELS, side, side, device=device) for n in counts}
        macs[name] = gmac(partial(network, images[1]))
        calls |= {f"{name}|{n}": _call(network, (image,), device) for n, image in images.items()}
    for system, preset in _presets(names):
        name = f"{system} {preset}"
        segmenter = build(system, preset, side=side).to(device).eval()
        images = {n: torch.rand(n, *segmenter.field_shape, device=device) for n in counts}
        with torch.no_grad():
            texts = {n: segmenter.encode_text([SENTENCE] * n) for n in images}
        macs[name] = gmac(partial(segmenter, images[1], texts[1]))
        for n, image in images.items():
            calls[f"{name}|{n}"] = _call(segmenter, (image, texts[n]), device)
        inside[name] = (segmenter, images[1], texts[1])
    timings = take_turns(calls, options.rounds, note=_note, memory=False)
    return {
        "side": options.side,
        "batch": options.batch,
        "device": options.device,
        "threads": torch.get_num_threads(),
        "speed": {
            name: {
                "gmac": macs[name],
                "latency_s": _seconds(timings[f"{name}|1"], device),
                "images_per_s": options.batch / _seconds(timings[f"{name}|{options.batch}"], device),
            }
            for name in macs
        },
        "kinds": {name: kinds(*what, rounds=options.rounds) for name, what in inside.items()},
    }


def _seconds(timing: "Timing", device: "torch.device") -> float:
    """The shortest run, by the processor's time on a CPU, so that a busy machine does not count."""
    return timing.best_s if device.type == "cuda" else min(timing.cpu_seconds)


def _call(network: Any, inputs: tuple[Any, ...], device: "torch.device") -> Callable[[], None]:
    import torch

    def run() -> None:
        with torch.no_grad():
            network(*inputs)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return run


def count_tables(counts: Mapping[str, Mapping[str, Any]]) -> str:
    """A Markdown table a preset, and sums with and without language."""
    lines = []
    for name, parts in counts.items():
        lines += [f"\n{name}\n", "| part | M parameters | GMAC |", "|---|---|---|"]
        lines += [_row(part, *parts[part]) for part in parts if part != TEXT]
        lines.append(_row("**sum**", *_sum(parts, without=(TEXT,))))
        if LANGUAGE in parts:
            lines.append(_row("**sum without language**", *_sum(parts, without=(TEXT, LANGUAGE))))
        lines.append(_row("text encoder without its word list, once a sentence", *parts[TEXT]))
    return "\n".join(lines)


def speed_tables(results: Mapping[str, Any]) -> str:
    """Speed of all networks, and the kinds of operations of the presets."""
    batch = results["batch"]
    lines = [
        f"\nInput {results['side']} x {results['side']}, {results['device']}, {results['threads']} threads\n",
        f"| network | GMAC | one image, ms | images/s, {batch} at once | GMAC/s, {batch} at once |",
        "|---|---|---|---|---|",
    ]
    for name, row in results["speed"].items():
        speed = row["images_per_s"]
        lines.append(
            f"| {name} | {row['gmac']:.2f} | {1000 * row['latency_s']:.0f} | {speed:.1f} | "
            f"{row['gmac'] * speed:.0f} |"
        )
    for name, of_kind in results["kinds"].items():
        total = sum(seconds for seconds, _ in of_kind.values())
        lines += [
            f"\n{name}, one image\n",
            "| operations | share of MACs | share of time | GMAC/s |",
            "|---|---|---|---|",
        ]
        macs = sum(gmac for _, gmac in of_kind.values())
        for kind, (seconds, gmac) in sorted(of_kind.items(), key=lambda item: -item[1][0]):
            speed = f"{gmac / seconds:.1f}" if gmac else "-"
            lines.append(f"| {kind} | {gmac / macs:.0%} | {seconds / total:.0%} | {speed} |")
    return "\n".join(lines)


def _sum(parts: Mapping[str, Any], *, without: tuple[str, ...]) -> tuple[float, float]:
    kept = [cost for part, cost in parts.items() if part not in without]
    return sum(cost[0] for cost in kept), sum(cost[1] for cost in kept)


def _row(part: str, millions: float, gmac: float) -> str:
    return f"| {part} | {millions:.2f} | {gmac:.2f} |"


def _note(text: str) -> None:
    print(text, file=sys.stderr)

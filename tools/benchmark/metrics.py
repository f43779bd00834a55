"""Surface metrics beside the libraries that compute them too, on the same masks in one run."""

import statistics
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.command_line import Parser

from ._output import write_results

if TYPE_CHECKING:
    from ._clock import Timing
    from ._volumes import Scene

SURFEL, VOXEL = "this project, surfel", "this project, voxel"
# Each library beside the boundary model that it shares, or comes nearest to.
COUNTERPARTS = {
    "MONAI": VOXEL,
    "surface-distance (DeepMind)": SURFEL,
    "medpy (no NSD)": VOXEL,
    "SimpleITK (recipe)": VOXEL,
}


def main(arguments: list[str]) -> int:
    """Measure and print a table for each scene."""
    parser = Parser(
        prog="python -m tools.benchmark metrics",
        description="HD95, mean surface distance and NSD at 2 mm: seconds, speed ratios and peak memory of "
        "this project, MONAI, surface-distance, medpy and SimpleITK. Calls take turns; what runs longer than "
        "10 s runs once. Takes a few minutes and 8 GB of memory.",
    )
    parser.add_argument("--rounds", type=int, default=5, help="runs of each call (default 5)")
    parser.add_argument("--out", type=Path, help="also write the numbers as JSON to this file")
    options = parser.parse_args(arguments)

    from ._clock import take_turns
    from ._volumes import scenes

    results: dict[str, Any] = {}
    for scene in scenes():
        calls = _calls(scene)
        if not results:
            _warm_up()
        timings = take_turns(calls, options.rounds, note=lambda text: print(text, file=sys.stderr))
        print(_table(scene, timings), flush=True)
        results[scene.name] = {
            name: {"seconds": timing.seconds, "peak_mb": timing.peak_mb, "hd95_mm": timing.result}
            for name, timing in timings.items()
        }
    write_results(results, options.out)
    return 0


def _calls(scene: "Scene") -> dict[str, Callable[[], float]]:
    from . import _peers

    calls = {
        SURFEL: _peers.ours(scene, "surfel"),
        VOXEL: _peers.ours(scene, "voxel"),
        "MONAI": _peers.monai(scene),
        "surface-distance (DeepMind)": _peers.surface_distance(scene),
    }
    if scene.labels == 1:  # the others take minutes for 13 organs
        calls["SimpleITK (recipe)"] = _peers.simpleitk(scene)
        calls["medpy (no NSD)"] = _peers.medpy(scene)
    return calls


def _warm_up() -> None:
    """Import everything and compile the kernels before a clock runs."""
    import numpy as np

    from ._volumes import Scene

    for shape, spacing in (((8, 9, 10), (1.0, 1.0, 1.0)), ((9, 10), (1.0, 1.0))):
        labels = np.random.default_rng(0).integers(0, 2, shape).astype(np.uint8)
        for call in _calls(Scene("", labels, labels[..., ::-1].copy(), 1, spacing)).values():
            call()


def _table(scene: "Scene", timings: Mapping[str, "Timing"]) -> str:
    lines = [
        f"\n### {scene.name}\n",
        "| Library | seconds, best (median) | times slower | peak MB | HD95 of label 1, mm |",
        "|---|---|---|---|---|",
    ]
    for name, timing in timings.items():
        ours = COUNTERPARTS.get(name)
        ratio = f"{timing.best_s / timings[ours].best_s:.1f}" if ours else "1"
        lines.append(
            f"| {name} | {_seconds(timing)} | {ratio} | {_number(timing.peak_mb)} | {timing.result:.4f} |"
        )
    return "\n".join(lines)


def _seconds(timing: "Timing") -> str:
    return f"{timing.best_s:.4f} ({statistics.median(timing.seconds):.4f})"


def _number(value: Any) -> str:
    return "not measured" if value is None else f"{value:.0f}"

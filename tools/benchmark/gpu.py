"""All that is measured on a GPU, in one command of a few minutes."""

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from common.errors import InputError
from tools.command_line import Parser

from ._output import write_results

FORMER_IMAGES_PER_S = 185  # of compact's training, whose samples were augmented one by one
BATCH = {"compact": 64}  # images a step; other presets take 8
SECONDS = 6.0  # of each measurement of a step
OVERFIT = {"images": 8, "steps": 150, "learning_rate": 5e-4}
TESTS_FOLDER = Path(__file__).parents[2] / "tests" / "common"


def main(arguments: list[str]) -> int:
    """Measure all parts that there is time for, print and write them."""
    parser = Parser(
        prog="python -m tools.benchmark gpu",
        description="On a machine with a GPU: run the tests that need one; measure training steps of every "
        "preset in bfloat16 with model FLOP utilisation, and a volume from file to file with 1 and 13 "
        "prompts and its peak memory; let every preset of the papers learn 8 images by heart. Weights are "
        "random.",
    )
    add = parser.add_argument
    add("--out", type=Path, required=True, metavar="JSON", help="where the numbers go")
    add("--minutes", type=float, default=8.0, help="in all; what is left over is said (default 8)")
    add("--device", default="cuda", help="cuda (default), or cpu to try the command")
    add("--presets", nargs="+", metavar="NETWORK:PRESET", help="default: all, such as MedVLM:compact")
    add("--slices", type=int, default=280, help="of the volume (default 280)")
    add("--side", type=int, default=512, help="pixels of its slices' side (default 512)")
    options = parser.parse_args(arguments)
    begin = time.monotonic()
    _check(options.device)
    results = _about(options.device)
    parts = list(_parts(options))
    for number, (name, part) in enumerate(parts):
        left = options.minutes * 60 - (time.monotonic() - begin)
        if left <= 0:
            results["not_run"] = [left_out for left_out, _ in parts[number:]]
            write_results(results, options.out)
            break
        print(f"{name} ({left:.0f} s left)", file=sys.stderr, flush=True)
        results["parts"][name] = part()
        write_results(results, options.out)  # after each: a machine may be taken away
    print(json.dumps(results, indent=2))
    return 1 if results["not_run"] or any("error" in part for part in results["parts"].values()) else 0


def _check(device: str) -> None:
    import torch

    if device.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(
            f"--device: found no GPU that torch {torch.__version__} can use, expected one for {device}; run "
            "this on a machine with CUDA, or try the command with --device cpu."
        )


def _about(device: str) -> dict[str, Any]:
    import torch

    name = torch.cuda.get_device_name() if device.startswith("cuda") else platform.machine()
    return {
        "command": f"python -m tools.benchmark gpu {' '.join(sys.argv[2:])}".strip(),
        "date": date.today().isoformat(),
        "machine": name,
        "versions": {"python": platform.python_version(), "torch": str(torch.__version__)},
        "former_images_per_s": FORMER_IMAGES_PER_S,
        "parts": {},
        "not_run": [],
    }


def _parts(options: argparse.Namespace) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Name and call of each part."""
    from ._networks import systems

    every = [f"{system}:{preset}" for system, found in systems().items() for preset in found.presets]
    chosen = options.presets or every
    if unknown := [name for name in chosen if name not in every]:
        raise InputError(f"--presets: found {unknown[0]}, expected some of {', '.join(every)}.")
    chosen = sorted(chosen, key=lambda name: not name.endswith(":compact"))
    yield "tests", partial(_said, _tests, options.minutes * 60)
    for name in chosen:
        yield f"training {name}", partial(_said, _training, name, options.device)
    if "MedVLM:compact" in chosen:
        yield "volume", partial(_said, _volume, options)
    for name in chosen:
        if not name.endswith(":compact") or options.device == "cpu":
            yield f"overfit {name}", partial(_said, _overfit, name, options.device)


def _said(call: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """What a part gives, or what it failed with, such as a lack of memory: the others go on."""
    import torch

    try:
        return call(*arguments)
    except (RuntimeError, InputError) as error:
        return {"error": f"{type(error).__name__}: {error}"}
    finally:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()


def _tests(timeout_s: float) -> dict[str, Any]:
    """Passed, failed and skipped tests of those whose names say that they need a GPU."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-k", "gpu or cuda", f"--junitxml={report}"]
        try:
            subprocess.run([*command, str(TESTS_FOLDER)], timeout=timeout_s, capture_output=True, check=False)
            counts = next(ElementTree.parse(report).iter("testsuite")).attrib  # our own file
        except (subprocess.TimeoutExpired, OSError, StopIteration) as error:
            return {"error": f"the tests gave no report: {error}"}
    found = {name: int(counts[name]) for name in ("tests", "failures", "errors", "skipped")}
    return {"passed": found["tests"] - found["failures"] - found["errors"] - found["skipped"], **found}


def _training(name: str, device: str) -> dict[str, Any]:
    """Images a second in bfloat16, eager and compiled, operations, utilisation and memory."""
    import torch

    from ._networks import build
    from ._steps import Steps
    from .training import PEAK_TFLOPS

    system, preset = name.split(":")
    size = BATCH.get(preset, 8) if device != "cpu" else 2
    network = build(system, preset).to(device)
    eager = Steps(network, batch_size=size, amp=True)
    speed, tflop = eager.images_per_s(SECONDS if device != "cpu" else 0.1), eager.tflop()
    found: dict[str, Any] = {
        "image_size": network.image_size,
        "batch_size": size,
        "images_per_s": speed,
        "tflop_a_step": tflop,
        "tflops": tflop * speed / size,
    }
    if device != "cpu":
        compiled = Steps(network, batch_size=size, amp=True, compiled=True).images_per_s(SECONDS)
        found["images_per_s_compiled"] = compiled
        found["peak_gpu_mb"] = torch.cuda.max_memory_allocated() / 2**20
        found["machine_tflops"] = next(
            (peak for model, peak in PEAK_TFLOPS.items() if model in torch.cuda.get_device_name()), None
        )
        if found["machine_tflops"]:
            best = max(speed, compiled)
            found["utilisation"] = tflop * best / size / found["machine_tflops"]
    return found


def _volume(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds from file to file of a CT-like volume with 1 and 13 prompts, and peak memory."""
    from .inference import measure, options_of

    size = ["--slices", str(options.slices), "--side", str(options.side), "--naive-slices", "2"]
    how = ["--device", options.device, "--rounds", "1", "--slice-batch", "32", "--amp"]
    results = measure(options_of([*size, *how]))
    engine = {name: run for name, run in results["runs"].items() if name.startswith("engine")}
    return {
        "volume": results["volume"],
        "seconds": {name: run["seconds"][0] for name, run in engine.items()},
        "peak_gpu_mb": results["gpu_peak_mb"],
    }


def _overfit(name: str, device: str) -> dict[str, Any]:
    """Loss and Dice of 8 images before and after they were learnt by heart."""
    from ._networks import build
    from ._steps import Steps

    system, preset = name.split(":")
    network = build(system, preset).to(device)
    count = int(OVERFIT["images"]) if device != "cpu" else 2
    steps = Steps(network, batch_size=count, amp=True, learning_rate=OVERFIT["learning_rate"])
    first = float(steps())
    number = int(OVERFIT["steps"]) if device != "cpu" else 30
    losses = [steps() for _ in range(number)]
    return {"images": count, "steps": number, "loss": [first, float(losses[-1])], "dice": steps.dice()}

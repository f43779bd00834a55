"""Time and peak memory of calls, taken in turns so that other load on the machine meets all of them."""

import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SLOW_S = 10.0  # what takes longer runs once


@dataclass
class Timing:
    """Seconds of each run, the most memory that a run added in MB (None: not Linux), the last result."""

    seconds: list[float] = field(default_factory=list)
    peak_mb: float | None = None
    result: Any = None

    @property
    def median_s(self) -> float:
        return statistics.median(self.seconds)


def take_turns(
    calls: Mapping[str, Callable[[], Any]], rounds: int, note: Callable[[str], None]
) -> dict[str, Timing]:
    """Run every call once a round, in order; `note` is told what runs."""
    timings = {name: Timing() for name in calls}
    for turn in range(rounds):
        for name, call in calls.items():
            timing = timings[name]
            if timing.seconds and timing.seconds[0] > SLOW_S:
                continue
            note(f"{name}, round {turn + 1} of {rounds}")
            before = _restart_peak()
            start = time.perf_counter()
            timing.result = call()
            timing.seconds.append(time.perf_counter() - start)
            if before is not None:
                timing.peak_mb = max(timing.peak_mb or 0.0, _status_mb("VmHWM") - before)
    return timings


def _restart_peak() -> float | None:
    """Make the kernel forget the peak of this process's memory; what it holds now, in MB."""
    if not sys.platform.startswith("linux"):
        return None
    Path("/proc/self/clear_refs").write_text("5")
    return _status_mb("VmRSS")


def _status_mb(key: str) -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) / 1024

"""Time and peak memory of calls, taken in turns so that other load on the machine meets all of them."""

import ctypes
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SLOW_S = 10.0  # what takes longer runs once


@dataclass
class Timing:
    """Of each run the seconds and the processor's seconds (all threads, whatever else the machine does).

    And the most memory that a run added in MB (None: not measured), and the last result.
    """

    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    peak_mb: float | None = None
    result: Any = None

    @property
    def best_s(self) -> float:
        """The shortest run: other load on the machine only ever adds."""
        return min(self.seconds)


def take_turns(
    calls: Mapping[str, Callable[[], Any]], rounds: int, note: Callable[[str], None], *, memory: bool = True
) -> dict[str, Timing]:
    """Run every call once a round, in order; a call that takes more than SLOW_S runs once.

    Memory is measured on Linux with glibc, unless `memory` is False: each large block then comes fresh from
    the system, which makes networks twice as slow. `note` is told what runs.
    """
    timings = {name: Timing() for name in calls}
    measures_memory = memory and _give_memory_back()
    for turn in range(1, rounds + 1):
        for name, call in calls.items():
            timing = timings[name]
            if timing.seconds and timing.seconds[0] > SLOW_S:
                continue
            note(f"{name}, round {turn} of {rounds}")
            before = _restart_peak() if measures_memory else 0.0
            start, cpu_start = time.perf_counter(), time.process_time()
            timing.result = call()
            timing.seconds.append(time.perf_counter() - start)
            timing.cpu_seconds.append(time.process_time() - cpu_start)
            if measures_memory:
                timing.peak_mb = max(timing.peak_mb or 0.0, _status_mb("VmHWM") - before)
    return timings


def _give_memory_back() -> bool:
    """Have blocks of 128 KB and more go back to the system once freed; True where that can be had.

    Otherwise the C library keeps some of a call's blocks, which would hide what the next call takes.
    """
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None)
    m_mmap_threshold = -3  # <malloc.h>
    return hasattr(libc, "mallopt") and libc.mallopt(m_mmap_threshold, 128 * 2**10) == 1


def _restart_peak() -> float:
    """Give back what is free, make the system forget the peak of this process; what it holds now, in MB."""
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return _status_mb("VmRSS")


def _status_mb(key: str) -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) / 1024

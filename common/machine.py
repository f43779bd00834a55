"""What this machine can do: which devices torch can use, and how much memory a volume may take."""

import math
import os
from collections.abc import Sequence
from pathlib import Path

import torch

from .errors import InputError, reason_of

_BYTES_A_VOXEL = 5  # float32, and a label: the least that a volume takes
_GIB = 1024**3


def free_bytes() -> int | None:
    """Bytes of memory and swap that programs can still have here; None where Linux does not say."""
    try:
        lines = Path("/proc/meminfo").read_text("utf-8").splitlines()
    except OSError:
        return None
    kilobytes = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
    free = 1024 * (kilobytes["MemAvailable"] + kilobytes["SwapFree"])
    try:  # of a container
        return min(free, int(Path("/sys/fs/cgroup/memory.max").read_text("utf-8")))
    except (OSError, ValueError):
        return free


def check_memory(path: str | os.PathLike[str], shape: Sequence[int]) -> None:
    """Refuse a volume of so many voxels that memory cannot suffice.

    Raises:
        InputError: with both numbers.
    """
    needed, free = math.prod(shape) * _BYTES_A_VOXEL, free_bytes()
    if free is not None and needed > free:
        raise InputError(
            f"{path}: found {' x '.join(map(str, shape))} voxels, which take {needed / _GIB:.1f} GiB, "
            f"expected no more than the {free / _GIB:.1f} GiB of free memory; crop or resample it, or use a "
            "larger machine."
        )


def check_device(name: str | None) -> None:
    """Refuse a device that torch cannot use here; None = the config's own choice.

    Raises:
        InputError: names it and torch's reason.
    """
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"device: found {name!r}, which cannot be used here ({reason_of(error)}), expected cpu or a "
            "device of this machine; choose another or leave it out."
        ) from error

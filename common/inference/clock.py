"""Where the time goes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Clock:
    """Adds up the seconds that named parts of a job take.

    `with clock("decode"): ...` adds to `clock.seconds["decode"]`. On a GPU it waits until the part's
    work is done, since CUDA calls return before that.
    """

    def __init__(self, device: torch.device | None = None) -> None:
        self.seconds: dict[str, float] = {}
        self._cuda = device if device is not None and device.type == "cuda" else None

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            if self._cuda is not None:
                torch.cuda.synchronize(self._cuda)
            self.seconds[part] = self.seconds.get(part, 0.0) + time.perf_counter() - start

"""Keep pydicom's and highdicom's messages off the screen: they quote header values, such as names."""

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_heard = threading.local()  # .count while this thread listens


class _Silent(logging.Handler):
    """Counts the messages of the listening thread and prints none."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING and hasattr(_heard, "count"):
            _heard.count += 1


_SILENT = _Silent()


def hush_pydicom() -> None:
    """Keep lines of pydicom and highdicom from standard error and logs, from now on and in all threads.

    Values are converted when they are first used, long after a file was read, so that no block of code holds
    all remarks. Everything that is needed of a header is checked by name, and said without its value.
    """
    for name in ("pydicom", "highdicom"):
        logger = logging.getLogger(name)
        logger.addHandler(_SILENT)  # a handler that is there is not added again
        logger.propagate = False  # for the loggers below it too
        warnings.filterwarnings("ignore", module=rf"{name}(\.|$)")  # nor is an equal filter


@contextmanager
def counted_remarks() -> Iterator[list[int]]:
    """Hush pydicom; the yielded list gets the number of remarks in this block, in this thread."""
    hush_pydicom()
    _heard.count = 0
    found: list[int] = []
    try:
        yield found
    finally:
        found.append(_heard.count)
        del _heard.count

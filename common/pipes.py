"""What to do when the reader of this process's output has gone, as behind `| head -1`."""

import logging
import os
import signal
import sys
from types import FrameType

CLOSED = 141  # the exit code of a shell's command that SIGPIPE ended


def end_when_unread() -> None:
    """From now on, unwind and exit with `CLOSED`, without a word, at the first line that nobody reads."""
    logging.raiseExceptions = False  # handlers of logging would print a traceback for each further line
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, _end)


def print_no_more() -> None:
    """Let all further output vanish, that of Python at its exit too."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.__stdout__.fileno() if sys.__stdout__ is not None else 1)
    os.close(nowhere)


def _end(_number: int, _frame: FrameType | None) -> None:
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    print_no_more()
    raise SystemExit(CLOSED)

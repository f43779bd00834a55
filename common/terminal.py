"""What reaches a terminal or a log: text that shows what it holds, and a quiet end when nobody reads on."""

import logging
import os
import re
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

CLOSED = 141  # the exit code of a shell's command that SIGPIPE ended

# Marks, embeddings, overrides and isolates of Unicode's bidirectional algorithm (UAX 9): with them a line
# shows other words than it has.
_BIDIRECTIONAL = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def printable(text: object) -> str:
    """`text` with bidirectional control characters written as `\\u202e`."""
    return _BIDIRECTIONAL.sub(lambda found: f"\\u{ord(found[0]):04x}", str(text))


def keep_logs_printable() -> None:
    """From now on in this process, all that is logged is `printable`."""
    made_so_far = logging.getLogRecordFactory()
    if not isinstance(made_so_far, _Printable):
        logging.setLogRecordFactory(_Printable(made_so_far))


class _Printable:
    """Makes log records as another factory does, of printable text."""

    def __init__(self, make: Callable[..., logging.LogRecord]) -> None:
        self._make = make

    def __call__(self, *args: Any, **kwargs: Any) -> logging.LogRecord:
        record = self._make(*args, **kwargs)
        said = _said(record)
        if printable(said) != said:
            record.msg, record.args = printable(said), ()
        return record


def _said(record: logging.LogRecord) -> str:
    """A record's message; of one with the wrong number of arguments, which logging reports, its form."""
    try:
        return record.getMessage()
    except Exception:  # of any library's call and arguments
        return str(record.msg)


@contextmanager
def logged_as(place: str, name: str) -> Iterator[None]:
    """Within the block, what this thread logs says `name` where it would say `place`."""
    made_so_far = logging.getLogRecordFactory()
    thread = threading.get_ident()

    def make(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = made_so_far(*args, **kwargs)
        if threading.get_ident() == thread and place in (said := _said(record)):
            record.msg, record.args = said.replace(place, name), ()
        return record

    logging.setLogRecordFactory(make)
    try:
        yield
    finally:
        logging.setLogRecordFactory(made_so_far)


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
    """End for a closed stdout or stderr; another pipe or socket raises BrokenPipeError where it is used."""
    poll = select.poll()
    for output in (1, 2):
        poll.register(output, 0)  # POLLERR comes unasked
    if not any(event & select.POLLERR for _, event in poll.poll(0)):
        return
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    print_no_more()
    raise SystemExit(CLOSED)

"""Text of users on a terminal: what would turn the order of letters around is shown as its number."""

import logging
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

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
        said = record.getMessage()
        if printable(said) != said:
            record.msg, record.args = printable(said), ()
        return record


@contextmanager
def logged_as(place: str, name: str) -> Iterator[None]:
    """Within the block, what this thread logs says `name` where it would say `place`."""
    made_so_far = logging.getLogRecordFactory()
    thread = threading.get_ident()

    def make(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = made_so_far(*args, **kwargs)
        if threading.get_ident() == thread and place in (said := record.getMessage()):
            record.msg, record.args = said.replace(place, name), ()
        return record

    logging.setLogRecordFactory(make)
    try:
        yield
    finally:
        logging.setLogRecordFactory(made_so_far)

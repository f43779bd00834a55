"""Text of users on a terminal: what would turn the order of letters around is shown as its number."""

import logging
import re
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

    def make(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = made_so_far(*args, **kwargs)
        said = record.getMessage()
        if printable(said) != said:
            record.msg, record.args = printable(said), ()
        return record

    logging.setLogRecordFactory(make)

"""What reaches a terminal or a log."""

import logging
import os
import signal
import socket
from collections.abc import Iterator

import pytest

from common.terminal import end_when_unread, keep_logs_printable, logged_as


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    factory, handler, raises = (
        logging.getLogRecordFactory(),
        signal.getsignal(signal.SIGPIPE),
        logging.raiseExceptions,
    )
    yield
    logging.setLogRecordFactory(factory)
    signal.signal(signal.SIGPIPE, handler)
    logging.raiseExceptions = raises


def test_a_broken_socket_is_an_error_where_it_is_used() -> None:
    """Only a closed stdout or stderr ends a process in silence."""
    end_when_unread()
    one, other = socket.socketpair()
    other.close()
    with one, pytest.raises(BrokenPipeError):
        one.send(b"a")


def test_a_log_call_with_wrong_arguments_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    keep_logs_printable()
    logging.raiseExceptions = False
    with logged_as(os.sep + "tmp", "scan.zip"):
        logging.getLogger("a library").handle(
            logging.getLogRecordFactory()("a library", 30, "f.py", 1, "careful", (FutureWarning,), None)
        )

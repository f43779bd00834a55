"""Jobs for a bundle's own code in a process of its own: the end in that process. `tools.engine` starts it.

A job is a JSON object on one line of stdin. stdin stays open as long as somebody waits: where it ends before
the job does, this process ends as SIGTERM would end it. There are two kinds of work:

- `run_job` does one job for a command line. What it prints is for the user, its results are in the files that
  the job names, and its exit code says how it went.
- `answer_jobs` does one job after the other for a server, and answers each with a line on stdout.

In both, an InputError is told by its sentence alone. Any other error is a bug, and stderr has its traceback.
"""

import json
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from types import FrameType
from typing import Any

from .errors import InputError, input_error_of
from .terminal import end_when_unread, keep_logs_printable, printable

Job = dict[str, Any]
Lines = queue.Queue[bytes | None]  # None: no more will come

DONE, FAILED, INTERRUPTED = 0, 1, 130  # exit codes; argparse has 2 for an unusable command line


def run_job(work: Callable[[Job], None], *, code_of: Callable[[InputError], int] = lambda _: FAILED) -> int:
    """Do the job on stdin; SIGINT and SIGTERM unwind it, so that it tidies up.

    Args:
        work: does it.
        code_of: the exit code for an error of the user.

    Returns:
        The exit code of this process.
    """
    signal.signal(signal.SIGINT, _interrupt)
    signal.signal(signal.SIGTERM, _interrupt)
    keep_logs_printable()
    end_when_unread()
    try:
        line = _lines_of_stdin().get()
        if line is None:
            raise KeyboardInterrupt
        work(json.loads(line))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        cause = input_error_of(error)
        if cause is None:
            raise
        print(f"error: {printable(cause)}", file=sys.stderr)
        return code_of(cause)
    return DONE


def answer_jobs(work: Callable[[Job], Job]) -> None:
    """Answer every job on stdin by a line of JSON on stdout, until stdin ends; see `answer_to`."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever prints must not be taken for an answer
    lines = _lines_of_stdin()
    while (line := lines.get()) is not None:
        answer = answer_to(work, json.loads(line))
        lines.task_done()
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def answer_to(work: Callable[[Job], Job], job: Job) -> Job:
    """The answer to a job.

    Returns:
        {"ok": true, ...} with what `work` returns, or {"ok": false, "kind", "message"}: "input" with the
        sentence of an InputError, "internal" with any other error, of which stderr has the traceback.
    """
    try:
        return {"ok": True, **work(job)}
    except Exception as error:
        cause = input_error_of(error)
        if cause is not None:
            return {"ok": False, "kind": "input", "message": str(cause)}
        traceback.print_exc()
        return {"ok": False, "kind": "internal", "message": f"{type(error).__name__}: {error}"}


def _lines_of_stdin() -> Lines:
    """The lines of stdin as they come. `task_done` says that one is done: from then on stdin may end."""
    lines: Lines = queue.Queue()

    def read() -> None:
        rest = b""
        while chunk := os.read(0, 1 << 16):  # sys.stdin would lock its buffer when this process ends
            *whole, rest = (rest + chunk).split(b"\n")
            for line in whole:
                lines.put(line)
        if lines.unfinished_tasks:
            os.kill(os.getpid(), signal.SIGTERM)
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    return lines


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    """Unwind once: a second signal must not disturb the tidying up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt

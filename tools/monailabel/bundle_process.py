"""The server's end of a bundle's process: one job at a time, each within a time limit."""

import json
import logging
import queue
import subprocess
import threading
from collections.abc import Callable
from typing import Any

from common.errors import InputError
from tools.engine import send, start

from .bundles import Bundle

WORKER = "tools.monailabel.label_worker"
START_LIMIT_S = 600.0  # a hub download of a frozen encoder, or a cold disk

_log = logging.getLogger(__name__)


class BundleError(Exception):
    """A bundle could not do its job, and the user is not to blame. `status` is the HTTP status for it."""

    status = 500


class TimeLimitError(BundleError):
    """It took longer than allowed, and was ended."""

    status = 504


class BusyError(BundleError):
    """Others were served during the whole time that a request may take."""

    status = 503


class ClientGoneError(BundleError):
    """Nobody waits for the result any more."""

    status = 499


class BundleProcess:
    """Starts a bundle's process when it is needed, and again after it died.

    Args:
        bundle: what to run.
        device: torch device, or None for the bundle's own choice.
        time_limit_s: seconds that a job may take, and that it may wait for its turn.
    """

    def __init__(self, bundle: Bundle, *, device: str | None, time_limit_s: float) -> None:
        self.bundle = bundle
        self.device = device
        self.time_limit_s = time_limit_s
        self._turn = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._answers: queue.Queue[str | None] = queue.Queue()

    def ask(self, job: dict[str, Any], *, wanted: Callable[[], bool] = lambda: True) -> dict[str, Any]:
        """Have a job done; safe to call from several threads.

        Args:
            job: what `label_worker` takes.
            wanted: asked when the job's turn comes.

        Raises:
            InputError: with the bundle's sentence, when the job cannot be done as it is.
            BundleError: time limit, crash, or the client is gone.
        """
        if not self._turn.acquire(timeout=self.time_limit_s):
            raise BusyError(f"{self.bundle.name}: busy for {self.time_limit_s:.0f} s; try again later.")
        try:
            if not wanted():
                raise ClientGoneError(f"{self.bundle.name}: the client disconnected before its turn.")
            send(self._running(), job)
            return self._answer(self.time_limit_s)
        finally:
            self._turn.release()

    def close(self) -> None:
        """End the process, if there is one."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _running(self) -> "subprocess.Popen[str]":
        if self._process is not None and self._process.poll() is None:
            return self._process
        _log.info("%s: starting its process", self.bundle.name)
        self._process = start(self.bundle.root, WORKER, answers=True)
        self._answers = queue.Queue()
        threading.Thread(target=_forward, args=(self._process.stdout, self._answers), daemon=True).start()
        send(self._process, {"root": str(self.bundle.root), "device": self.device})
        try:
            self._answer(START_LIMIT_S)
        except BaseException:
            self.close()
            raise
        return self._process

    def _answer(self, limit_s: float) -> dict[str, Any]:
        try:
            line = self._answers.get(timeout=limit_s)
        except queue.Empty:
            self.close()
            raise TimeLimitError(
                f"{self.bundle.name}: stopped because it was not done after {limit_s:.0f} s; use fewer "
                "prompts or a smaller image, or start the server with a larger --time-limit."
            ) from None
        if line is None:
            self.close()
            raise BundleError(
                f"{self.bundle.name}: its process ended during the work (see the log; too little memory is a "
                "common cause); try again."
            )
        answer: dict[str, Any] = json.loads(line)
        if answer.pop("ok"):
            return answer
        if answer["kind"] == "input":
            raise InputError(answer["message"])
        raise BundleError(f"{self.bundle.name}: {answer['message']}")


def _forward(lines: Any, to: "queue.Queue[str | None]") -> None:
    """Put lines into a queue, and None at the end."""
    for line in lines:
        to.put(line)
    to.put(None)

"""What a bundle says of itself, and its own code at work in a process of its own.

`common` and a bundle's `scripts.common` never meet in one process: each has its own classes of errors. So all
that bundles do for `tools` is started here: inference, both exports, the study of sentences, and the models
and trainings of MONAI Label. The other end, and how a job is handed over, is in `common.jobs`.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from common.errors import InputError
from common.jobs import INTERRUPTED

REPOSITORY = Path(__file__).parents[1]

# A bundle's jobs are done by its own copy of these two, `scripts/common/inference/worker.py` and so on; for a
# bundle in this repository that is the file in `common`.
INFERENCE = "scripts.common.inference.worker"
EXPORT = "scripts.common.export.export_worker"

PROMPT_KINDS = ("organ", "sentence")
TIDY_UP_S = 20  # for a process that was told to end, before it is killed


def inference_config(bundle: Path) -> Path:
    """Return the bundle's configs/inference.json.

    Raises:
        InputError: there is none.
    """
    config = bundle / "configs" / "inference.json"
    if not config.is_file():
        raise InputError(
            f"{bundle}: found no configs/inference.json in it, expected the folder of a bundle; "
            "name one such as bundles/medvlm_organ."
        )
    return config.resolve()


def prompt_kinds(bundle: Path) -> tuple[str, ...]:
    """Return the kinds of prompts that a bundle takes, "organ" or "sentence" or both, from its metadata.json.

    Raises:
        InputError: there is no such file, or it does not say.
    """
    path = bundle / "configs" / "metadata.json"
    try:
        kinds = json.loads(path.read_text("utf-8"))["prompt_kinds"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: found no prompt_kinds ({error!r}), expected a list of {', '.join(PROMPT_KINDS)}; fetch "
            "the bundle again."
        ) from error
    if not isinstance(kinds, list) or not kinds or not all(kind in PROMPT_KINDS for kind in kinds):
        raise InputError(
            f"{path}: found {kinds!r} as prompt_kinds, expected a list of {', '.join(PROMPT_KINDS)}."
        )
    return tuple(kinds)


def has_id(config: Any, name: str) -> bool:
    """Whether a config's content has an id, such as "network_def#preset"."""
    for part in name.split("#"):
        if not isinstance(config, dict) or part not in config:
            return False
        config = config[part]
    return True


def run_in_bundle(bundle: Path, module: str, job: dict[str, Any]) -> int:
    """Have one job done by a module that calls `common.jobs.run_job`, and wait.

    What ends this process (Ctrl-C, SIGTERM) ends the bundle's first, which then tidies up.

    Returns:
        Its exit code; INTERRUPTED; 128 + N where signal N ended it.
    """
    with _interrupted_by_sigterm(), start(bundle, module) as process:
        try:
            send(process, job)
            code = process.wait()
        except KeyboardInterrupt:
            process.terminate()
            try:
                process.wait(TIDY_UP_S)
            except subprocess.TimeoutExpired:  # such as in a read from a server that never answers
                process.kill()
            return INTERRUPTED
    return code if code >= 0 else 128 - code


def start(bundle: Path, module: str, *, answers: bool = False) -> "subprocess.Popen[str]":
    """Start `python -m <module>` in a bundle's folder. It ends with its stdin, so with this process too.

    Args:
        bundle: its folder, which comes first on the path. This repository comes next.
        module: the bundle's own, or one of `tools` that imports nothing but the bundle's `scripts.common`.
        answers: whether stdout is a pipe for the answers of `common.jobs.answer_jobs`, or the terminal's.
    """
    root = str(bundle.resolve())
    path = os.pathsep.join([root, str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])])
    unbuffered = {"PYTHONUNBUFFERED": "1"} if answers else {}  # what it prints goes to a log
    return subprocess.Popen(
        [sys.executable, "-m", module],
        cwd=root,
        env={**os.environ, "PYTHONPATH": path, **unbuffered},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE if answers else None,
        text=True,
        encoding="utf-8",
    )


def send(process: "subprocess.Popen[str]", job: dict[str, Any]) -> None:
    """Hand a job to a process of `start`. One that is gone says so by its exit code, or by no answer."""
    assert process.stdin is not None
    try:
        process.stdin.write(json.dumps(job) + "\n")
        process.stdin.flush()
    except OSError:
        with suppress(OSError):
            process.stdin.close()


@contextmanager
def _interrupted_by_sigterm() -> Iterator[None]:
    """Let SIGTERM raise KeyboardInterrupt; in the main thread alone, as Python has it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)

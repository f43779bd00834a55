"""Run a bundle's inference in a process of its own: `python -m scripts.common.inference.worker JOB.json`.

The process is the bundle's: its folder is on the path, and this file is its own copy in
`scripts.common`. What a user chose arrives in the job file as data. It is started by `tools.infer`.
"""

import json
import os
import signal
import sys
import threading
import warnings
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from monai.bundle import ConfigWorkflow

from ..errors import InputError, input_error_of, reason_of
from .report import CasesFailedError

# The exit codes of `tools.infer`, beside argparse's 2 for an unusable command line.
DONE, FAILED, SOME_CASES_FAILED, INTERRUPTED = 0, 1, 3, 130


def main(arguments: list[str]) -> int:
    """Run the job in the file named by the only argument; returns the exit code.

    The file holds {"config": path of an inference config, "overrides": {id: value}}.
    """
    job = json.loads(Path(arguments[0]).read_text("utf-8"))
    signal.signal(signal.SIGINT, _interrupt)
    signal.signal(signal.SIGTERM, _interrupt)
    warnings.formatwarning = _sentence
    try:
        run_config(job["config"], job["overrides"])
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        cause = input_error_of(error)
        if cause is None:
            raise
        print(f"error: {cause}", file=sys.stderr)
        return SOME_CASES_FAILED if isinstance(cause, CasesFailedError) else FAILED
    return DONE


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    """Unwind once: a second signal must not disturb the tidying up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


def _sentence(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """A warning as a sentence: in which line of which file it arose is nothing to a user."""
    return f"warning: {message}\n"


def run_config(config: str, overrides: dict[str, Any]) -> None:
    """Initialise, run and finalise a bundle's inference config with some ids replaced.

    Raises:
        InputError: a device that this machine lacks, or what the bundle's components raise.
    """
    check_device(overrides.get("device"))
    workflow = ConfigWorkflow(config_file=config, workflow_type="infer", **overrides)
    workflow.initialize()
    workflow.run()
    workflow.finalize()


def check_device(name: str | None) -> None:
    """Refuse a device that torch cannot use here; None = the config's own choice.

    Raises:
        InputError: names it and torch's reason.
    """
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"device: found {name!r}, which cannot be used here ({reason_of(error)}), expected cpu or a "
            "device of this machine; choose another or leave it out."
        ) from error


def end_with_launcher() -> None:
    """End this process, as SIGTERM does, when the one that started it is gone (its end of stdin closes)."""

    def watch() -> None:
        while os.read(0, 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    end_with_launcher()
    sys.exit(main(sys.argv[1:]))

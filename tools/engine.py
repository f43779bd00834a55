"""Running a bundle's own code in a process of its own, with the bundle's folder first on its path."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from common.errors import InputError

INTERRUPTED = 130
PROMPT_KINDS = ("organ", "sentence")


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
    """Return what a bundle is asked for: some of "organ" and "sentence", as its metadata.json says.

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
    """Run `python -m <module> JOB.json` in the bundle's folder.

    What ends this process (Ctrl-C, SIGTERM) ends the bundle's first, which then tidies up.

    Returns:
        Its exit code; INTERRUPTED; 128 + N where signal N ended it.
    """
    folder = str(bundle.resolve())
    path = os.pathsep.join([folder, *filter(None, [os.environ.get("PYTHONPATH")])])
    with tempfile.TemporaryDirectory(prefix="job-") as name:
        file = Path(name) / "job.json"
        file.write_text(json.dumps(job), "utf-8")
        command = [sys.executable, "-m", module, str(file)]
        environment = {**os.environ, "PYTHONPATH": path}
        # The pipe ends with this process, however it ends: the bundle's engine then ends too.
        return _wait(subprocess.Popen(command, cwd=folder, env=environment, stdin=subprocess.PIPE))


def _wait(engine: "subprocess.Popen[bytes]") -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        code = engine.wait()
    except KeyboardInterrupt:
        engine.terminate()
        engine.wait()
        return INTERRUPTED
    return code if code >= 0 else 128 - code

"""Commands as a user gives them, run from a folder that is not the bundle's."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

SECONDS = 550  # for a busy machine; a quiet one needs 20


def environment() -> dict[str, str]:
    """No hub, no inherited search path, one thread."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return {**kept, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}


def run(*arguments: str, cwd: Path) -> str:
    """Run python with `arguments`; returns what it said, and fails with it on another exit code than 0."""
    command = [sys.executable, *arguments]
    done = subprocess.run(
        command, cwd=cwd, env=environment(), capture_output=True, text=True, timeout=SECONDS
    )
    said = done.stdout + done.stderr
    errors = [line for line in said.splitlines() if re.match(r"[\w.]*(Error|Exception)\b", line)]
    assert done.returncode == 0, "\n".join([*errors, said[-1000:]])
    return said


def options(bundle: Path, *configs: str, **overrides: Any) -> list[str]:
    files = [str(bundle / "configs" / name) for name in configs]
    given = {"bundle_root": bundle, "config_file": files[0] if len(files) == 1 else files, **overrides}
    return [part for name, value in given.items() for part in (f"--{name}", str(value))]

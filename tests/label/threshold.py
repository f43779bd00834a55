"""A bundle whose network is a threshold, for tests that know what it finds."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


def make_threshold_bundle(folder: Path) -> Path:
    """A bundle with code of its own under the names that every bundle has."""
    shutil.copytree(Path(__file__).parent / "threshold_bundle", folder)
    init = REPOSITORY / "bundles" / "medvlm_organ" / "scripts" / "__init__.py"
    there = "Path(__file__).resolve().parents[3]"
    assert there in init.read_text()
    code = init.read_text().replace(there, f"Path({str(REPOSITORY)!r})")
    (folder / "scripts" / "__init__.py").write_text(code)
    path = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    subprocess.run([sys.executable, "make_weights.py"], cwd=folder, check=True, env=path)
    return folder

"""One file of `common` under two names: `common` in the tools, `scripts.common` in a bundle."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.bundles.commands import environment
from tests.bundles.subjects import BUNDLES, REPOSITORY

COUNT = """
import importlib, sys
import numpy as np

root, name = sys.argv[1:]
sys.path.insert(0, root)
module = importlib.import_module(name + ".metrics.cases")
mask = np.ones((2, 3, 4), np.uint8)
(counts, _) = module.slice_counts(mask, mask, {1: "liver"})[1]
assert counts.both == 12
assert ("common" in sys.modules) == (name == "common"), "the other name's modules were imported"
"""


@pytest.mark.slow
@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda path: path.name)
def test_machine_code_kept_under_one_name_serves_the_other(bundle: Path, tmp_path: Path) -> None:
    """Compiled kernels on disk name their module: those of `common` must not be taken for a bundle's."""
    given = environment() | {"NUMBA_CACHE_DIR": str(tmp_path / "kernels")}
    names = {"common": REPOSITORY, "scripts.common": bundle}
    for name in ("common", "scripts.common", "common"):
        command = [sys.executable, "-c", COUNT, str(names[name]), name]
        done = subprocess.run(command, cwd=tmp_path, env=given, capture_output=True, text=True)
        assert done.returncode == 0, f"{name}: {done.stderr[-500:]}"
    assert list((tmp_path / "kernels").rglob("*.nbi"))

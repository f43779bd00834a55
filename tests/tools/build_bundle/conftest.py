"""The repository that most of these tests build from."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from tests.tools.build_bundle.repositories import (
    COMMON,
    INFERENCE,
    METADATA,
    PAGES,
    ROOT,
    commit,
    git,
    write,
)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A committed repository with `common` and one bundle, in whose folder things were also run."""
    root = tmp_path / "repository"
    write(root / "common", COMMON)
    write(root / "bundles", PAGES)
    bundle = root / "bundles" / "mini"
    own = {"LICENSE": "Apache-2.0", "docs/README.md": "A bundle.", "docs/data_license.txt": "None."}
    configs = {"configs/metadata.json": json.dumps(METADATA), "configs/inference.json": INFERENCE}
    write(bundle, own | configs | {"models/model.json": '{"frozen_bases": {}}'})
    (bundle / "scripts").mkdir()
    shutil.copy(ROOT / "bundles/medvlm_organ/scripts/__init__.py", bundle / "scripts")
    torch.save({"weight": torch.arange(6.0).half()}, bundle / "models" / "model.pt")
    write(root, {".gitignore": "__pycache__/\n"})
    git(root, "init", "-q")
    commit(root)
    write(bundle, {"eval/mask.nii": "x", "input/ct.nii": "x", "scripts/__pycache__/a.pyc": "x"})
    write(root, {"common/networks/__pycache__/net.nbc": "x"})
    return root

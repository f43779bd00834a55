"""Weights that are too large for git."""

import hashlib
from pathlib import Path

import pytest

from common.errors import InputError
from tests.tools.build_bundle.repositories import contents, git, write
from tools.build_bundle.build import build_bundle


def list_large_file(repository: Path, sha256: str) -> Path:
    """Take model.pt out of git and name it in large_files.yml."""
    bundle = repository / "bundles/mini"
    entry = f"{{path: models/model.pt, url: 'https://x', hash_type: sha256, hash_val: '{sha256}'}}"
    write(bundle, {"large_files.yml": f"large_files:\n  - {entry}\n"})
    git(repository, "rm", "-q", "--cached", "bundles/mini/models/model.pt")
    git(repository, "add", "bundles/mini/large_files.yml")
    git(repository, "commit", "-q", "-m", "large")
    return bundle / "models/model.pt"


@pytest.mark.parametrize("ignored", [False, True])
def test_large_files_are_packed_once_and_not_fetched_again(repository, tmp_path, ignored):
    content = (repository / "bundles/mini/models/model.pt").read_bytes()
    list_large_file(repository, hashlib.sha256(content).hexdigest())
    if ignored:
        write(repository, {".gitignore": "__pycache__/\nmodel.pt\n"})
    found = contents(build_bundle("mini", repository, tmp_path))
    assert found["models/model.pt"] == content
    assert "large_files.yml" not in found


def test_large_files_with_other_bytes_are_refused(repository, tmp_path):
    list_large_file(repository, "0" * 64)
    with pytest.raises(
        InputError, match=r"models/model.pt: has sha256 .*, expected 000000000000\.\.\. of la"
    ):
        build_bundle("mini", repository, tmp_path)


def test_a_large_file_that_was_not_fetched(repository, tmp_path):
    write(repository / "bundles/mini", {"large_files.yml": "large_files: [{path: a.pt, hash_val: '00'}]"})
    with pytest.raises(
        InputError, match=r"a.pt: large_files.yml names this file, but it is not there; fetch"
    ):
        build_bundle("mini", repository, tmp_path)


def test_large_files_without_a_hash(repository, tmp_path):
    write(repository / "bundles/mini", {"large_files.yml": "large_files: [{path: a.pt}]"})
    with pytest.raises(InputError, match=r"large_files.yml: cannot be read as a list .*'hash_val'.*; give"):
        build_bundle("mini", repository, tmp_path)

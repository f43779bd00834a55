"""What is not built."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from common.errors import InputError
from tests.tools.build_bundle.repositories import METADATA, commit, contents, manifest_of, write
from tools.build_bundle.build import build_bundle, bundle_names


@pytest.mark.parametrize(
    "changed", ["common/other.py", "common/new.py", "bundles/mini/docs/README.md", "bundles/mini/models/b.pt"]
)
def test_what_is_not_committed_is_refused_or_recorded(repository, tmp_path, changed):
    write(repository, {changed: "# changed\n"})
    with pytest.raises(InputError, match=rf"{changed} differ from the commit, .* or give --allow-dirty"):
        build_bundle("mini", repository, tmp_path / "dist")
    assert not (tmp_path / "dist").exists()
    archive = build_bundle("mini", repository, tmp_path / "dist", allow_dirty=True)
    assert manifest_of(archive)["source"]["changed"] == [changed]
    assert json.loads(contents(archive)["scripts/common/VENDORED.json"])["changed"] == [changed]


def test_a_folder_that_is_no_clone(repository, tmp_path):
    shutil.rmtree(repository / ".git")
    with pytest.raises(InputError, match=r"git cannot tell what is committed there .*; build from a clone"):
        build_bundle("mini", repository, tmp_path)


def test_a_symbolic_link_is_refused(repository, tmp_path):
    (repository / "bundles/mini/docs/secret").symlink_to("/etc/hostname")
    commit(repository)
    with pytest.raises(InputError, match=r"docs/secret: found a symbolic link, expected a file"):
        build_bundle("mini", repository, tmp_path)


def test_a_name_that_is_in_no_module_is_refused(repository, tmp_path):
    write(repository / "bundles/mini/configs", {"train.json": '{"a": "$scripts.common.netwroks.Net()"}'})
    commit(repository)
    with pytest.raises(InputError, match=r"^scripts.common.netwroks.Net: there is no such module in common"):
        build_bundle("mini", repository, tmp_path)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"version": "0.10.0"}, r"found version '0.10.0', expected three numbers below 10 such as 0.9.1"),
        ({"version": "1.0"}, r"found version '1.0', expected three numbers"),
        ({"changelog": {"0.1.0": ""}}, r"version is 0.2.1, but the newest entry of changelog is 0.1.0; say"),
        ({"changelog": {"0.2.1": "", "0.3.0": ""}}, r"version is 0.2.1, but the newest .* is 0.3.0"),
        ({"changelog": None}, r"metadata.json: cannot be read as a bundle's metadata"),
        (
            {"prompt_kinds": []},
            r"metadata.json: found \[\] as prompt_kinds, expected a list of organ, sentence",
        ),
    ],
)
def test_metadata(repository, tmp_path, changes, text):
    write(repository / "bundles/mini/configs", {"metadata.json": json.dumps(METADATA | changes)})
    with pytest.raises(InputError, match=text):
        build_bundle("mini", repository, tmp_path)


def test_a_name_that_monai_would_cut(repository, tmp_path):
    with pytest.raises(
        InputError, match=r"^lung_vessels: MONAI takes what follows '_v' .*; rename the folder"
    ):
        build_bundle("lung_vessels", repository, tmp_path)


def test_there_is_no_such_bundle(repository, tmp_path):
    assert bundle_names(repository) == ["mini"]
    with pytest.raises(InputError, match=r"bundles/other/configs/metadata.json: cannot be read"):
        build_bundle("other", repository, tmp_path)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "there is no such checkpoint"),
        (
            {"network": {"weight": torch.zeros(1)}},
            "expected a flat dict of tensors, found a dict with network",
        ),
        ({"weight": Path("x")}, r"\(it holds Python objects\)"),
        ({"weight": torch.tensor([1.0, float("nan")])}, "values that are not finite in weight, expected"),
        ({}, "found no tensor, expected trained weights"),
    ],
)
def test_weights_are_checked(repository, tmp_path, content, text):
    model = repository / "bundles/mini/models/model.pt"
    model.unlink()
    if content is not None:
        torch.save(content, model)
    with pytest.raises(InputError, match=text):
        build_bundle("mini", repository, tmp_path)


def test_a_missing_licence(repository, tmp_path):
    (repository / "bundles/mini/LICENSE").unlink()
    commit(repository)
    with pytest.raises(InputError, match=r"mini: LICENSE missing or ignored by git; add what every bundle"):
        build_bundle("mini", repository, tmp_path)

"""Bundles found in folders and zips, and zips that are refused."""

import hashlib
import json
import stat
import zipfile
from pathlib import Path

import pytest

from common.errors import InputError
from tools.monailabel.bundles import find_bundles

METADATA = {
    "name": "A bundle",
    "intended_use": "Research.",
    "prompt_kinds": ["organ"],
    "network_data_format": {"inputs": {"prompt": "the liver"}},
}
FILES = {"configs/inference.json": "{}", "configs/metadata.json": json.dumps(METADATA)}


def make(folder):
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder


def pack(path, members=None):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (members or {f"lungs/{name}": text for name, text in FILES.items()}).items():
            archive.writestr(name, content)
    return path


def test_folders_and_zips(tmp_path, caplog):
    make(tmp_path / "several" / "one")
    make(tmp_path / "several" / "two")
    archive = pack(tmp_path / "lungs_v1.zip")
    places = [tmp_path / "several", make(tmp_path / "alone"), archive]
    found = find_bundles(places, tmp_path / "unpacked")
    assert set(found) == {"one", "two", "alone", "lungs"}
    assert found["lungs"].example_prompt == "the liver"
    assert found["lungs"].description == "A bundle. Research."
    assert not found["lungs"].trains
    assert "lungs_v1.zip: no lungs_v1.manifest.json beside it, so its sha256 is not checked." in caplog.text
    before = found["lungs"].root.stat().st_ino
    assert find_bundles([archive], tmp_path / "unpacked")["lungs"].root.stat().st_ino == before


def test_which_learn_from_label_maps(tmp_path):
    found = find_bundles([Path(__file__).parents[3] / "bundles"], tmp_path)
    assert found["medvlm_organ"].trains
    assert not found["lsms_lesion"].trains  # learns from images with sentences


@pytest.mark.parametrize(
    ("kinds", "config", "trains"),
    [
        (["organ"], True, True),
        (["organ", "sentence"], True, True),
        (["organ"], False, False),
        (["sentence"], True, False),
    ],
)
def test_a_bundle_learns_from_label_maps_if_it_is_asked_for_organs(kinds, config, trains, tmp_path):
    folder = make(tmp_path / "one")
    (folder / "configs/metadata.json").write_text(json.dumps({**METADATA, "prompt_kinds": kinds}))
    if config:
        (folder / "configs/train.json").write_text("{}")
    assert find_bundles([folder], tmp_path)["one"].trains == trains


def test_a_bundle_that_does_not_say_what_it_is_asked_for(tmp_path):
    """The sentence is that of every tool."""
    folder = make(tmp_path / "former")
    content = {name: value for name, value in METADATA.items() if name != "prompt_kinds"}
    (folder / "configs/metadata.json").write_text(json.dumps(content))
    with pytest.raises(
        InputError, match=r"^\S+metadata.json: found no prompt_kinds \(.*\), expected a list of"
    ):
        find_bundles([folder], tmp_path)


def test_a_manifest_is_checked(tmp_path):
    archive = pack(tmp_path / "lungs_v1.zip")
    manifest = tmp_path / "lungs_v1.manifest.json"
    manifest.write_text(json.dumps({"zip": {"sha256": hashlib.sha256(archive.read_bytes()).hexdigest()}}))
    assert set(find_bundles([archive], tmp_path / "unpacked")) == {"lungs"}
    manifest.write_text(json.dumps({"zip": {"sha256": "0" * 64}}))
    with pytest.raises(
        InputError, match=r"lungs_v1.zip: has sha256 .*, expected 000000000000... of lungs_v1.man"
    ):
        find_bundles([archive], tmp_path / "elsewhere")


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "..\\x", "C:\\x"])
def test_a_member_that_leads_out(name, tmp_path):
    with pytest.raises(InputError, match=r"leads out of the folder; do not use this file"):
        find_bundles([pack(tmp_path / "bad.zip", {name: "x"})], tmp_path / "unpacked")
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["bad.zip"]


def test_a_link_and_a_broken_zip(tmp_path):
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as archive:
        entry = zipfile.ZipInfo("a/link")
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(entry, "/etc/passwd")
    with pytest.raises(InputError, match=r"link.zip: its member 'a/link' is a link"):
        find_bundles([tmp_path / "link.zip"], tmp_path / "unpacked")
    (tmp_path / "broken.zip").write_bytes(pack(tmp_path / "whole.zip").read_bytes()[:-30])
    with pytest.raises(InputError, match=r"broken.zip: cannot be unpacked \(.*\); fetch it again."):
        find_bundles([tmp_path / "broken.zip"], tmp_path / "unpacked")
    assert list((tmp_path / "unpacked").iterdir()) == []


def test_what_is_no_bundle(tmp_path):
    with pytest.raises(
        InputError, match=r"nowhere: found no configs/inference.json in it or one folder below"
    ):
        find_bundles([tmp_path / "nowhere"], tmp_path)
    make(tmp_path / "a" / "same")
    make(tmp_path / "b" / "same")
    with pytest.raises(InputError, match=r"same: a bundle named same is already served"):
        find_bundles([tmp_path / "a", tmp_path / "b"], tmp_path)
    with pytest.raises(InputError, match=r"my bundle: the folder's name is the model's name"):
        find_bundles([make(tmp_path / "my bundle")], tmp_path)
    (make(tmp_path / "odd") / "configs/metadata.json").write_text("[]")
    with pytest.raises(InputError, match=r"metadata.json: cannot be read as a bundle's metadata"):
        find_bundles([tmp_path / "odd"], tmp_path)

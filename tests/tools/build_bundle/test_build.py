"""Building a bundle: what is packed, and that it is the same every time."""

import hashlib
import json
import os
import re
import subprocess
import sys
import zipfile
from types import SimpleNamespace

import pytest
import yaml
from monai.bundle import scripts as monai_bundle

from common.errors import InputError
from tests.tools.build_bundle.repositories import (
    COMMON,
    METADATA,
    PAGES,
    SPARE,
    contents,
    git,
    manifest_of,
    write,
)
from tools.build_bundle.build import build_bundle
from tools.get_bundle.__main__ import install
from tools.get_bundle.archive import differences
from tools.get_bundle.sources import PUBLISHED, find, read_index


def test_the_zip_holds_the_bundle_and_the_part_of_common_that_it_reaches(repository, tmp_path):
    archive = build_bundle("mini", repository, tmp_path / "dist")
    assert archive == tmp_path / "dist" / "mini_v0.2.1.zip"
    bundle = repository / "bundles" / "mini"
    own = ["LICENSE", "configs/inference.json", "configs/metadata.json", "docs/README.md"]
    own += ["docs/data_license.txt", "models/model.json", "models/model.pt", "scripts/__init__.py"]
    expected = {name: (bundle / name).read_bytes() for name in own}
    expected |= {f"docs/{name}": text.encode() for name, text in PAGES.items()}
    expected |= {f"scripts/common/{name}": COMMON[name].encode() for name in COMMON.keys() - SPARE}
    found = contents(archive)
    del found["scripts/common/VENDORED.json"]
    assert found.pop("requirements.txt") == b"monai==1.6.1\nscipy==1.17.1\n"
    assert found == expected


def test_the_unzipped_bundle_imports_its_own_common(repository, tmp_path):
    zipfile.ZipFile(build_bundle("mini", repository, tmp_path)).extractall(tmp_path / "elsewhere")
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import scripts.common.inference.worker\n"
        "from scripts.common.networks import Net; from scripts.common.lazy import Handler\n"
        "print(Net().run(), scripts.common.__file__)"
    )
    root = tmp_path / "elsewhere" / "mini"
    command = [sys.executable, "-I", "-c", program, str(root)]
    said = subprocess.run(command, cwd=tmp_path, env={}, check=True, capture_output=True, text=True).stdout
    assert said == f'"from the data file" {root}/scripts/common/__init__.py\n'


def test_links_to_the_pages_that_bundles_share_lead_to_files_in_the_zip_and_in_the_hub_folder(
    repository, tmp_path
):
    text = "[a](../../TRAINING.md) [b](../../TRAINING.md#resume) [c](results.md) `../../TRAINING.md`\n"
    docs = {"README.md": text, "results.md": "[d](../../INFERENCE.md)\n"}
    write(repository / "bundles/mini/docs", docs)
    archive = build_bundle("mini", repository, tmp_path, allow_dirty=True, huggingface=True)
    zipfile.ZipFile(archive).extractall(tmp_path / "zip")
    card = tmp_path / "huggingface" / "mini" / "README.md"
    pages = [*(tmp_path / "zip/mini/docs").glob("*.md"), card]
    links = [(page, link) for page in pages for link in re.findall(r"\]\(([^)]+)\)", page.read_text())]
    assert len(links) == 8  # README 3, results 1, INFERENCE 1, the card 3
    for page, link in links:
        assert (page.parent / link.partition("#")[0]).is_file(), f"{page}: {link}"
    found = contents(archive)
    assert found["docs/README.md"].decode() == text.replace("(../../", "(")


def test_a_repository_without_the_shared_pages_is_refused(repository, tmp_path):
    (repository / "bundles" / "TRAINING.md").unlink()
    with pytest.raises(InputError, match=r"bundles: TRAINING.md missing or ignored by git, expected the "):
        build_bundle("mini", repository, tmp_path, allow_dirty=True)
    with pytest.raises(InputError, match=r"bundles/TRAINING.md differ from the commit"):
        build_bundle("mini", repository, tmp_path)


def test_vendored_and_manifest_say_commit_and_hashes(repository, tmp_path):
    archive = build_bundle("mini", repository, tmp_path)
    found, manifest = contents(archive), manifest_of(archive)
    vendored = json.loads(found["scripts/common/VENDORED.json"])
    source = {"commit": git(repository, "rev-parse", "HEAD"), "changed": []}
    assert vendored == {
        **source,
        "files": {
            name: hashlib.sha256(COMMON[name].encode()).hexdigest() for name in sorted(COMMON.keys() - SPARE)
        },
    }
    assert manifest["source"] == source
    assert (manifest["name"], manifest["version"]) == ("mini", "0.2.1")
    assert manifest["versions"] == {
        "monai_version": "1.6.1",
        "required_packages_version": {"scipy": "1.17.1"},
    }
    whole = archive.read_bytes()
    assert manifest["zip"] == {
        "file": "mini_v0.2.1.zip",
        "bytes": len(whole),
        "sha256": hashlib.sha256(whole).hexdigest(),
    }
    assert manifest["files"] == {
        name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in found.items()
    }


def test_model_info_lists_every_release_for_monai_and_for_us(repository, tmp_path, monkeypatch):
    """MONAI's zoo reads `source` and checks `checksum`, a SHA-1."""
    first = build_bundle("mini", repository, tmp_path / "dist")
    metadata = METADATA | {"version": "0.3.0", "changelog": {"0.3.0": "Newer."}}
    write(repository / "bundles/mini/configs", {"metadata.json": json.dumps(metadata)})
    second = build_bundle("mini", repository, tmp_path / "dist", allow_dirty=True, url="https://x.y/v3/")
    index = json.loads((tmp_path / "dist/model_info.json").read_text())
    expected = {"mini_v0.2.1": (first, first.name), "mini_v0.3.0": (second, f"https://x.y/v3/{second.name}")}
    assert index == {
        name: {
            "checksum": hashlib.sha1(path.read_bytes()).hexdigest(),
            "source": source,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        for name, (path, source) in expected.items()
    }
    for _, (path, _) in expected.items():
        release = find(str(path), published=tmp_path / "dist/model_info.json")
        assert release.vouched == "this repository"
        assert differences(install(release, tmp_path / path.stem), release.manifest) == []
    answer = SimpleNamespace(
        text=(tmp_path / "dist/model_info.json").read_text(), raise_for_status=lambda: None
    )
    web = SimpleNamespace(get=lambda *_arguments, **_named: answer)  # `requests` may not be installed
    monkeypatch.setattr(monai_bundle, "requests", web)
    monkeypatch.setattr(monai_bundle, "has_requests", True)
    found = monai_bundle.get_bundle_versions("mini", repo="owner/repository")
    assert found == {"latest_version": "0.3.0", "all_versions": ["0.2.1", "0.3.0"]}
    (tmp_path / "dist/model_info.json").write_text("[1]")
    with pytest.raises(
        InputError, match=r"model_info.json: cannot be read as a list of releases .*; delete it"
    ):
        build_bundle("mini", repository, tmp_path / "dist", allow_dirty=True)


def test_the_list_of_what_this_repository_has_published_can_be_read():
    assert isinstance(read_index(PUBLISHED.read_bytes(), str(PUBLISHED)), dict)


def test_the_hugging_face_folder_is_the_bundle_and_a_model_card(repository, tmp_path):
    text = "# Mini\n![a](example.png) [b](data_license.txt) [c](https://x.y/z) [d](#limits)\n"
    write(repository / "bundles/mini/docs", {"README.md": text})
    archive = build_bundle("mini", repository, tmp_path, allow_dirty=True, huggingface=True)
    folder = tmp_path / "huggingface" / "mini"
    found = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    card = found.pop("README.md").decode()
    assert json.loads(found.pop("manifest.json")) == manifest_of(archive)
    assert found == contents(archive)
    settings, _, body = card.removeprefix("---\n").partition("---\n\n")
    assert yaml.safe_load(settings)["library_name"] == "monai"
    assert yaml.safe_load(settings)["license"] == "apache-2.0"
    links = "![a](docs/example.png) [b](docs/data_license.txt) [c](https://x.y/z) [d](#limits)"
    assert body == f"# Mini\n{links}\n"


def test_another_clone_at_another_time_gives_the_same_bytes(repository, tmp_path):
    first = build_bundle("mini", repository, tmp_path / "first")
    git(tmp_path, "clone", "-q", str(repository), "clone")
    for path in (tmp_path / "clone").rglob("*"):
        if ".git" not in path.parts:
            path.chmod(0o700)
            os.utime(path, (0, 86_400 * 10_000))
    git(tmp_path / "clone", "config", "core.fileMode", "false")
    second = build_bundle("mini", tmp_path / "clone", tmp_path / "second")
    assert first.read_bytes() == second.read_bytes()
    assert manifest_of(first) == manifest_of(second)
    entries = zipfile.ZipFile(first).infolist()
    assert [entry.filename for entry in entries] == sorted(entry.filename for entry in entries)
    assert {entry.external_attr >> 16 for entry in entries} == {0o100644}
    assert {entry.compress_type for entry in entries} == {zipfile.ZIP_STORED}

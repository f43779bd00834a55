"""A release as people fetch it: MONAI's own download from every kind of place, and tools.get_bundle."""

import hashlib
import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]
BUNDLES = sorted(path.parents[1].name for path in REPOSITORY.glob("bundles/*/models/model.pt"))
VERSIONS = {
    name: json.loads((REPOSITORY / "bundles" / name / "configs/metadata.json").read_text())["version"]
    for name in BUNDLES
}
HUB_PATH = re.compile(
    r"/(api/models/)?owner/(?P<name>\w+)/(?P<kind>refs|revision|tree|resolve)(/[^/]+/?(?P<file>.*))?"
)
COMMIT = "0123456789abcdef0123456789abcdef01234567"
every_bundle = pytest.mark.parametrize("name", BUNDLES)

# MONAI's code as it is, with another host in the place of https://github.com.
GITHUB = """
import sys
from monai.bundle import scripts
host, name, version, folder = sys.argv[1:]
real = scripts._get_git_release_url
scripts._get_git_release_url = lambda *a, **k: real(*a, **k).replace("https://github.com", host)
scripts.download(name=name, source="github", repo="owner/repository/v1", version=version, bundle_dir=folder)
"""


@pytest.fixture
def check(dist, in_repository):
    """Hold a downloaded folder against the manifest of the release, file by file."""

    def compare(folder: Path) -> None:
        manifest = dist / f"{folder.name}_v{VERSIONS[folder.name]}.manifest.json"
        said = in_repository("-m", "tools.check_bundle", str(folder), "--manifest", str(manifest))
        assert said.endswith("all files as published\n")

    return compare


class Hub(ThreadingHTTPServer):
    """A Hugging Face hub of this machine that has `owner/NAME` for each bundle, tagged with its version."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.folder = folder

    def content(self, path: str) -> bytes | None:
        """What the hub's API and its file addresses answer; None for what it does not have."""
        asked = HUB_PATH.fullmatch(path)
        if asked is None or asked["name"] not in BUNDLES:
            return None
        folder, version = self.folder / asked["name"], VERSIONS[asked["name"]]
        files = {p.relative_to(folder).as_posix(): p for p in sorted(folder.rglob("*")) if p.is_file()}
        if asked["kind"] == "resolve":
            return files[asked["file"]].read_bytes() if asked["file"] in files else None
        tag = {"name": version, "ref": f"refs/tags/{version}", "targetCommit": COMMIT}
        siblings = [{"rfilename": name} for name in files]
        entries = [
            {"type": "file", "path": name, "size": path.stat().st_size, "oid": f"{index:040x}"}
            for index, (name, path) in enumerate(files.items())
        ]
        answers = {
            "refs": {"branches": [], "converts": [], "tags": [tag]},
            "revision": {"id": f"owner/{asked['name']}", "sha": COMMIT, "siblings": siblings},
            "tree": entries,
        }
        return json.dumps(answers[asked["kind"]]).encode()


class _Answer(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        found = self.server.content(self.path.partition("?")[0])
        if found is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("ETag", f'"{hashlib.sha1(found).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(found)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(found)

    do_HEAD = do_GET  # noqa: N815 - the name that the server calls

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def hub(dist: Path) -> Iterator[str]:
    """The hub's address."""
    server = Hub(dist / "huggingface")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@every_bundle
@pytest.mark.parametrize("kind", ["http", "file"])
def test_monais_download_from_an_address(name, kind, dist, site, empty, run, check, tmp_path):
    file = f"{name}_v{VERSIONS[name]}.zip"
    url = f"{site}/{file}" if kind == "http" else (dist / file).as_uri()
    options = ["--name", name, "--url", url, "--bundle_dir", str(tmp_path / "got")]
    run("-m", "monai.bundle", "download", *options, cwd=tmp_path, environment=empty)
    check(tmp_path / "got" / name)


@every_bundle
def test_monais_download_from_a_github_release(name, site, empty, run, check, tmp_path):
    """The asset is called as MONAI asks for it: .../releases/download/TAG/NAME_v<version>.zip."""
    arguments = [site, name, VERSIONS[name], str(tmp_path / "got")]
    run("-c", GITHUB, *arguments, cwd=tmp_path, environment=empty)
    check(tmp_path / "got" / name)


@every_bundle
def test_monais_download_from_a_hugging_face_repository(name, hub, empty, run, check, tmp_path):
    """Without a version MONAI takes the newest tag."""
    environment = {**empty, "HF_ENDPOINT": hub, "HF_HUB_DISABLE_XET": "1"}
    options = ["--name", name, "--source", "huggingface_hub", "--repo", f"owner/{name}"]
    options += ["--bundle_dir", str(tmp_path / "got")]
    run("-m", "monai.bundle", "download", *options, cwd=tmp_path, environment=environment)
    check(tmp_path / "got" / name)
    card = (tmp_path / "got" / name / "README.md").read_text()
    assert card.startswith("---\nlicense: apache-2.0\nlibrary_name: monai\n")


@every_bundle
def test_get_bundle_then_infer_are_two_commands(name, site, image, in_repository, check, tmp_path):
    """The README's way for somebody who has the repository; the release lies on a mirror."""
    out = ["--index", site, "--out", str(tmp_path)]
    said = in_repository("-m", "tools.get_bundle", name, *out)
    assert f"version {VERSIONS[name]}, all" in said
    check(tmp_path / name)
    options = ["--input", str(image(name)), "--output", str(tmp_path / "masks"), "--prompt", "liver"]
    in_repository("-m", "tools.infer", "--bundle", str(tmp_path / name), *options)
    stem = image(name).name.removesuffix(".nii.gz")
    made = {path.name for path in (tmp_path / "masks").iterdir()}
    assert {f"{stem}_seg.nii.gz", f"{stem}_seg.json", f"{stem}_seg.png"} <= made


def test_fetching_runs_nothing_of_the_bundle(dist, site, tmp_path):
    """Not even an import: the fetcher's process has only the standard library and this repository's tools."""
    program = (
        "import sys; from tools.get_bundle.__main__ import main; assert main(sys.argv[1:]) == 0\n"
        "heavy = {'torch', 'monai', 'numpy', 'scripts', 'transformers', 'yaml'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    command = [sys.executable, "-c", program, BUNDLES[0], "--index", site, "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

"""A small repository with one bundle, for the tests of `tools.build_bundle`."""

import json
import os
import subprocess
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[3]

# A `common` in which every way of importing occurs once, and `spare` files that nothing needs.
COMMON = {
    "__init__.py": "__version__ = '1'\n",
    "errors.py": "class InputError(ValueError): pass\n",
    "export/__init__.py": "",
    "export/export_worker.py": "",
    "inference/__init__.py": "",
    "inference/worker.py": "from .. import __version__\nfrom ..errors import InputError\n",
    "networks/README.md": "For the repository's readers.\n",
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
SPARE = {"networks/README.md", "networks/spare.py", "spare/__init__.py", "spare/words.json"}
PAGES = {
    "INFERENCE.md": "# Inference\nSee [training](TRAINING.md#resume).\n",
    "HARD_INPUT.md": "# Hard input\n",
    "TRAINING.md": "# Training\n\n## Resume\n",
}
METADATA = {
    "version": "0.2.1",
    "changelog": {"0.2.1": "Better.", "0.1.0": "First."},
    "prompt_kinds": ["organ"],
    "monai_version": "1.6.1",
    "required_packages_version": {"scipy": "1.17.1"},
}
INFERENCE = """{
    "bundle_root": ".",
    "sizes": [1, 2],
    "network_def": {
        "preset": "small",
        "text_model": null
    },
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


def contents(archive: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(archive) as file:
        return {name.removeprefix("mini/"): file.read(name) for name in file.namelist()}


def manifest_of(archive: Path) -> dict:
    return json.loads(archive.with_name(archive.stem + ".manifest.json").read_text())

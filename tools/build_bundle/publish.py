"""What a published bundle needs beside its zip: a line in model_info.json, a folder for Hugging Face."""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from common.errors import InputError
from common.files import atomic_path

from .documents import from_root

INDEX = "model_info.json"

CARD = """---
license: apache-2.0
library_name: monai
pipeline_tag: image-segmentation
tags:
- monai
- medical
- text-guided-segmentation
---

"""


def list_release(archive: Path, url: str | None) -> None:
    """Add a zip to model_info.json beside it, in the layout of MONAI's model zoo and with a sha256 besides.

    Args:
        archive: `<name>_v<version>.zip`.
        url: folder that it will be published in; None writes its bare name.

    Raises:
        InputError: what stands in model_info.json is no such list.
    """
    path, content = archive.with_name(INDEX), archive.read_bytes()
    try:
        releases = dict(json.loads(path.read_text("utf-8"))) if path.is_file() else {}
    except (ValueError, TypeError) as error:
        raise InputError(f"{path}: cannot be read as a list of releases ({error}); delete it.") from error
    releases[archive.stem] = {
        "checksum": hashlib.sha1(content).hexdigest(),  # the zoo's own check
        "source": f"{url.rstrip('/')}/{archive.name}" if url else archive.name,
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(dict(sorted(releases.items())), indent=4) + "\n", "utf-8")


def write_hub_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write the content of a Hugging Face repository: the bundle, and docs/README.md as its model card."""
    card = {"README.md": CARD.encode() + from_root(files["docs/README.md"].decode()).encode()}
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=folder.parent) as name:
        for path, content in {**files, **card}.items():
            target = Path(name) / "new" / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        shutil.rmtree(folder, ignore_errors=True)
        (Path(name) / "new").rename(folder)

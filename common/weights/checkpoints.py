"""This project's own checkpoints: flat dicts of tensors, and beside each a record of bases and settings."""

import io
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors.torch
import torch
from torch import Tensor, nn

from ..errors import InputError
from ..files import START_BYTES, is_html, write_synced
from .finite import non_finite
from .pretrained import FrozenBase, first_few, published_sha256

if TYPE_CHECKING:
    from ..networks.base import TextSegmenter

log = logging.getLogger(__name__)

# Of the settings that `settings_of` names: what overrides it has another name, or nothing does.
OVERRIDDEN_BY = {"network_def#normalisation": "network_def#image_normalisation"}
OF_THE_CLASS = ("network_def#threshold",)


def save_checkpoint(network: nn.Module, path: str | os.PathLike[str], *, half: bool) -> None:
    """Write `network.state_dict()` as a flat dict of tensors, atomically.

    Args:
        network: its state-dict hooks decide what belongs in the file.
        path: `.safetensors`, or anything else for a torch file that `weights_only=True` reads.
        half: store floating-point tensors in float16 (half the size, 11 bits of precision).

    Raises:
        InputError: a value is NaN or infinite, or too large for float16 (above 65,504), or the file cannot be
            written (a full disk, say). An older file stays as it was.
    """
    tensors = {
        name: value.detach().cpu().contiguous().clone() for name, value in network.state_dict().items()
    }
    _check_finite(path, tensors, "the training diverged, so lower its learning_rate")
    for name, value in tensors.items():
        if half and value.is_floating_point():
            tensors[name] = value.half()
            if not torch.equal(tensors[name].isfinite(), value.isfinite()):
                raise InputError(f"{path}: {name} has values beyond float16's 65,504; save with half=False.")
    if Path(path).suffix == ".safetensors":
        write_synced(path, safetensors.torch.save(tensors))
        return
    buffer = io.BytesIO()
    torch.save(tensors, buffer)
    write_synced(path, buffer.getvalue())


def load_checkpoint(network: nn.Module, path: str | os.PathLike[str]) -> None:
    """Read a flat dict of tensors into the network, strictly; values take the network's dtype and device.

    The network is not touched unless every name and shape fits.

    Raises:
        InputError: no such file, not a checkpoint, weights of another network, or NaN and infinite values.
    """
    tensors = read_tensors(Path(path))
    expected = network.state_dict()
    missing = [name for name in expected if name not in tensors]
    unexpected = [name for name in tensors if name not in expected]
    reshaped = [
        f"{name} is {tuple(tensors[name].shape)}, expected {tuple(expected[name].shape)}"
        for name in expected
        if name in tensors and tensors[name].shape != expected[name].shape
    ]
    faults = [("missing", missing), ("unexpected", unexpected), ("of another shape", reshaped)]
    if any(names for _, names in faults):
        found = "; ".join(f"{len(names)} {kind} ({first_few(names)})" for kind, names in faults if names)
        raise InputError(
            f"{path}: these weights do not fit {type(network).__name__}: {found}; give the checkpoint of "
            "this network, or the preset that the checkpoint was trained with."
        )
    _check_finite(path, tensors, "a training that diverged wrote it, so give another checkpoint")
    network.load_state_dict(tensors)


def _check_finite(path: str | os.PathLike[str], tensors: Mapping[str, Tensor], advice: str) -> None:
    if wrong := non_finite(tensors):
        raise InputError(
            f"{path}: {len(wrong)} of {len(tensors)} tensors hold NaN or infinite values "
            f"({first_few(wrong)}), expected finite numbers; {advice}."
        )


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the flat dict of tensors in a checkpoint file, on the CPU.

    Raises:
        InputError: no such file, not readable without running code, or something else than such a dict.
    """
    if not path.is_file():
        raise InputError(
            f"{path}: there is no such checkpoint (looked for {path.absolute()}); train the model or fetch "
            "its weights, then give that file."
        )
    with open(path, "rb") as file:
        start = file.read(START_BYTES)
        if is_html(start):
            raise InputError(
                f"{path}: found a web page (HTML), expected a checkpoint: a login or an error was saved in "
                "its place; download the file itself again."
            )
        if start.startswith(b"version https://git-lfs"):
            raise InputError(f"{path}: found a Git LFS pointer, not the weights; run git lfs pull.")
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # zip, pickle, torch and safetensors each raise their own
        why = (
            "it holds Python objects"
            if "Weights only load failed" in str(error)
            else "cut short, or no checkpoint"
        )
        raise InputError(
            f"{path}: cannot be read as a dict of tensors ({why}); fetch it again, or save it with "
            "save_checkpoint."
        ) from error
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        held = (
            f"a dict with {first_few([str(k) for k in content])}" if isinstance(content, dict) else "no dict"
        )
        raise InputError(
            f"{path}: expected a flat dict of tensors, found {held}; save network.state_dict() alone."
        )
    return content


def load_trained(
    network: "TextSegmenter", path: str | os.PathLike[str], *, to_train: bool = False
) -> "TextSegmenter":
    """Load `path` into `network` and return it; the log says what it was trained on, where its record does.

    Args:
        to_train: training goes on from it, which may be with other settings; the log says so.

    Raises:
        InputError: a missing or unsuited checkpoint, or other settings (`settings_of`) or frozen bases than
            it was trained with.
    """
    load_checkpoint(network, path)
    check_bases(path, network.frozen_bases())
    record = _read_record(path)
    check_settings(path, record, settings_of(network), to_train=to_train)
    if "trained_on" in record:
        log.warning("%s: trained on %s. Research use only, not for diagnosis.", path, record["trained_on"])
    return network


def save_trained(network: "TextSegmenter", path: str | os.PathLike[str], *, half: bool) -> None:
    """Write the checkpoint and its record, which `load_trained` asks for; see `save_checkpoint`."""
    write_model_json(path, network.frozen_bases(), settings=settings_of(network))
    save_checkpoint(network, path, half=half)


def settings_of(network: "TextSegmenter") -> dict[str, Any]:
    """What a checkpoint of `network` depends on and its tensors do not show, named and nested as in configs.

    With other values than in training the weights fit all the same, and the masks are merely wrong.
    """
    return {
        "network_def": {
            "image_size": network.image_size,
            "framing": asdict(network.framing),
            "normalisation": network.normalisation,
            "threshold": network.threshold,
            **network.settings(),
        }
    }


def check_settings(
    checkpoint: str | os.PathLike[str],
    record: Mapping[str, Any],
    settings: Mapping[str, Any],
    *,
    to_train: bool = False,
) -> None:
    """Refuse to go on with other settings than a checkpoint was trained with.

    What the record does not say, as one of an older version, is not checked; the log names it.

    Args:
        checkpoint: for messages.
        record: the content of its model.json.
        settings: what `settings_of` says of the network in use.
        to_train: training goes on, and a difference is only logged.

    Raises:
        InputError: a setting has another value.
    """
    then = _by_id({name: record[name] for name in settings if name in record})
    now = _by_id(settings)
    if unknown := [name for name in now if name not in then]:
        log.warning(
            "%s: its record does not give the settings %s of its training, so they are not compared.",
            checkpoint,
            ", ".join(unknown),
        )
    different = [name for name in then if then[name] != now.get(name)]
    if not different:
        return
    found = ", ".join(
        f"{name} {json.dumps(then[name])} ({json.dumps(now.get(name))} is in use)" for name in different
    )
    if to_train:
        log.warning("%s: trained with %s; training continues with what is in use.", checkpoint, found)
        return
    if fixed := [name for name in different if name in OF_THE_CLASS]:
        raise InputError(
            f"{checkpoint}: trained with {found}; no override sets {', '.join(fixed)}, so give the "
            "checkpoint of this version of the network."
        )
    ids = ", ".join(OVERRIDDEN_BY.get(name, name) for name in different)
    raise InputError(
        f"{checkpoint}: trained with {found}; override {ids} with the checkpoint's values "
        "(network_def#preset decides those that the config does not list), or give another checkpoint."
    )


def _by_id(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by the ids that override them on a command line, such as "network_def#framing#window"."""
    flat: dict[str, Any] = {}
    for name, value in json.loads(json.dumps(settings)).items():  # tuples become the lists of a record
        parts = _by_id(value) if isinstance(value, dict) else {}
        flat |= {f"{name}#{key}": part for key, part in parts.items()} or {name: value}
    return flat


def write_model_json(
    checkpoint: str | os.PathLike[str], bases: Mapping[str, FrozenBase], *, settings: Mapping[str, Any]
) -> None:
    """Write model.json beside model.pt: `settings_of` its network, and which base stands in which part."""
    content = {
        **settings,
        "frozen_bases": {part: asdict(base) for part, base in bases.items()},
    }
    write_synced(Path(checkpoint).with_suffix(".json"), (json.dumps(content, indent=2) + "\n").encode())


def read_model_json(checkpoint: str | os.PathLike[str]) -> dict[str, FrozenBase]:
    """Return what `write_model_json` wrote; InputError when it is absent or something else."""
    return {part: FrozenBase(**entry) for part, entry in _read_record(checkpoint)["frozen_bases"].items()}


def _read_record(checkpoint: str | os.PathLike[str]) -> dict[str, Any]:
    """The content of model.json, with frozen bases that `FrozenBase` takes."""
    path = Path(checkpoint).with_suffix(".json")
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        for entry in content["frozen_bases"].values():
            FrozenBase(**entry)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{path}: cannot be read as the record of a checkpoint's frozen bases ({error!r}); fetch it "
            f"again together with {Path(checkpoint).name}."
        ) from error
    return content


def check_bases(checkpoint: str | os.PathLike[str], bases: Mapping[str, FrozenBase]) -> None:
    """Refuse to go on when a checkpoint was trained on other frozen weights than those in use.

    Nothing else would notice: names and shapes fit, and the results are merely wrong. A known base and its
    float16 copy (`KnownBase.half_sha256`) are the same but for rounding; the log says which is in use.

    Raises:
        InputError: the parts or the hashes differ, or model.json cannot be read.
    """
    recorded = read_model_json(checkpoint)
    for part in sorted(recorded.keys() | bases.keys()):
        then, now = recorded.get(part), bases.get(part)
        if then is None or now is None or published_sha256(then.sha256) != published_sha256(now.sha256):
            raise InputError(
                f"{Path(checkpoint)}: trained with {_base_text(then)} as {part}, but {_base_text(now)} is in "
                "use; give the network the base that the checkpoint was trained with."
            )
        if then.sha256 != now.sha256:
            log.info("%s: %s is in use, the same weights in another precision", part, _base_text(now))


def _base_text(base: FrozenBase | None) -> str:
    if base is None:
        return "no frozen base"
    return f"{base.model} (revision {base.revision}, sha256 {base.sha256[:12]}...)"

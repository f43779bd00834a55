"""The text encoder inside a packed bundle: float16 weights, tokenizer, licence; configs that point there."""

import hashlib
import json
import re

import safetensors.torch

from common.errors import InputError
from common.weights.pretrained import KNOWN_BASES, FrozenBase, find_pretrained

FOLDER = "models/text_encoder"
SIDE_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json")

NOTICE = """{model}, revision {revision}
https://huggingface.co/{model}
Licence: {licence}

What was changed: the weights are rounded from float32 (sha256 {sha256})
to float16 (sha256 {half_sha256}).
Settings and tokenizer are as published.
"""


def is_packed(base: FrozenBase) -> bool:
    """Whether a base is small enough to go into the zip: one whose float16 copy is known by its hash."""
    return base.model in KNOWN_BASES and KNOWN_BASES[base.model].half_sha256 is not None


def text_encoder_files(base: FrozenBase) -> dict[str, bytes]:
    """Return {path in the bundle: content} of a known base in float16.

    Raises:
        InputError: the base is not to be found, or its float16 copy is not the known one.
    """
    known, folder = KNOWN_BASES[base.model], find_pretrained(base.model)
    if missing := [name for name in SIDE_FILES if not (folder / name).is_file()]:
        raise InputError(f"{folder}: {', '.join(missing)} missing; fetch {base.model} again.")
    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    half = {name: value.half() if value.is_floating_point() else value for name, value in tensors.items()}
    weights = safetensors.torch.save(half, metadata={"format": "pt"})
    if (found := hashlib.sha256(weights).hexdigest()) != known.half_sha256:
        raise InputError(
            f"{folder}: its float16 copy has sha256 {found}, expected {known.half_sha256} of KNOWN_BASES in "
            "common/weights/pretrained.py; use the safetensors version in requirements.txt."
        )
    notice = NOTICE.format(model=base.model, **vars(known))
    contents = {name: (folder / name).read_bytes() for name in SIDE_FILES}
    contents |= {"model.safetensors": weights, "NOTICE.txt": notice.encode()}
    return {f"{FOLDER}/{name}": content for name, content in contents.items()}


def point_at_text_encoder(path: str, content: bytes) -> bytes:
    """Return a config whose network_def has the packed folder for `"text_model": null` with its own preset.

    A config without that key stays as it is; another preset still finds its own encoder.

    Raises:
        InputError: `text_model` is there with another value, or there is no `preset` beside it.
    """
    config = json.loads(content)
    network = config.get("network_def")
    if not isinstance(network, dict) or "text_model" not in network:
        return content
    if network["text_model"] is not None or not isinstance(network.get("preset"), str):
        raise InputError(
            f"{path}: found text_model {network['text_model']!r} and preset {network.get('preset')!r} in "
            "network_def, expected null and a name, so that the packed text encoder can stand there; change "
            "the config."
        )
    value = f"$@bundle_root + '/{FOLDER}' if @network_def#preset == '{network['preset']}' else None"
    # As text, so that the rest of the file stays as it was written.
    changed = re.sub(rb'("text_model":\s*)null', rb"\1" + json.dumps(value).encode(), content, count=1)
    if json.loads(changed) != {**config, "network_def": {**network, "text_model": value}}:
        raise InputError(
            f"{path}: found another text_model before that of network_def, expected none; move that one down."
        )
    return changed

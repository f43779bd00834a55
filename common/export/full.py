"""A network in one folder, base encoders included: adapters are folded in where they can be."""

import logging
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from peft import PeftModel

from ..errors import InputError
from ..layers.adapters import fold_adapters
from ..networks.base import TextSegmenter
from ..weights.checkpoints import save_checkpoint, settings_of, write_model_json
from ..weights.pretrained import FrozenBase, frozen_base

_log = logging.getLogger(__name__)


def export_full(network: TextSegmenter, folder: str | os.PathLike[str]) -> None:
    """Write `folder`: a transformers folder for each base encoder, and the rest as `model.pt` with its
    record.

    The network itself is changed (`fold_adapters`). To use it: give the folders as the encoders' models,
    adapter "none" if the tuning was "lora", and `model.pt` as checkpoint; for SAM's family also the
    `image_normalisation` that the record has as `normalisation`. No hub is asked.

    Raises:
        InputError: `folder` exists or cannot be written, or an encoder is tuned by a prefix.
    """
    folder = Path(folder)
    if folder.exists():
        raise InputError(f"{folder}: exists already; give another folder, or remove it.")
    for part in network.frozen_bases():
        if isinstance(getattr(network, part).model, PeftModel):
            raise InputError(
                f"{part}: found a prefix, which cannot be folded into the encoder's weights, expected "
                "another tuning; keep the checkpoint as it is."
            )
    folded = fold_adapters(network)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=folder.parent) as name:
        partial = Path(name) / "full"
        partial.mkdir()
        bases = {
            part: _save_encoder(getattr(network, part), partial / part) for part in network.frozen_bases()
        }
        save_checkpoint(network, partial / "model.pt", half=False)
        write_model_json(partial / "model.pt", bases, settings=settings_of(network))
        shutil.move(partial, folder)
    _log.info(
        "%s: %d adapters folded in; encoders: %s; image_normalisation %s",
        folder,
        folded,
        ", ".join(bases) or "none frozen",
        network.normalisation,
    )


def _save_encoder(encoder: Any, folder: Path) -> FrozenBase:
    """Its transformers model, and tokenizer if it has one; returns the record of what was written."""
    encoder.model.save_pretrained(folder)
    if getattr(encoder, "tokenizer", None) is not None:
        encoder.tokenizer.save_pretrained(folder)
    return frozen_base(str(folder))

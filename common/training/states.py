"""The whole state of a training, kept so that a killed run goes on from where it was.

A state file is named after its epoch and the start of its own SHA-256 (torch.hub's way to name weights), so
that one renaming publishes file and checksum together. It holds state dicts alone and is read with
`weights_only=True`. It holds no generators' states: every draw is a function of seed, epoch and index.
"""

import hashlib
import io
import json
import logging
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events

from ..errors import InputError
from ..files import remove_partial_files, write_synced
from ..fingerprint import source_sha256
from ..weights.finite import non_finite

_log = logging.getLogger(__name__)

SHOWN = 8  # settings that differ
_NAME = re.compile(r"epoch_(\d+)-([0-9a-f]{16})\.pt")
# Ids of a config that may differ: places, what is only watched or kept, speed, how a run is started, and what
# the bundle's metadata say of it.
# All else is compared; of datalist and init_checkpoint the content, by its hash.
MAY_DIFFER = {
    *("bundle_root", "dataset_dir", "datalist", "ckpt_dir", "output_dir", "checkpoint"),
    *("init_checkpoint", "device", "first_process", "keep_states", "val_interval", "images", "half"),
    *("slice_batch", "slice_store", "num_workers", "activation_checkpointing", "timeout_minutes"),
    *("imports", "initialize", "finalize", "run", "training", "evaluating", "network"),
    *("tracking_uri", "experiment_name", "run_name", "save_execute_config", "is_not_rank0"),
    *("_meta_", "train#handlers", "validate#handlers", "validate#inferer#slice_batch"),
    "network_def#text_bank",
}


class TrainingStates:
    """Handler of the trainer that goes on from the newest sound state and saves a new one after each epoch.

    Attach it after what an epoch's end changes (learning rate, validation). Of several processes the first
    one writes; all of them read, so `folder` has to be one that all of them see.

    Args:
        folder: where the states are kept; one folder a run.
        objects: what makes the state, each with `state_dict` and `load_state_dict`: network (without
            DistributedDataParallel), optimizer, learning-rate scheduler, best score. The trainer's gradient
            scaler, epoch and iteration are kept besides.
        datalist: whose content two runs must share, since draws are numbers of its items.
        init_checkpoint: from which the training began, or None; its content must be shared as well, wherever
            the file lies.
        checkpoint: which the training writes. Where it began from that file, its content is another one by
            now and is not compared.
        keep: how many states to keep; an older one goes when a newer one is safely on the disk.
        further: settings that two runs of this training must share beside their configs, such as one of
            `MAY_DIFFER` that decides something here.

    A run goes on from the state of another one only if their whole configs agree, but for `MAY_DIFFER`. The
    config is the engine's `config`, see `Trainer`; a warning says so where it has none.

    Raises:
        InputError: a state of a run with other settings (when the engine starts), values that are NaN or
            infinite, or a full disk.
    """

    def __init__(
        self,
        *,
        folder: str | os.PathLike[str],
        objects: Mapping[str, Any],
        datalist: str | os.PathLike[str],
        init_checkpoint: str | os.PathLike[str] | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        keep: int = 2,
        further: Mapping[str, Any] | None = None,
    ) -> None:
        if keep < 1:
            raise InputError(f"keep_states: found {keep}, expected 1 or more; raise it.")
        self.folder = Path(folder)
        self.objects = dict(objects)
        self.files = {"datalist": datalist, "init_checkpoint": init_checkpoint}
        self.checkpoint = checkpoint
        self.keep = keep
        self.further = {name: json.dumps(value) for name, value in (further or {}).items()}
        self._settings: dict[str, str] = {}

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self.resume)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.save)

    def resume(self, engine: Engine) -> None:
        """Bring the engine and all objects to the newest sound state, where there is one."""
        contents = {f"{name}_sha256": self._content_of(path) for name, path in self.files.items()}
        config = getattr(engine, "config", None)
        processes = {"processes": str(idist.get_world_size())}
        self._settings = compared(config or {}) | self.further | contents | processes
        found = newest_sound_state(self.folder)
        if idist.get_rank() == 0:
            remove_partial_files(self.folder)
        if found is None:
            return
        path, state = found
        if config is None:
            _log.warning(
                "%s: the settings of this training are not known, so they are not compared; set the "
                "trainer's config.",
                path,
            )
        _check_settings(path, state["settings"], self._settings)
        for name, target in self._targets(engine).items():
            target.load_state_dict(state["objects"][name])
        engine.state.epoch, engine.state.iteration = state["epoch"], state["iteration"]
        left = 0 if engine.should_terminate else (engine.state.max_epochs or 0) - engine.state.epoch
        _log.info(
            "going on from %s: epoch %d is done, %s",
            path,
            engine.state.epoch,
            f"{left} to go"
            if left > 0
            else "none is left; give its checkpoint as init_checkpoint to train longer",
        )

    def _content_of(self, path: str | os.PathLike[str] | None) -> str:
        if path is None:
            return "none"
        if self.checkpoint is not None and Path(path).resolve() == Path(self.checkpoint).resolve():
            return "of the checkpoint that this training writes"
        return source_sha256(path)

    def save(self, engine: Engine) -> None:
        """Write the state, then remove those that are too old.

        Raises:
            InputError: the disk is full, or a value of the state is NaN or infinite.
        """
        if idist.get_rank() != 0:
            return
        state = {
            "epoch": engine.state.epoch,
            "iteration": engine.state.iteration,
            "settings": self._settings,
            "objects": {name: target.state_dict() for name, target in self._targets(engine).items()},
        }
        if wrong := non_finite(state["objects"]):
            raise InputError(
                f"{self.folder}: the state of epoch {engine.state.epoch} is not kept, as {len(wrong)} of its "
                f"tensors ({wrong[0]} first) hold NaN or infinite values, expected finite numbers; lower "
                "learning_rate."
            )
        buffer = io.BytesIO()
        torch.save(state, buffer)
        content = buffer.getvalue()
        digest = hashlib.sha256(content).hexdigest()[:16]
        path = self.folder / f"epoch_{engine.state.epoch:05d}-{digest}.pt"
        try:
            write_synced(path, content)
        except InputError as error:
            kept = [old.name for old in states(self.folder)]
            raise InputError(f"{error} Older states are whole: {', '.join(kept) or 'none yet'}.") from error
        others = [old for old in states(self.folder) if old != path]
        damaged = [old for old in others if _epoch(old) >= engine.state.epoch]  # this run passed them over
        sound = [old for old in others if old not in damaged]
        for old in (*damaged, *sound[self.keep - 1 :]):
            old.unlink()

    def _targets(self, engine: Engine) -> dict[str, Any]:
        scaler = getattr(engine, "scaler", None)  # MONAI's trainer makes it when it starts
        return self.objects if scaler is None else {**self.objects, "scaler": scaler}


def states(folder: Path) -> list[Path]:
    """State files in `folder`, the newest first."""
    return sorted(
        (path for path in folder.glob("*.pt") if _NAME.fullmatch(path.name)), key=_epoch, reverse=True
    )


def _epoch(path: Path) -> int:
    match = _NAME.fullmatch(path.name)
    assert match is not None
    return int(match[1])


def newest_sound_state(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """The newest state whose content is what was written, all of it finite; the log names those passed over.

    Raises:
        InputError: there are states, but none is sound.
    """
    broken = []
    for path in states(folder):
        content = path.read_bytes()
        if not path.stem.endswith(hashlib.sha256(content).hexdigest()[:16]):
            fault = f"cut short or changed ({len(content)} bytes)"
        else:
            state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
            wrong = non_finite(state["objects"])
            if not wrong:
                return path, state
            fault = f"{len(wrong)} tensors ({wrong[0]} first) hold NaN or infinite values"
        broken.append(path.name)
        _log.warning("%s: %s, so an older state is looked for", path, fault)
    if broken:
        raise InputError(
            f"{folder}: none of the {len(broken)} training states is whole and of finite numbers "
            f"({', '.join(broken)}); remove them to train from the beginning, or restore one from a backup."
        )
    return None


def _check_settings(path: Path, then: Mapping[str, str], now: Mapping[str, str]) -> None:
    different = [
        f"{name} was {then.get(name, 'not set')} and is {now.get(name, 'not set')}"
        for name in sorted(then.keys() | now.keys())
        if then.get(name) != now.get(name)
    ]
    if different:
        more = f"; and {len(different) - SHOWN} more" if len(different) > SHOWN else ""
        raise InputError(
            f"{path}: a run with other settings wrote this state ({'; '.join(different[:SHOWN])}{more}); "
            "give the same settings to go on with it, or another ckpt_dir (or remove the states) to train "
            "anew."
        )


def compared(config: Mapping[str, Any]) -> dict[str, str]:
    """{id: value as JSON} of all that two runs of a config must share, such as {"epochs": "60"}."""
    return {
        name: json.dumps(value, default=str)
        for name, value in _leaves(config, "")
        if not any(name == free or name.startswith(f"{free}#") for free in MAY_DIFFER)
    }


def _leaves(content: Any, name: str) -> Iterator[tuple[str, Any]]:
    parts = content.items() if isinstance(content, Mapping) else enumerate(content)
    for key, value in parts:
        where = f"{name}#{key}" if name else str(key)
        if isinstance(value, Mapping | list | tuple) and value:
            yield from _leaves(value, where)
        else:
            yield where, value

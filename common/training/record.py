"""What a run was: enough to repeat it."""

import json
import logging
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import ignite.distributed as idist
from ignite.engine import Engine, Events

from .. import __version__
from ..data.datalist import load_json, parse_sections
from ..files import write_synced
from ..fingerprint import source_sha256

_log = logging.getLogger(__name__)
PACKAGES = ("torch", "monai", "pytorch-ignite", "transformers", "peft", "numpy", "scipy", "nibabel")


class RunRecord:
    """Handler that writes `run.json` and `config.json` to the run's folder when its engine starts.

    `config.json` is the engine's `config`, where it has one: see `Trainer`. It runs by itself:
    `python -m monai.bundle run training --config_file config.json`. `run.json` says when, where and with
    what: versions, commit, SHA-256 of the datalist, the cases and patients of each split, the number of
    processes. A run that goes on adds an entry to `run.json`; earlier ones stay.

    Args:
        output_dir: the run's folder.
        datalist: see `common.data.datalist`.
        seed: of all draws.
    """

    def __init__(
        self, *, output_dir: str | os.PathLike[str], datalist: str | os.PathLike[str], seed: int
    ) -> None:
        self.output_dir = Path(output_dir)
        self.datalist = Path(datalist)
        self.seed = seed

    def attach(self, engine: Engine) -> None:
        if idist.get_rank() == 0:
            engine.add_event_handler(Events.STARTED, self)

    def __call__(self, engine: Engine) -> None:
        path = self.output_dir / "run.json"
        entries = json.loads(path.read_text("utf-8")) if path.is_file() else []
        _write(path, [*entries, self.facts()])
        config = getattr(engine, "config", None)
        if config is not None:
            _write(self.output_dir / "config.json", config)

    def facts(self) -> dict[str, Any]:
        """The entry of `run.json`."""
        return {
            **_circumstances(),
            "seed": self.seed,
            "datalist": _file(self.datalist),
            "split": dict(_split(self.datalist)),
        }


class EvaluationRecord:
    """Handler that writes `evaluation.json` beside the results: when, where, with what, and of what.

    A warning says so when it replaces one of another checkpoint, datalist or section.

    Args:
        output_dir: folder of the results.
        datalist, section: what is evaluated on.
        checkpoint: file of the weights; None for a network as it is.
    """

    def __init__(
        self,
        *,
        output_dir: str | os.PathLike[str],
        datalist: str | os.PathLike[str],
        section: str,
        checkpoint: str | os.PathLike[str] | None,
    ) -> None:
        self.path = Path(output_dir) / "evaluation.json"
        self.datalist = Path(datalist)
        self.section = section
        self.checkpoint = None if checkpoint is None else Path(checkpoint)
        self._facts: dict[str, Any] = {}

    def attach(self, engine: Engine) -> None:
        if idist.get_rank() == 0:
            engine.add_event_handler(Events.STARTED, self._start)
            engine.add_event_handler(Events.COMPLETED, lambda: _write(self.path, self._facts))

    def _start(self, _engine: Engine) -> None:
        subject = {
            "checkpoint": None if self.checkpoint is None else _file(self.checkpoint),
            "datalist": _file(self.datalist),
            "section": self.section,
        }
        self._facts = {**_circumstances(), **subject}
        if self.path.is_file():
            earlier = json.loads(self.path.read_text("utf-8"))
            if other := [name for name in subject if _what(earlier.get(name)) != _what(subject[name])]:
                _log.warning(
                    "%s: results of another %s are there and will be replaced; give another output_dir to "
                    "keep them.",
                    self.path.parent,
                    " and ".join(other),
                )


def _circumstances() -> dict[str, Any]:
    """When, where and with what a run was."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "processes": idist.get_world_size(),
        "versions": {"common": __version__, "python": platform.python_version(), **dict(_versions())},
        "git_commit": git_commit(),
        "machine": {
            "system": platform.platform(),
            "processor": platform.machine(),
            "cores": os.cpu_count(),
        },
    }


def _file(path: Path) -> dict[str, str]:
    return {"path": str(path.absolute()), "sha256": source_sha256(path)}


def _what(entry: Any) -> Any:
    """A file is the same one wherever it lies."""
    return entry.get("sha256") if isinstance(entry, dict) else entry


def git_commit() -> str | None:
    """Commit of the repository that holds this code, "+changes" where files differ; None outside of one."""
    folder = Path(__file__).parent
    vendored = folder.parent / "VENDORED.json"  # a packaged bundle says what it was built from
    if vendored.is_file():
        return str(json.loads(vendored.read_text("utf-8")).get("commit"))
    commit = _git(folder, "rev-parse", "HEAD")
    return commit and commit + ("+changes" if _git(folder, "status", "--porcelain", "-uno") else "")


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def _versions() -> Iterator[tuple[str, str]]:
    for name in PACKAGES:
        yield name, metadata.version(name)


def _split(datalist: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """{case: patient} of each section that there is, whatever kind of items (organs, sentences) it has."""
    for section, cases in parse_sections(datalist, load_json(datalist)).items():
        yield section, {case.case: case.patient for case in cases}


def _write(path: Path, content: Any) -> None:
    text = json.dumps(content, indent=2, default=str)
    write_synced(path, (text + "\n").encode())

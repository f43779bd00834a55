"""Results of single trainings, kept in a folder, so that a command that is given again goes on."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common.data.items import Case
from common.errors import InputError
from common.files import atomic_path
from common.fingerprint import source_sha256, value_sha256


class Cell:
    """The result of one training: a JSON file, whose name says what was trained.

    Args:
        folder: of the study's cells.
        name: of the arm, for people.
        settings: all that the result depends on and JSON can hold. Other settings are another cell. The
            program itself is not among them: after a change of it, choose another folder.
    """

    def __init__(self, folder: Path, name: str, settings: Mapping[str, Any]) -> None:
        self.settings = dict(settings)
        self.stem = f"{slug(name)}-{value_sha256(self.settings)[:12]}"
        self.path = folder / f"{self.stem}.json"
        self.snapshot = folder / f"{self.stem}.pt"  # of a training that has not ended

    def read(self) -> dict[str, Any] | None:
        """The result; None where there is none yet.

        Raises:
            InputError: the file is no result.
        """
        if not self.path.is_file():
            return None
        try:
            return dict(json.loads(self.path.read_text("utf-8")))
        except (ValueError, TypeError) as error:
            raise InputError(
                f"{self.path}: cannot be read as the result of a training ({error}), expected JSON as the "
                "study wrote it; delete the file, so that the training is done again."
            ) from error

    def write(self, result: Mapping[str, Any]) -> dict[str, Any]:
        """Keep a result, and let go of the snapshot; returns what a later `read` gives."""
        with atomic_path(self.path) as path:
            path.write_text(json.dumps({"settings": self.settings, **result}) + "\n", encoding="utf-8")
        self.snapshot.unlink(missing_ok=True)
        found = self.read()
        assert found is not None
        return found


def slug(name: str) -> str:
    """A file's name of an arm's: "Med-VLM compact, names" -> "med-vlm-compact-names"."""
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-")


def data_sha256(*sections: Sequence[Case]) -> str:
    """Hash of the files' content and of what the items say, in the order of the sections."""
    hashes: dict[Path, str] = {}

    def of_file(path: Path | None) -> str | None:
        if path is not None and path not in hashes:
            hashes[path] = source_sha256(path)
        return None if path is None else hashes[path]

    return value_sha256(
        [
            [
                (
                    *(item.case, item.patient, item.targets, item.absent, item.prompts, item.lesions),
                    *(item.slice_index, of_file(item.image), of_file(item.label)),
                )
                for item in section
            ]
            for section in sections
        ]
    )

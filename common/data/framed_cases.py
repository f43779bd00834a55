"""The axial slices that a case is about, in a network's field: in memory, or in a store on the disk."""

import hashlib
import json
import os
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ..errors import InputError
from ..files import write_synced
from .faults import Faults
from .framing import Framing
from .items import Case
from .labelled import LabelledReader, plane_of

_FORMAT = 4  # of the store's files; raise it when what `frame_case` makes of a case changes
_OPEN_FILES = 256  # at once: systems often allow a process 1,024


class SliceSource(Protocol):
    """A case's slices, one at a time: all of its volume, or the only one that it is about."""

    @property
    def present(self) -> dict[int, np.ndarray]:
        """{label number: slices (n,) that hold at least one of its pixels}."""

    @property
    def vanished(self) -> dict[int, np.ndarray]:
        """{label number: slices (n,) that hold it in the label map and none of it in the field}."""

    @property
    def case(self) -> str:
        """Id."""

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Of the volume, along (D, H, W)."""

    @property
    def first(self) -> int:
        """Which slice of the volume is number 0 here."""

    def __len__(self) -> int:
        """Number of slices."""

    def read(self, index: int) -> tuple[Tensor, Tensor]:
        """Slice `index`: image (C, S, S) float16 in [0, 1] and label numbers (S, S) uint8."""


@dataclass(frozen=True)
class FramedCase:
    """A `SliceSource` in memory: images (D, C, S, S) float16 and labels (D, S, S) uint8."""

    images: Tensor
    labels: Tensor
    present: dict[int, np.ndarray]
    vanished: dict[int, np.ndarray]
    case: str
    spacing_mm: tuple[float, float, float]
    first: int

    def __len__(self) -> int:
        return len(self.images)

    def read(self, index: int) -> tuple[Tensor, Tensor]:
        return self.images[index], self.labels[index]


def frame_case(case: Case, *, size: int, framing: Framing) -> FramedCase:
    """Read a case and bring it into fields of `size` x `size` pixels.

    A case about one slice has that one alone, since nothing says what is in the others. One without a label
    map has background alone. Label numbers above 255 become background, as datalists name none.

    Raises:
        InputError: neither a label file nor anything absent, unreadable files, image and labels on different
            grids, or no such slice.
    """
    if case.label is None and not case.absent:
        raise InputError(
            f"{case.image}: this case has no label file, but training needs one; add 'label', or list in "
            "'absent' what the image certainly does not show."
        )
    read = LabelledReader()(case)
    image, labels = read.image, read.labels
    framing.warn_if_contradicted(image)
    planes = range(len(labels)) if case.slice_index is None else [plane_of(case, len(labels))]
    frame = framing.frame(image, size)
    images = framing.field(image, planes, frame).half()
    labels = labels[planes]
    numbers = np.where((labels > 0) & (labels <= 255), labels, 0).astype(np.float32)
    framed = frame.to_field(torch.from_numpy(numbers)[:, None], mode="nearest-exact")[:, 0].byte()
    before, present = _present(numbers.astype(np.uint8)), _present(framed.numpy())
    none = np.empty(0, int)
    lost = {number: np.setdiff1d(found, present.get(number, none)) for number, found in before.items()}
    vanished = {number: slices for number, slices in lost.items() if len(slices)}
    return FramedCase(images, framed, present, vanished, case.case, image.spacing_mm, planes[0])


def _present(labels: np.ndarray) -> dict[int, np.ndarray]:
    counts = np.stack([np.bincount(slice_.ravel(), minlength=256) for slice_ in labels])
    numbers = np.flatnonzero(counts[:, 1:].any(axis=0)) + 1
    return {int(number): np.flatnonzero(counts[:, number]) for number in numbers}


class StoredCase:
    """A `SliceSource` in a file of a store, mapped into memory; every slice is checked as it is read.

    The file is a row of records, one a slice: image (C, S, S) float16, labels (S, S) uint8. The JSON beside
    it has the rest, with a CRC-32 for each record. It is written last, so that a case without one is not
    there yet.
    """

    def __init__(self, path: Path) -> None:
        content = json.loads(path.with_suffix(".json").read_text("utf-8"))
        self.path = path
        self.size = int(content["size"])
        self.channels = int(content["channels"])
        self.crc32: list[int] = content["crc32"]
        self.case = str(content["case"])
        depth, height, width = content["spacing_mm"]
        self.spacing_mm = (float(depth), float(height), float(width))
        self.first = int(content["first"])
        self.present, self.vanished = (
            {int(number): np.array(found) for number, found in content[key].items()}
            for key in ("present", "vanished")
        )
        if path.stat().st_size != len(self) * _record(self.channels, self.size).itemsize:
            raise ValueError(f"{path.stat().st_size} bytes")

    def __len__(self) -> int:
        return len(self.crc32)

    def read(self, index: int) -> tuple[Tensor, Tensor]:
        """As `SliceSource.read`.

        Raises:
            InputError: the file was changed or damaged.
        """
        record = np.array(_mapped(self.path, self.channels, self.size)[index])
        if zlib.crc32(record.tobytes()) != self.crc32[index]:
            raise InputError(
                f"{self.path}: slice {index} differs from what was written (damaged disk or changed file); "
                "remove the file and start again, which builds it anew."
            )
        return torch.from_numpy(record["image"].copy()), torch.from_numpy(record["label"].copy())


def open_store(
    folder: str | os.PathLike[str],
    cases: Sequence[Case],
    *,
    size: int,
    framing: Framing,
    progress: bool = True,
    start: int = 0,
) -> list[StoredCase]:
    """The cases' slices in `folder`; what is not there yet is built, and a killed build goes on.

    A case is built anew when its files (path, size, time), its slice, `size` or `framing` change. Several
    processes may build at once: each file appears by renaming, and with different `start`s they share the
    work.

    Args:
        folder: of the store; 192 KiB a slice at 256 pixels, 768 KiB at 512.
        cases: of a datalist.
        size: side in pixels of the fields.
        framing: what they show.
        progress: show a bar.
        start: place in the list to begin at.

    Raises:
        InputError: as `frame_case`, or the folder cannot be written to.
    """
    found: dict[int, StoredCase] = {}
    faults = Faults("training cases")
    order = [(start + place) % len(cases) for place in range(len(cases))]
    for index in tqdm(order, desc="slice store", unit="case", disable=not progress):
        path = Path(folder) / f"{cases[index].case}-{_key(cases[index], size, framing)}.slices"
        try:
            found[index] = StoredCase(path)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):  # not there, or not whole
            framed = None
            with faults.collected():
                framed = frame_case(cases[index], size=size, framing=framing)
            if framed is not None:
                _store(path, framed)
                found[index] = StoredCase(path)
    faults.check()
    return [found[index] for index in range(len(cases))]


def _store(path: Path, framed: FramedCase) -> None:
    _, channels, size, _ = framed.images.shape
    records = np.empty(len(framed), _record(channels, size))
    records["image"], records["label"] = framed.images.numpy(), framed.labels.numpy()
    content: dict[str, Any] = {
        "case": framed.case,
        "size": size,
        "channels": channels,
        "spacing_mm": framed.spacing_mm,
        "first": framed.first,
        "present": {number: found.tolist() for number, found in framed.present.items()},
        "vanished": {number: found.tolist() for number, found in framed.vanished.items()},
        "crc32": [zlib.crc32(record.tobytes()) for record in records],
    }
    write_synced(path, records.tobytes())
    write_synced(path.with_suffix(".json"), json.dumps(content).encode())


def _key(case: Case, size: int, framing: Framing) -> str:
    """What a stored case depends on, as 16 hexadecimal digits."""
    files = [(str(file.absolute()), file.stat()) for file in (case.image, case.label) if file is not None]
    facts = [
        _FORMAT,
        size,
        case.slice_index,
        asdict(framing),
        *((name, stat.st_size, stat.st_mtime_ns) for name, stat in files),
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def _record(channels: int, size: int) -> np.dtype[Any]:
    return np.dtype([("image", "<f2", (channels, size, size)), ("label", "u1", (size, size))])


@lru_cache(maxsize=_OPEN_FILES)
def _mapped(path: Path, channels: int, size: int) -> np.ndarray:
    return np.memmap(path, dtype=_record(channels, size), mode="r")

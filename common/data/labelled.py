"""An image with its label map, in any format that can be read."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..text.vocabulary import Vocabulary
from .images import exif_orientation
from .items import Case, is_image_2d
from .label_maps import read_label_map
from .readers import is_blank, read_any
from .volumes import Volume

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Region:
    """Part of a label map: what a prompt means.

    Attributes:
        labels: (D, H, W) whole numbers.
        values: those that belong to the region; None for all but 0, () for none.
        plane: the only slice that counts; None for all of them.
    """

    labels: np.ndarray
    values: tuple[int, ...] | None
    plane: int | None = None

    def mask(self) -> np.ndarray:
        """(D, H, W) bool."""
        if self.plane is None:
            return _chosen(self.labels, self.values)
        mask = np.zeros(self.labels.shape, bool)
        mask[self.plane] = _chosen(self.labels[self.plane], self.values)
        return mask


@dataclass(frozen=True)
class LabelledImage:
    """What an item of a datalist names.

    Attributes:
        image: all of it, whatever slice the item is about.
        labels: (D, H, W) whole numbers in the same voxels; zeros where the item has no label map.
    """

    image: Volume
    labels: np.ndarray

    def meant(self, item: Case) -> Region:
        """What the sentences of an item mean, on its slice.

        Raises:
            InputError: no such slice; or the label map lacks one of the lesions there, or has none at all.
        """
        plane = plane_of(item, len(self.labels))
        _check_there(item, self.labels[plane])
        return Region(self.labels, item.lesions, plane)


class LabelledReader:
    """Reads the images of items; keeps the last one, whose slices are often asked for in a row."""

    def __init__(self) -> None:
        self._kept: tuple[tuple[Path, Path | None], LabelledImage] | None = None
        self._looked_at: set[Path] = set()  # a training validates its cases again and again

    def __call__(self, item: Case) -> LabelledImage:
        """Read an item's image and label map.

        Raises:
            InputError: unreadable files, or image and label map of different grids.
        """
        files = item.image, item.label
        if item.label is not None and is_image_2d(item.image) and item.image not in self._looked_at:
            self._looked_at.add(item.image)
            _warn_if_turned_apart(item.image, item.label)
        if self._kept is None or self._kept[0] != files:
            self._kept = files, _read(item.image, item.label)
        return self._kept[1]


def plane_of(item: Case, depth: int) -> int:
    """The slice that an item is about, of a volume of `depth` slices; 0 where it names none.

    Raises:
        InputError: no such slice.
    """
    plane = item.slice_index or 0
    if plane >= depth:
        raise InputError(
            f'{item.image}: the case "{item.case}" asks for slice {plane}, but the volume has {depth} '
            "slices, counted from 0, the most inferior one; correct the item's slice."
        )
    return plane


def check_absent(
    item: Case,
    labels: Mapping[str, Sequence[int]],
    holds: Callable[[Sequence[int]], bool],
    vocabulary: Vocabulary,
) -> None:
    """Refuse a label map with voxels of a structure that its item lists as absent, under any name.

    Args:
        item: of a datalist.
        labels: {organ: its numbers in the label map}.
        holds: whether the label map has a voxel of any of some numbers.
        vocabulary: tells which names mean one organ.

    Raises:
        InputError: it has one.
    """
    for name in item.absent:
        for organ, numbers in labels.items():
            if vocabulary.same(name, organ) and holds(numbers):
                raise InputError(
                    f'{item.label}: the label map has voxels of "{organ}" (label '
                    f'{", ".join(map(str, numbers))}), but the case "{item.case}" says "{name}" is absent, '
                    'expected none; correct the label map, or remove the name from the item\'s "absent".'
                )


def _warn_if_turned_apart(image: Path, label: Path) -> None:
    """Say when EXIF turns an image and not its label map, or the other way: one of them may lie wrong."""
    turned, own = exif_orientation(image), exif_orientation(label)
    if turned != own:
        _log.warning(
            "%s: its EXIF orientation is %d and that of the label map %s is %d, expected the same; each is "
            "turned upright by its own, so save both again without EXIF if the label map was drawn on the "
            "stored pixels.",
            image,
            turned,
            label,
            own,
        )


def _read(image: Path, label: Path | None) -> LabelledImage:
    volume = read_any(image)
    if is_blank(volume):  # of hundreds of cases that are trained on, one does no harm
        _log.warning(
            "%s: every voxel is %g, so there is nothing to see; leave the item out.",
            image,
            volume.slices.min(),
        )
    if label is None:
        return LabelledImage(volume, np.zeros(volume.slices.shape, np.uint8))
    return LabelledImage(volume, read_label_map(label, like=volume).slices)


def _chosen(labels: np.ndarray, values: tuple[int, ...] | None) -> np.ndarray:
    if values is None:
        return labels > 0
    return labels == values[0] if len(values) == 1 else np.isin(labels, values)


def _check_there(item: Case, labels: np.ndarray) -> None:
    """Refuse lesions that the slice (H, W) lacks."""
    place = "" if item.slice_index is None else f" in slice {item.slice_index}"
    if item.lesions is None and not (labels > 0).any():
        raise InputError(
            f'{item.label}: the label map of the case "{item.case}" is empty{place}, expected what its '
            'sentences refer to; correct the label map or the slice, or write "lesion": [] if they mean '
            "nothing here."
        )
    if missing := [lesion for lesion in item.lesions or () if not (labels == lesion).any()]:
        found = ", ".join(map(str, np.unique(labels[labels > 0]))) or "none"
        raise InputError(
            f'{item.label}: the lesion {missing[0]} of the case "{item.case}" is not there{place} '
            f"(lesions found: {found}); correct the item's lesion or slice."
        )

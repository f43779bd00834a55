"""Label maps that are made of what users have: a file for each organ, or masks as JPEG and in colours."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from common.data.images import LABEL_MODES, Image2D, write_labels_png
from common.data.label_maps import read_label_map
from common.data.readers import read_any
from common.data.volumes import Volume, write_labels
from common.errors import InputError
from common.text.prompts import MAX_LABEL

NEAR = 64  # of a JPEG's black or white: compression changes grey values near edges


class OrganMaps:
    """Makes one label map of the masks of a case's organs.

    Where masks overlap, as a tumour's and its organ's, the voxels get a number that has several names.

    Attributes:
        names: {number: its names} of all label maps so far.
    """

    def __init__(self) -> None:
        self._numbers: dict[tuple[str, ...], int] = {}
        self._used: set[int] = set()

    @property
    def names(self) -> dict[int, tuple[str, ...]]:
        every = {number: organs for organs, number in self._numbers.items()}
        return {
            number: organs for number, organs in every.items() if len(organs) == 1 or number in self._used
        }

    def write(self, organs: Mapping[str, Path], image: Volume, path: Path) -> None:
        """Write the label map of a case to `path`.

        Raises:
            InputError: an unreadable mask, one on another grid or of several values, or too many organs.
        """
        labels = np.zeros(image.slices.shape, np.int32)
        for organ, file in sorted(organs.items()):
            self._number((organ,))
            mask = _mask_of(file, image)
            before = {number: names for names, number in self._numbers.items()}
            changed = np.zeros(MAX_LABEL + 1, np.int32)
            for old in np.unique(labels[mask]).tolist():
                changed[old] = self._number((*before.get(old, ()), organ))
            labels[mask] = changed[labels[mask]]
        self._used |= set(np.unique(labels).tolist())
        if isinstance(image, Image2D):
            write_labels_png(path, labels, like=image)
        else:
            write_labels(path, labels, like=image)

    def _number(self, organs: tuple[str, ...]) -> int:
        number = self._numbers.setdefault(organs, len(self._numbers) + 1)
        if number > MAX_LABEL:
            raise InputError(
                f"{', '.join(organs)}: found more than {MAX_LABEL} organs and overlaps of organs, expected "
                "no more than that; choose organs with --name."
            )
        return number


def _mask_of(file: Path, image: Volume) -> np.ndarray:
    """(D, H, W) bool."""
    mask = read_label_map(file, like=image)
    values = np.unique(mask.slices[mask.slices > 0])
    if len(values) > 1:
        raise InputError(
            f"{file}: found the values {', '.join(map(str, values[:5]))} in the mask of one organ, expected "
            "0 and one other value; give a file for each organ, or label maps with --labels and --name."
        )
    return mask.slices > 0


def is_plain(mask: Path) -> bool:
    """Whether a mask can be used as it is: volumes, and PNG of one channel."""
    if mask.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        return True
    try:
        with Image.open(mask, formats=("PNG", "JPEG")) as image:
            return image.format == "PNG" and image.mode in LABEL_MODES
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return True  # reading it says what is wrong


def write_plain(mask: Path, path: Path) -> None:
    """Write a black-and-white JPEG, or a grey PNG of several channels, as PNG of 0 and 255 in one channel.

    Raises:
        InputError: unreadable, in colours, or with other grey values.
    """
    read = read_any(mask)
    assert isinstance(read, Image2D)
    grey = read.slices
    odd = (grey > NEAR) & (grey < 255 - NEAR)
    coloured = read.colours is not None and int(np.ptp(read.colours.astype(int), axis=-1).max()) > NEAR
    if coloured or odd.mean() > 0.01:
        raise InputError(
            f"{mask}: found {'colours' if coloured else f'{odd.mean():.0%} grey pixels'} in a mask, expected "
            "only black and white, or a PNG of one channel whose values are the labels; save it in one of "
            "these forms."
        )
    write_labels_png(path, np.where(grey > 127, 255, 0), like=read)

"""The pictures and slices of referring data with their label maps."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ..errors import InputError
from .items import Case, is_picture
from .pictures import GREY_16, read_picture
from .volumes import Volume, check_same_grid, read_labels, read_volume

LABEL_MODES = ("1", "L", "P", *GREY_16)  # as Pillow calls pixels of one number, palette numbers included


@dataclass(frozen=True)
class ReferringPicture:
    """A picture, or one slice of a volume, with its label map.

    Attributes:
        image: a volume of one slice.
        labels: (H, W) int32 in the pixels of `image.slices[0]`; all 0 where the item has no label map.
    """

    image: Volume
    labels: np.ndarray

    def mask(self, item: Case) -> np.ndarray:
        """(H, W) bool, the lesions that the item means: some pixels of each; all False if it means nothing.

        Raises:
            InputError: the label map lacks one of them here, or has none at all.
        """
        place = "" if item.slice_index is None else f" in slice {item.slice_index}"
        if item.lesions is None and not (self.labels > 0).any():
            raise InputError(
                f'{item.label}: the label map of the case "{item.case}" is empty{place}, expected what its '
                "sentences refer to; correct the label map or the slice, or leave the item out."
            )
        if item.lesions is None:
            return self.labels > 0
        if missing := [lesion for lesion in item.lesions if not (self.labels == lesion).any()]:
            found = ", ".join(map(str, np.unique(self.labels[self.labels > 0]))) or "none"
            raise InputError(
                f'{item.label}: the lesion {missing[0]} of the case "{item.case}" is not there{place} '
                f"(lesions found: {found}); correct the item's lesion or slice."
            )
        return np.isin(self.labels, item.lesions)


class PictureReader:
    """Reads the pictures of items; keeps the volume read last, whose slices are often asked for in a row."""

    def __init__(self) -> None:
        self._kept: tuple[Path, Path | None, Volume, np.ndarray] | None = None

    def __call__(self, item: Case) -> ReferringPicture:
        """Read an item's picture.

        Raises:
            InputError: unreadable files, no such slice, or image and label map of different sizes.
        """
        if is_picture(item.image):
            return _picture(item.image, item.label)
        image, labels = self._volumes(item.image, item.label)
        index, depth = item.slice_index, len(image.slices)
        if index is None or index >= depth:
            raise InputError(
                f'{item.image}: the case "{item.case}" asks for slice {index}, but the volume has {depth} '
                "slices, 0 the most inferior one; correct the item's slice."
            )
        one = Volume(image.slices[index : index + 1], image.spacing_mm, image.grid)
        return ReferringPicture(one, labels[index])

    def _volumes(self, image: Path, label: Path | None) -> tuple[Volume, np.ndarray]:
        """The image and its label map (D, H, W)."""
        if self._kept is None or self._kept[:2] != (image, label):
            volume = read_volume(image)
            self._kept = (image, label, volume, _labels_of(volume, label))
        return self._kept[2:]


def read_label_picture(path: Path) -> np.ndarray:
    """A label map (H, W) int32, upright, from the grey values or palette numbers of a PNG.

    Raises:
        InputError: unreadable, of several channels, or of a format that does not keep values.
    """
    try:
        with Image.open(path, formats=("PNG", "JPEG")) as image:
            kind, mode = image.format, image.mode
            values = np.asarray(ImageOps.exif_transpose(image))
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(
            f"{path}: cannot be read as a label map ({error}), so the file is missing, broken or of another "
            "kind; give a whole PNG."
        ) from error
    if kind != "PNG" or mode not in LABEL_MODES:
        raise InputError(
            f"{path}: a {kind} of the kind {mode} is given as label map, expected a PNG of one grey channel, "
            "whose values are the labels; save it as such."
        )
    return values.astype(np.int32)


def _labels_of(volume: Volume, label: Path | None) -> np.ndarray:
    """(D, H, W) in the volume's grid."""
    if label is None:
        return np.zeros(volume.slices.shape, np.int32)
    labels = read_labels(label)
    check_same_grid(labels, volume)
    return labels.slices


def _picture(image: Path, label: Path | None) -> ReferringPicture:
    read = read_picture(image)
    expected = read.slices.shape[1:]
    picture = ReferringPicture(
        read, np.zeros(expected, np.int32) if label is None else read_label_picture(label)
    )
    found = picture.labels.shape
    if found != expected:
        raise InputError(
            f"{label}: the label map has {found[0]} x {found[1]} pixels and the image {image} has "
            f"{expected[0]} x {expected[1]} (rows x columns), expected the same; give the label map of this "
            "image."
        )
    return picture

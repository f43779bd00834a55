"""Pictures as words speak of them, and the square field that a network takes of them.

Left in the text is left in the picture: this is the one place that sees to it. Of a sentence's "left lobe"
or "left lung" a radiologist means the patient's left, which the usual display of an axial slice has on
the picture's right. So an axial slice of a volume is mirrored: its columns run from the patient's left to
the right, as RefHL-Seg shows its slices (arXiv 2408.17347). A PNG or JPEG says nothing of the patient and
stays as it is; whoever writes its sentences, or its datalist, sees to it that they speak of the picture.

Training, evaluation and inference all go through this file, so that a network sees at work what it saw in
training: `PictureFrame` stretches the whole picture to the field, without keeping its aspect, as the paper
does.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torch.nn import functional as F

from ..errors import InputError
from .referring import ReferringItem, is_picture
from .slices import ABDOMEN_WINDOW_HU, window
from .volumes import Volume, check_same_grid, read_labels, read_volume

GREY_MODES = {"1": 1, "L": 255, "I;16": 65535}  # Pillow's names, and the value of white
COLOUR_MODES = ("RGB", "RGBA", "LA", "P")


@dataclass(frozen=True)
class PictureFrame:
    """How a whole picture lies in the square field of a network: stretched over all of it.

    Attributes:
        height, width: pixels of the picture.
        size: pixels of a side of the field.
        mirrored: whether the field shows the columns in the opposite order, see above.
    """

    height: int
    width: int
    size: int
    mirrored: bool = False

    @classmethod
    def fit(cls, slices_hu: np.ndarray, spacing_mm: tuple[float, float], size: int) -> "PictureFrame":
        """Frame for axial slices (D, H, W) in the order of `Volume.slices`; the spacing plays no part."""
        return cls(slices_hu.shape[1], slices_hu.shape[2], size, mirrored=True)

    def to_field(self, image: Tensor, mode: str = "bilinear") -> Tensor:
        """(B, C, H, W) -> (B, C, size, size); anti-aliased "bilinear", or "nearest-exact" for labels."""
        if image.shape[-2:] != (self.size, self.size):
            image = F.interpolate(image, (self.size, self.size), mode=mode, antialias=mode == "bilinear")
        return image.flip(-1) if self.mirrored else image

    def inner(self, field: Tensor) -> Tensor:
        """The part of the field that shows the picture: all of it."""
        return field

    def from_field(self, logits: Tensor) -> Tensor:
        """(B, C, size, size) -> (B, C, H, W), bilinear."""
        logits = logits.flip(-1) if self.mirrored else logits
        if logits.shape[-2:] == (self.height, self.width):
            return logits
        return F.interpolate(logits, (self.height, self.width), mode="bilinear", align_corners=False)


@dataclass(frozen=True)
class Picture:
    """A picture or slice with its label map, as stored (a slice as in `Volume.slices`).

    Attributes:
        image: (H, W) float32 in [0, 1].
        labels: (H, W) int32.
        spacing_mm: of rows and columns; None where the file does not say.
        mirrored: whether the columns run the other way than the words, see above.
    """

    image: np.ndarray
    labels: np.ndarray
    spacing_mm: tuple[float, float] | None
    mirrored: bool

    def frame(self, size: int) -> PictureFrame:
        """How the picture lies in a field of `size` x `size` pixels."""
        return PictureFrame(*self.image.shape, size, mirrored=self.mirrored)

    def mask(self, item: ReferringItem) -> np.ndarray:
        """(H, W) bool, the lesion that the item means.

        Raises:
            InputError: the label map has no such lesion here.
        """
        if item.lesion is None:
            return self.labels > 0
        mask = self.labels == item.lesion
        if not mask.any():
            found = ", ".join(map(str, np.unique(self.labels[self.labels > 0]))) or "none"
            place = "" if item.slice_index is None else f" in slice {item.slice_index}"
            raise InputError(
                f'{item.label}: the lesion {item.lesion} of the case "{item.case}" is not there{place} '
                f"(lesions found: {found}); correct the item's lesion or slice."
            )
        return mask


class PictureReader:
    """Reads the pictures of items; keeps the volume read last, whose slices are often asked for in a row.

    Args:
        window_hu: (low, high) window of intensities of volumes; pictures are scaled from black to white.
    """

    def __init__(self, *, window_hu: tuple[float, float] = ABDOMEN_WINDOW_HU) -> None:
        self.window_hu = window_hu
        self._kept: tuple[Path, Path, Volume, Volume] | None = None

    def __call__(self, item: ReferringItem) -> Picture:
        """Read an item's picture.

        Raises:
            InputError: unreadable files, no such slice, or image and label map of different sizes.
        """
        assert item.label is not None  # every item has one, see `load_referring`
        if is_picture(item.image):
            picture = Picture(read_grey(item.image), read_label_picture(item.label), None, mirrored=False)
            if picture.image.shape != picture.labels.shape:
                sizes = [" x ".join(map(str, array.shape)) for array in (picture.labels, picture.image)]
                raise InputError(
                    f"{item.label}: the label map has {sizes[0]} pixels and the image {item.image} {sizes[1]} "
                    "(rows x columns), expected the same; give the label map of this image."
                )
            return picture
        image, labels = self._volumes(item.image, item.label)
        index, depth = item.slice_index, len(image.slices)
        if index is None or index >= depth:
            raise InputError(
                f'{item.image}: the case "{item.case}" asks for slice {index}, but the volume has {depth} '
                "slices, 0 the most inferior one; correct the item's slice."
            )
        grey = window(torch.from_numpy(np.ascontiguousarray(image.slices[index])), self.window_hu).numpy()
        spacing = (image.spacing_mm[1], image.spacing_mm[2])
        return Picture(grey, labels.slices[index], spacing, mirrored=True)

    def _volumes(self, image: Path, label: Path) -> tuple[Volume, Volume]:
        if self._kept is None or self._kept[:2] != (image, label):
            volumes = read_volume(image), read_labels(label)
            check_same_grid(volumes[1], volumes[0])
            self._kept = (image, label, *volumes)
        return self._kept[2:]


def read_grey(path: Path) -> np.ndarray:
    """A picture (H, W) as float32 from 0 (black) to 1 (white); colours become their luminance (ITU-R 601).

    Raises:
        InputError: unreadable, or of a kind without a known white.
    """
    image = _open(path)
    if image.mode in COLOUR_MODES:
        image = image.convert("RGB").convert("L")
    if image.mode not in GREY_MODES:
        raise InputError(
            f"{path}: pixels are of the kind {image.mode}, expected 8 or 16 bit grey or colour; save it as such."
        )
    return np.asarray(image, dtype=np.float32) / GREY_MODES[image.mode]


def read_label_picture(path: Path) -> np.ndarray:
    """A label map (H, W) int32 from the grey values or palette numbers of a PNG.

    Raises:
        InputError: unreadable, of several channels, or of a format that does not keep values.
    """
    image = _open(path)
    if image.format != "PNG" or image.mode not in (*GREY_MODES, "P"):
        raise InputError(
            f"{path}: a {image.format} of the kind {image.mode} is given as label map, expected a PNG of one "
            "grey channel, whose values are the labels; save it as such."
        )
    return np.asarray(image).astype(np.int32)


def _open(path: Path) -> Image.Image:
    """A decoded picture, turned as its EXIF entry says."""
    try:
        with Image.open(path) as image:
            image.load()
            kind = image.format
            turned = ImageOps.exif_transpose(image)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(
            f"{path}: cannot be read as a picture ({error}), so the file is missing, broken or of another "
            "kind; give a whole PNG or JPEG."
        ) from error
    turned.format = kind
    return turned

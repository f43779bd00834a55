"""2D images (PNG, JPEG) as volumes of one slice, and label maps written back in the same pixels."""

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from nibabel import orientations
from PIL import ExifTags, Image, UnidentifiedImageError

from ..errors import InputError
from ..files import atomic_path
from ..machine import check_memory
from .integrity import check_png
from .itk_files import volume_of
from .volumes import Volume

ENDINGS = (".png", ".jpg", ".jpeg")
GREY_16 = ("I", "I;16", "I;16B", "I;16L")  # how Pillow calls grey pixels of more than 8 bits
LABEL_MODES = ("1", "L", "P", *GREY_16)  # pixels of one number, palette numbers included

# EXIF: where the first row and the first column of the stored pixels belong in the upright image.
_FIRST_ROW_AND_COLUMN = {
    1: ("top", "left"),
    2: ("top", "right"),
    3: ("bottom", "right"),
    4: ("bottom", "left"),
    5: ("left", "top"),
    6: ("right", "top"),
    7: ("right", "bottom"),
    8: ("left", "bottom"),
}
# Which way further rows or columns go from there, in RAS+: down is posterior, right is the patient's left.
_AWAY_FROM = {"top": (0, -1, 0), "bottom": (0, 1, 0), "left": (-1, 0, 0), "right": (1, 0, 0)}

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Image2D(Volume):
    """A 2D image: one slice, upright as its EXIF orientation says, without a size in mm.

    Attributes:
        colours: (1, H, W, 3) uint8, or None for a grey image; `slices` holds its grey values.
        white: the intensity that is shown white; 0 is black.
        exif_orientation: 1 to 8, kept in label maps so that these are shown as the image is.
    """

    colours: np.ndarray | None
    white: float
    exif_orientation: int

    @property
    def value_range(self) -> tuple[float, float]:
        return (0.0, self.white)

    @property
    def in_mm(self) -> bool:
        return False

    @property
    def in_colour(self) -> bool:
        return self.colours is not None

    def shown(self, index: int) -> np.ndarray:
        return super().shown(index) if self.colours is None else self.colours[index]

    def planes(self, indices: Sequence[int], *, colour: str = "grey") -> np.ndarray:
        """(1, H, W), see `Volume.planes`; there is one slice to ask for."""
        if colour == "grey" or self.colours is None:
            return super().planes(indices, colour=colour)
        return np.ascontiguousarray(self.colours[..., ("red", "green", "blue").index(colour)])


def read_image_2d(path: str | os.PathLike[str]) -> Image2D:
    """Read a PNG or JPEG: grey of 8 or 16 bits, or colours of 8 bits.

    Black is 0 and white the largest number of that type, as in training. Transparency is dropped.

    Raises:
        InputError: missing or broken file, or several frames.
    """
    path = Path(path)
    pixels, orientation = _read(path, _grey_or_colours)
    colours = None
    if pixels.ndim == 3:
        colours = pixels
        pixels = np.asarray(Image.fromarray(pixels).convert("L"))
    white = 255.0 if pixels.dtype == np.uint8 else 65535.0
    if pixels.max() < white / 8:
        _log.warning(
            "%s: its brightest pixel is %g of %g, so it looks nearly black to a network; stretch its grey "
            "values first.",
            path,
            pixels.max(),
            white,
        )
    volume = _upright(path, pixels.astype(np.float32), orientation)
    if colours is not None:
        stored = colours.transpose(1, 0, 2)[:, :, None]
        # a copy, since Pillow's pixels cannot be written to, of which torch would warn
        colours = np.array(orientations.apply_orientation(stored, volume.grid.to_slices), order="C")
    return Image2D(volume.slices, (1.0, 1.0, 1.0), volume.grid, colours, white, orientation)


def exif_orientation(path: str | os.PathLike[str]) -> int:
    """How EXIF says that a image is turned, 1 to 8; 1, not at all, also of what is no image."""
    try:
        with Image.open(path, formats=("PNG", "JPEG")) as image:
            found = image.getexif().get(ExifTags.Base.Orientation, 1)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return 1  # reading its pixels says what is wrong
    return found if found in _FIRST_ROW_AND_COLUMN else 1


def read_pixel_numbers(path: str | os.PathLike[str]) -> Image2D:
    """Read the grey values or palette numbers of a PNG, which stay as they are.

    Raises:
        InputError: missing or broken file, several frames or channels, or a JPEG, which changes numbers.
    """
    path = Path(path)
    pixels, orientation = _read(path, _numbers)
    volume = _upright(path, pixels, orientation)
    return Image2D(volume.slices, (1.0, 1.0, 1.0), volume.grid, None, float(pixels.max()), orientation)


def write_labels_png(path: str | os.PathLike[str], slices: np.ndarray, *, like: Image2D) -> None:
    """Write a label map (1, H, W) uint8 as a grey PNG in the stored pixels of `like`."""
    image = Image.fromarray(np.ascontiguousarray(like.to_stored(slices.astype(np.uint8))[..., 0].T))
    exif = Image.Exif()
    if like.exif_orientation != 1:
        exif[ExifTags.Base.Orientation] = like.exif_orientation
    with atomic_path(path) as temporary:
        image.save(temporary, format="PNG", exif=exif)


def _read(path: Path, pixels_of: Callable[[Path, Image.Image], np.ndarray]) -> tuple[np.ndarray, int]:
    """Stored pixels (rows, columns) or (rows, columns, 3), and the EXIF orientation."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; give a PNG or JPEG.")
    check_png(path)
    try:
        with Image.open(path, formats=("PNG", "JPEG")) as image:
            frames = int(getattr(image, "n_frames", 1))
            orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
            check_memory(path, image.size)
            pixels = pixels_of(path, image)
    except InputError:  # which is a ValueError too
        raise
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(
            f"{path}: cannot be read as an image ({error}), so the file is broken, cut off or of another "
            "kind; save it again."
        ) from error
    if frames > 1:
        raise InputError(
            f"{path}: found {frames} frames, expected one image; save one of them as a file of its own."
        )
    return pixels, orientation if orientation in _FIRST_ROW_AND_COLUMN else 1


def _upright(path: Path, pixels: np.ndarray, orientation: int) -> Volume:
    """Pixels (rows, columns) as the slice that they show."""
    affine = np.eye(4)
    row, column = _FIRST_ROW_AND_COLUMN[orientation]
    affine[:3, 0], affine[:3, 1] = _AWAY_FROM[column], _AWAY_FROM[row]
    return volume_of(path, pixels.T[..., None], affine)


def _numbers(path: Path, image: Image.Image) -> np.ndarray:
    if image.format != "PNG" or image.mode not in LABEL_MODES:
        raise InputError(
            f"{path}: found a {image.format} of mode {image.mode} as label map, expected a PNG with one grey "
            "channel whose values are the labels; save it in that form."
        )
    return np.asarray(image)


def _grey_or_colours(path: Path, image: Image.Image) -> np.ndarray:
    if image.mode in GREY_16:
        return np.asarray(image)
    has_alpha = image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info
    if has_alpha and image.convert("RGBA").getchannel("A").getextrema() != (255, 255):
        _log.warning("%s: its transparency is dropped; hidden colours become visible.", path)
    return np.asarray(image.convert("L" if image.mode in ("1", "L", "LA") else "RGB"))

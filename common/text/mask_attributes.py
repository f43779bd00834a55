"""What a mask shows, in words: how many pieces, how large, where, of which shape and colour.

Poudel et al., "Exploring Transfer Learning in Medical Image Segmentation using Vision-Language Models" (MIDL
2024), wrote ten levels of prompts from such words. The rule `clean` is ours; `published` repeats the rule
that gave their published prompts, quirks included, so that both can be compared.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from skimage.color import rgb2lab
from skimage.measure import find_contours, label, regionprops

from ..errors import InputError

RULES = ("clean", "published")
FOREGROUND = 127  # values of a mask above this one belong to it; JPEG leaves others beside 0 and 255
LEAST_SHARE = 1e-4  # of the image: a smaller piece is a speck
SIZES = (("tiny", 0.001), ("small", 0.08), ("medium", 0.30), ("large", 1.0))  # below that share of the image
ROWS, COLUMNS = ("top", "", "bottom"), ("left", "", "right")
CENTRE = "center"
TOUCHED_SHARE = 0.10  # rule `published`: a cell with this share of a piece counts as touched
SOLID, ROUND, OVAL = 0.90, 0.80, 0.50  # solidity; ratio of the axes
COLOURS = {
    "black": (0, 0, 0),
    "white": (255, 255, 255),
    "grey": (128, 128, 128),
    "red": (200, 30, 30),
    "pink": (230, 150, 150),
    "orange": (230, 130, 50),
    "yellow": (230, 210, 90),
    "brown": (130, 80, 50),
    "green": (60, 140, 60),
    "blue": (50, 80, 180),
    "purple": (120, 60, 140),
    "beige": (220, 190, 160),
}
_NUMBERS = (
    *("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
    "twenty",
)


@dataclass(frozen=True)
class MaskAttributes:
    """What a mask shows.

    Attributes:
        number: of pieces, "one" to "twenty", then digits; "no" for an empty mask.
        sizes: different words of the pieces, small to large.
        locations: of each piece in raster order, such as "top left" or "center".
        shape: of the largest piece; None where there is none.
        colour: of the image within the mask; None without an image in colour, or without a piece.
    """

    number: str
    sizes: tuple[str, ...]
    locations: tuple[str, ...]
    shape: str | None
    colour: str | None


def mask_attributes(
    mask: np.ndarray, image: np.ndarray | None = None, *, rule: str = "clean"
) -> MaskAttributes:
    """Describe a mask.

    Args:
        mask: (H, W), integers from 0 to 255; above 127 is inside.
        image: (H, W, 3), uint8, sRGB; None or grey for no colour.
        rule: "clean": 8-connected pieces of at least 1/10,000 of the image, places by thirds of height and
            width. "published": 4-connected ones, specks too; the size from values of 255 alone, none for a
            speck; places by `_published_location`.

    Raises:
        InputError: another rule, or an image of another size.
    """
    if rule not in RULES:
        raise InputError(f"rule: found {rule!r}, expected {' or '.join(RULES)}; choose one.")
    if image is not None and image.shape[:2] != mask.shape:
        raise InputError(
            f"image: found {image.shape[1]} x {image.shape[0]} pixels for a mask of {mask.shape[1]} x "
            f"{mask.shape[0]}; give the image of that mask."
        )
    inside = mask > FOREGROUND
    pieces = _pieces(inside, clean=rule == "clean")
    if rule == "clean":
        areas = [piece.sum() / mask.size for piece in pieces]
        places = [_place(*_box_centre(piece), *mask.shape) for piece in pieces]
    else:
        areas = [(piece & (mask == 255)).sum() / mask.size for piece in pieces]
        places = [_published_location(piece, piece & (mask == 255)) for piece in pieces]
    largest = max(pieces, key=np.count_nonzero, default=None)
    coloured = image is not None and image.ndim == 3 and largest is not None
    return MaskAttributes(
        number=number_word(len(pieces)),
        sizes=_different_sizes([area for area in areas if area > LEAST_SHARE or rule == "clean"]),
        locations=tuple(places),
        shape=None if largest is None else _shape(largest),
        colour=_colour(image[np.logical_or.reduce(pieces)]) if coloured else None,  # type: ignore[index]
    )


def number_word(count: int) -> str:
    """ "no", "one" to "twenty", then digits."""
    return _NUMBERS[count] if count < len(_NUMBERS) else str(count)


def _pieces(inside: np.ndarray, *, clean: bool) -> list[np.ndarray]:
    """Connected pieces (H, W), bool, in raster order of their first pixel."""
    numbered = label(inside, connectivity=2 if clean else 1)
    least = LEAST_SHARE * inside.size if clean else 1
    sizes = np.bincount(numbered.ravel())
    return [numbered == value for value in range(1, len(sizes)) if sizes[value] >= least]


def _different_sizes(shares: Sequence[float]) -> tuple[str, ...]:
    words = {next(word for word, below in SIZES if share < below or word == "large") for share in shares}
    return tuple(word for word, _ in SIZES if word in words)


def _box_centre(piece: np.ndarray) -> tuple[float, float]:
    """Row and column of the middle of a piece's box, in pixels from the image's corner."""
    rows, columns = ndimage.find_objects(piece.astype(np.uint8))[0]
    return (rows.start + rows.stop) / 2, (columns.start + columns.stop) / 2


def _place(row: float, column: float, height: float, width: float) -> str:
    """The cell of a 3 x 3 grid; what lies on a border belongs to the middle."""
    return _cell_name(
        *(
            0 if 3 * at < size else 2 if 3 * at > 2 * size else 1
            for at, size in ((row, height), (column, width))
        )
    )


def _cell_name(row: int, column: int) -> str:
    return f"{ROWS[row]} {COLUMNS[column]}".strip() or CENTRE


def _published_location(piece: np.ndarray, white: np.ndarray) -> str:
    """The place of a piece as the published prompts name it.

    Of the nine cells: the one that is touched, else the one that holds a tenth of the piece, else (none does)
    the one that holds least. Where several hold a tenth, the middle of the box of the outline's first part
    (it has several where the piece is cut by the image's edges), with thirds of the *height* for columns too.

    Args:
        piece: (H, W), bool.
        white: (H, W), bool: its pixels of exactly 255, whose outline is taken.
    """
    height = piece.shape[0]
    rows, columns = (np.array([0, size // 3, 2 * size // 3]) for size in piece.shape)
    shares = np.add.reduceat(np.add.reduceat(piece.astype(int), rows, axis=0), columns, axis=1) / piece.sum()
    touched = np.argwhere(shares > 0)
    held = np.argwhere(shares >= TOUCHED_SHARE)
    if len(touched) == 1 or len(held) == 1:
        return _cell_name(*(touched if len(touched) == 1 else held)[0])
    if len(held) == 0:
        return _cell_name(*min(touched, key=lambda cell: shares[tuple(cell)]))
    numbered = label(white, connectivity=2)
    main = numbered == np.bincount(numbered[white]).argmax()  # JPEG leaves pixels of 255 beside it
    outline = find_contours(main.astype(float), 0.5, fully_connected="high")[0]
    row, column = (outline.min(axis=0) + outline.max(axis=0)) / 2
    return _cell_name(*(min(int(3 * at // height), 2) for at in (row, column)))


def _shape(piece: np.ndarray) -> str:
    region = regionprops(piece.astype(np.uint8))[0]
    if region.solidity < SOLID:
        return "irregular"
    ratio = region.axis_minor_length / region.axis_major_length if region.axis_major_length else 1.0
    return "round" if ratio >= ROUND else "oval" if ratio >= OVAL else "elongated"


def _colour(pixels: np.ndarray) -> str:
    """The named colour that is nearest to the median of (N, 3) sRGB values, by distance in CIELAB."""
    names = list(COLOURS)
    palette = rgb2lab(np.array([COLOURS[name] for name in names], dtype=np.uint8)[None])[0]
    own = rgb2lab(np.median(pixels, axis=0)[None, None] / 255)[0, 0]
    return names[int(np.linalg.norm(palette - own, axis=1).argmin())]

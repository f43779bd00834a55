"""From a slice to a network's field, and from its logits back.

Training and inference both go through this file and `framing`, so that a network sees at work what it saw in
training.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

ABDOMEN_WINDOW_HU = (-160.0, 240.0)  # soft-tissue window: width 400, level 40
BODY_HU = -500.0  # half-way between air (-1000) and water (0)
OUTSIDE_LOGIT = -20.0  # probability 2e-9: what lies outside the body's box belongs to no organ


def window(image_hu: Tensor, window_hu: tuple[float, float] = ABDOMEN_WINDOW_HU) -> Tensor:
    """Clip `image_hu` to `window_hu` = (low, high) and scale it to [0, 1], float32, same shape."""
    low, high = window_hu
    return image_hu.float().sub(low).div_(high - low).clamp_(0.0, 1.0)


@dataclass(frozen=True)
class Box:
    """A rectangle of a slice: rows `top` to `bottom` and columns `left` to `right`, the ends excluded."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def pixels(self) -> tuple[slice, slice]:
        """What to index (H, W) with."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.bottom - self.top, self.right - self.left

    @classmethod
    def around_body(cls, slices_hu: np.ndarray) -> "Box":
        """The smallest box that holds all that is denser than BODY_HU in any of the slices (D, H, W).

        Scanners leave much air around the patient: in head-and-neck planning CT the body fills a third to
        a half of a side, so the box doubles the detail that a network sees. All of the slice if it is air.
        """
        body = slices_hu.max(axis=0) > BODY_HU
        rows, columns = np.flatnonzero(body.any(axis=1)), np.flatnonzero(body.any(axis=0))
        if not len(rows):
            return cls(0, body.shape[0], 0, body.shape[1])
        return cls(int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1)


@dataclass(frozen=True)
class SliceFrame:
    """How a box of a slice lies in the square field that a network takes.

    `fit` keeps the box's shape in millimetres: it is scaled so that its longer side (in mm) fills the field,
    and the rest is padded with 0 (air) in equal parts. In a field of 128 pixels, a box of 100 x 50 pixels
    of 1 mm x 2 mm therefore fills everything. `stretched` keeps no shape.

    Attributes:
        height, width: pixels of the slice, H along anterior-posterior and W along right-left.
        box: the part of the slice that the field shows.
        inner_height, inner_width: pixels of the scaled box inside the field.
        size: pixels of a side of the field.
        mirrored: whether the field shows the columns in the opposite order.
    """

    height: int
    width: int
    box: Box
    inner_height: int
    inner_width: int
    size: int
    mirrored: bool = False

    @classmethod
    def stretched(cls, height: int, width: int, size: int) -> "SliceFrame":
        """Frame that fills the field with the whole slice, whatever its shape."""
        return cls(height, width, Box(0, height, 0, width), size, size, size)

    @classmethod
    def fit(cls, slices_hu: np.ndarray, spacing_mm: tuple[float, float], size: int) -> "SliceFrame":
        """Frame for the body in slices (D, H, W), whose pixels are `spacing_mm` = (row, column) apart."""
        box = Box.around_body(slices_hu)
        extent_mm = (box.shape[0] * spacing_mm[0], box.shape[1] * spacing_mm[1])
        inner = [max(1, round(size * side / max(extent_mm))) for side in extent_mm]
        return cls(slices_hu.shape[1], slices_hu.shape[2], box, inner[0], inner[1], size)

    @property
    def _offset(self) -> tuple[int, int]:
        return (self.size - self.inner_height) // 2, (self.size - self.inner_width) // 2

    def crop(self, image: Tensor) -> Tensor:
        """(..., H, W) -> (..., box height, box width), a view."""
        return image[..., *self.box.pixels]

    def to_field(self, image: Tensor, mode: str = "bilinear") -> Tensor:
        """(B, C, H, W) -> (B, C, size, size); anti-aliased "bilinear", or "nearest-exact" for labels."""
        return self.place(self.crop(image), mode)

    def place(self, image: Tensor, mode: str = "bilinear") -> Tensor:
        """As `to_field`, of a box that was cut out already."""
        inner_shape = (self.inner_height, self.inner_width)
        if image.shape[-2:] != inner_shape:
            image = F.interpolate(image, inner_shape, mode=mode, antialias=mode == "bilinear")
        if self.mirrored:
            image = image.flip(-1)
        top, left = self._offset
        bottom, right = self.size - self.inner_height - top, self.size - self.inner_width - left
        return F.pad(image, (left, right, top, bottom))

    def inner(self, field: Tensor) -> Tensor:
        """(..., size, size) -> (..., inner_height, inner_width), the part of the field that shows the box."""
        top, left = self._offset
        inner = field[..., top : top + self.inner_height, left : left + self.inner_width]
        return inner.flip(-1) if self.mirrored else inner

    def to_box(self, inner: Tensor) -> Tensor:
        """(B, C, inner_height, inner_width) -> (B, C, box height, box width), bilinear."""
        if inner.shape[-2:] == self.box.shape:
            return inner
        return F.interpolate(inner, self.box.shape, mode="bilinear", align_corners=False)

    def from_field(self, logits: Tensor) -> Tensor:
        """(B, C, size, size) -> (B, C, H, W), bilinear; OUTSIDE_LOGIT outside the box."""
        boxed = self.to_box(self.inner(logits))
        if boxed.shape[-2:] == (self.height, self.width):
            return boxed
        whole = torch.full((*boxed.shape[:-2], self.height, self.width), OUTSIDE_LOGIT).to(boxed)
        self.crop(whole).copy_(boxed)
        return whole

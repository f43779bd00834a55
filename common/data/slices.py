"""From an axial CT slice in Hounsfield units to a network's input, and from its logits back.

Training and inference both go through this file, so that a network sees at work what it saw in training.
"""

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

ABDOMEN_WINDOW_HU = (-160.0, 240.0)  # soft-tissue window: width 400, level 40


def window(image_hu: Tensor, window_hu: tuple[float, float] = ABDOMEN_WINDOW_HU) -> Tensor:
    """Clip `image_hu` to `window_hu` = (low, high) and scale it to [0, 1], float32, same shape."""
    low, high = window_hu
    return ((image_hu.float() - low) / (high - low)).clamp_(0.0, 1.0)


@dataclass(frozen=True)
class SliceFrame:
    """How a slice of H x W pixels lies in the square field that a network takes.

    The slice keeps its shape in millimetres: it is scaled so that its longer side (in mm) fills the
    field, and the rest is padded with 0 (air) in equal parts. In a field of 128 pixels, a 100 x 50
    slice with pixels of 1 mm x 2 mm therefore fills everything.

    Attributes:
        height, width: pixels of the slice, H along anterior-posterior and W along right-left.
        inner_height, inner_width: pixels of the scaled slice inside the field.
        size: pixels of a side of the field.
    """

    height: int
    width: int
    inner_height: int
    inner_width: int
    size: int

    @classmethod
    def fit(cls, height: int, width: int, spacing_mm: tuple[float, float], size: int) -> "SliceFrame":
        """Frame for slices of `height` x `width` pixels of `spacing_mm` = (row, column) spacing."""
        extent_mm = (height * spacing_mm[0], width * spacing_mm[1])
        inner = [max(1, round(size * side / max(extent_mm))) for side in extent_mm]
        return cls(height, width, inner[0], inner[1], size)

    @property
    def _offset(self) -> tuple[int, int]:
        return (self.size - self.inner_height) // 2, (self.size - self.inner_width) // 2

    def to_field(self, image: Tensor, mode: str = "bilinear") -> Tensor:
        """(B, C, H, W) -> (B, C, size, size); anti-aliased "bilinear", or "nearest-exact" for labels."""
        inner_shape = (self.inner_height, self.inner_width)
        if image.shape[-2:] != inner_shape:
            image = F.interpolate(image, inner_shape, mode=mode, antialias=mode == "bilinear")
        top, left = self._offset
        bottom, right = self.size - self.inner_height - top, self.size - self.inner_width - left
        return F.pad(image, (left, right, top, bottom))

    def from_field(self, logits: Tensor) -> Tensor:
        """(B, C, size, size) -> (B, C, H, W), bilinear."""
        top, left = self._offset
        inner = logits[..., top : top + self.inner_height, left : left + self.inner_width]
        if inner.shape[-2:] == (self.height, self.width):
            return inner
        return F.interpolate(inner, (self.height, self.width), mode="bilinear", align_corners=False)

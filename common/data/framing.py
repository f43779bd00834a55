"""What a network sees of a slice or an image: the network declares it, and only this file applies it."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from .slices import ABDOMEN_WINDOW_HU, SliceFrame, window
from .volumes import Volume

CROPS = ("body", "whole")
COLOURS = ("grey", "red", "green", "blue")
NARROW = 0.1  # of a window's width: no CT has so few grey values, images with mean 0 and deviation 1 have

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Channel:
    """What one channel of a network's input shows.

    Attributes:
        colour: one of `COLOURS`; where the input is grey, all of them are its grey values.
        window: (low, high) of a volume's intensities, instead of the framing's.
        offset_mm: of a volume, the slice this far above the one to segment, or below it if negative; the
            nearest one that there is.

    Raises:
        InputError: another colour, an empty window, or no distance.
    """

    colour: str = "grey"
    window: tuple[float, float] | None = None
    offset_mm: float = 0.0

    def __post_init__(self) -> None:
        if self.colour not in COLOURS:
            raise InputError(
                f"channels: found the colour {self.colour!r}, expected one of {', '.join(COLOURS)}; choose "
                "one."
            )
        if self.window is not None:
            object.__setattr__(self, "window", checked_window(self.window))
        if not isinstance(self.offset_mm, int | float) or not math.isfinite(self.offset_mm):
            raise InputError(f"channels: found the offset_mm {self.offset_mm!r}, expected a number of mm.")

    @property
    def name(self) -> str:
        """In words, such as "grey, window -160 to 240, 3 mm above"."""
        parts = [self.colour]
        if self.window is not None:
            parts.append(f"window {self.window[0]:g} to {self.window[1]:g}")
        if self.offset_mm:
            parts.append(f"{abs(self.offset_mm):g} mm {'above' if self.offset_mm > 0 else 'below'}")
        return ", ".join(parts)


RGB = (Channel("red"), Channel("green"), Channel("blue"))


@dataclass(frozen=True)
class Framing:
    """How volumes and images become a network's square field.

    A volume (CT, MR) is cropped, windowed and mirrored as said here. An image (PNG, JPEG) is always whole,
    brings its own range from black to white, and is never mirrored: it does not show the patient's sides, and
    its sentences describe the image.

    Attributes:
        crop: of volumes: "body" is the box around the patient, which keeps its shape in mm; "whole" is the
            whole slice, stretched to the field, as images are.
        window: (low, high) of a volume's intensities, in HU for CT.
        channels: what each channel of the field shows. In configs a list of colours' names or of objects
            with the fields of `Channel`.
        mirrored: of volumes: left in the text is left in the field. A sentence's "left lobe" is the
            patient's, which the usual display has on the right, so columns then run from the patient's left
            to the right, as RefHL-Seg shows its slices (arXiv 2408.17347).
        images: whether images are taken as well as volumes.

    Raises:
        InputError: another crop, an empty window, or channels that cannot be read.
    """

    crop: str = "body"
    window: tuple[float, float] = ABDOMEN_WINDOW_HU
    channels: tuple[Channel, ...] = (Channel(),)
    mirrored: bool = False
    images: bool = False

    def __post_init__(self) -> None:
        if self.crop not in CROPS:
            raise InputError(f"crop: found {self.crop!r}, expected {' or '.join(CROPS)}; choose one.")
        object.__setattr__(self, "window", checked_window(self.window))
        object.__setattr__(self, "channels", _channels(self.channels))

    def changed(self, changes: "Mapping[str, Any] | Framing | None") -> "Framing":
        """This framing with other values for some attributes, as configs give them; a whole one replaces it.

        Raises:
            InputError: no such attribute, or see `Framing`.
        """
        if isinstance(changes, Framing):
            return changes
        known = [field.name for field in fields(self)]
        for name in changes or {}:
            if name not in known:
                raise InputError(
                    f"framing: found {name!r}, expected some of {', '.join(known)}; correct or remove it."
                )
        return replace(self, **(changes or {}))

    def frame(self, volume: Volume, size: int) -> SliceFrame:
        """How a volume's slices, or an image, lie in a field of `size` x `size` pixels."""
        if self.crop == "whole" or not volume.in_mm:
            _, height, width = volume.slices.shape
            frame = SliceFrame.stretched(height, width, size)
        else:
            frame = SliceFrame.fit(volume.slices, volume.spacing_mm[1:], size)
        return replace(frame, mirrored=self.mirrored and volume.in_mm)

    def field(
        self,
        volume: Volume,
        indices: Sequence[int],
        frame: SliceFrame,
        *,
        device: torch.device | None = None,
    ) -> Tensor:
        """A network's input (B, C, S, S) float32 in [0, 1] of some slices.

        Args:
            volume: whose slices they are.
            indices: of B slices, 0 the most inferior one.
            frame: where they lie in the field, see `frame`.
            device: where to compute it.
        """
        shown = [self._shown(channel, volume) for channel in self.channels]
        different = list(dict.fromkeys(shown))  # the three channels of a grey image are one
        planes = [self._plane(source, volume, indices, frame, device) for source in different]
        field = frame.place(torch.stack(planes, dim=1))
        return field if shown == different else field[:, [different.index(source) for source in shown]]

    def warn_if_contradicted(self, volume: Volume) -> None:
        """Say when a volume's values cannot be the Hounsfield units that the window is in.

        Scanners give air -1000 and fat -100; MR, label maps and CT without its rescale intercept have no
        value below 0, so that they are white nearly everywhere. A window from 0 up was chosen for such
        images.
        """
        if not volume.in_mm:
            return
        low, high = (float(value) for value in (volume.slices.min(), volume.slices.max()))
        if found := contradiction(low, high, self.window):
            _log.warning(
                "%s: found %s, expected CT in Hounsfield units (air -1000, fat -100) for the window from %g "
                "to %g; do not trust masks of anything else.",
                volume.grid.path,
                found,
                *self.window,
            )

    def _shown(self, channel: Channel, volume: Volume) -> Channel:
        """The channel as it is of this volume, so that equal ones show the same."""
        colour = channel.colour if volume.in_colour else "grey"
        if not volume.in_mm:
            return Channel(colour)
        return Channel(colour, channel.window or self.window, channel.offset_mm)

    @staticmethod
    def _plane(
        source: Channel,
        volume: Volume,
        indices: Sequence[int],
        frame: SliceFrame,
        device: torch.device | None,
    ) -> Tensor:
        """(B, box height, box width) float32 in [0, 1]."""
        # Rounded before it is added: half-way between two slices, 0.5 + 1 and 0.5 + 2 both round to 2.
        steps = round(source.offset_mm / volume.spacing_mm[0])
        moved = np.clip(np.asarray(indices) + steps, 0, len(volume.slices) - 1)
        planes = torch.from_numpy(volume.planes(moved.tolist(), colour=source.colour)).to(device)
        limits = volume.value_range or source.window
        assert limits is not None  # of a volume, see `_shown`
        return window(frame.crop(planes), limits)  # cropped first: what lies outside needs no arithmetic


def contradiction(low: float, high: float, window: tuple[float, float]) -> str | None:
    """What in the range of an image's values speaks against Hounsfield units; None where nothing does.

    Args:
        low, high: smallest and largest value of the image.
        window: (low, high) of what is shown of it.
    """
    if window[0] < 0 and low >= 0:
        return f"no value below {low:g}"
    if high - low < NARROW * (window[1] - window[0]):
        return f"only values from {low:g} to {high:g}"
    return None


def checked_window(limits: Any) -> tuple[float, float]:
    """(low, high) as floats.

    Raises:
        InputError: anything else.
    """
    given = list(limits) if isinstance(limits, list | tuple) else limits
    match given:
        case [int() | float() as low, int() | float() as high] if -math.inf < low < high < math.inf:
            return float(low), float(high)
    raise InputError(f"window: found {given!r}, expected the lower and the upper intensity.")


def _channels(given: Any) -> tuple[Channel, ...]:
    if isinstance(given, str) or not isinstance(given, Sequence) or not given:
        raise InputError(
            f"channels: found {given!r}, expected a list of colours ({', '.join(COLOURS)}) or of objects "
            "with colour, window, offset_mm."
        )
    return tuple(_channel(one) for one in given)


def _channel(given: Any) -> Channel:
    if isinstance(given, Channel):
        return given
    try:
        return Channel(given) if isinstance(given, str) else Channel(**given)
    except TypeError as error:
        fields = list(given) if isinstance(given, Mapping) else given
        raise InputError(
            f"channels: found {fields!r}, expected a colour or an object with colour, window, offset_mm."
        ) from error

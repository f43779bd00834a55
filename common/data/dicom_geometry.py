"""Where the slices of a DICOM series lie (PS3.3 C.7.6.2): one even stack, or one sentence why not."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom

from ..errors import InputError
from .affines import check_sizes
from .dicom_values import has, integer, numbers, text

SAME_DIRECTION = 1e-3  # of a direction cosine: 0.06 degrees
UNIT = 2e-3  # of the length and right angle of directions: cosines of three decimals
EVEN_STEPS = 0.05  # of the usual step between slices: tables round positions to some micrometres
ROUNDED_MM = 0.1  # from the even grid: positions of one decimal, both rounded and counted from rounded ones
ROUNDED_STEPS = 0.2  # the same as a part of a step: a missing slice is never taken for rounding
ASSUMED_THICKNESS_MM = 1.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Slice:
    """One slice of a series.

    Attributes:
        path: its file.
        header: what is said of it, all but the pixels.
        frame: its number in a multi-frame file, from 1; None for a file of its own.
    """

    path: Path
    header: pydicom.Dataset
    frame: int | None = None

    @property
    def where(self) -> str:
        """File, and frame, for messages."""
        return str(self.path) if self.frame is None else f"{self.path}, frame {self.frame}"

    @property
    def name(self) -> str:
        """As `where`, without the folder, with the number by which viewers know a slice."""
        if self.frame is not None:
            return f"frame {self.frame}"
        number = text(self.header, "InstanceNumber")
        return f"{self.path.name} (instance {number})" if number.isdecimal() else self.path.name


def sorted_stack(folder: Path, slices: Sequence[Slice]) -> list[Slice]:
    """Slices in the order of their normal; all alike, with one distance between neighbours.

    Raises:
        InputError: a malformed or absent element, directions of another length than 1 or without a right
            angle, different sizes or directions, repeated or missing positions, or slices beside the stack.
    """
    for one in slices:
        _check_slice(one)
    _check_alike(folder, slices)
    normal = _normal(slices[0])
    positions = np.array([_position(one) for one in slices])
    order = np.argsort(positions @ normal, kind="stable")
    slices, positions = [slices[index] for index in order], positions[order]
    if len(slices) > 1:
        _check_steps(folder, slices, positions, normal)
    return slices


def affine_of(slices: Sequence[Slice]) -> np.ndarray:
    """(4, 4) indices of (column, row, slice) to LPS+ mm (DICOM PS3.3, C.7.6.2.1.1), of a sorted stack."""
    first = slices[0]
    directions = numbers(first.where, first.header, "ImageOrientationPatient", 6)
    row_spacing, column_spacing = numbers(first.where, first.header, "PixelSpacing", 2)
    affine = np.eye(4)
    affine[:3, 0] = directions[:3] * column_spacing
    affine[:3, 1] = directions[3:] * row_spacing
    if len(slices) > 1:
        positions = np.array([_position(one) for one in slices])
        affine[:3, 2], affine[:3, 3] = _step_and_origin(positions, _normal(first))
        return affine
    if has(first.header, "SliceThickness"):  # the only slice: here it is needed
        thickness = float(numbers(first.where, first.header, "SliceThickness", 1)[0])
        check_sizes(first.where, [row_spacing, column_spacing, thickness])
    else:
        thickness = ASSUMED_THICKNESS_MM
        _log.warning(
            "%s: found one slice without a SliceThickness, so %g mm is assumed and volumes in ml may be "
            "wrong; give the whole series, or use areas only.",
            first.where,
            thickness,
        )
    affine[:3, 2] = _normal(first) * thickness
    affine[:3, 3] = _position(first)
    return affine


def _position(one: Slice) -> np.ndarray:
    return numbers(one.where, one.header, "ImagePositionPatient", 3)


def _normal(one: Slice) -> np.ndarray:
    directions = numbers(one.where, one.header, "ImageOrientationPatient", 6)
    return np.cross(directions[:3], directions[3:])


def _check_slice(one: Slice) -> None:
    """All geometry is there and finite, directions are unit vectors at a right angle, sizes are above 0."""
    _position(one)
    directions = numbers(one.where, one.header, "ImageOrientationPatient", 6).reshape(2, 3)
    lengths = np.linalg.norm(directions, axis=1)
    if (abs(lengths - 1) > UNIT).any() or abs(directions[0] @ directions[1]) > UNIT:
        raise InputError(
            f"{one.where}: found directions (ImageOrientationPatient) of lengths {lengths[0]:.3g} and "
            f"{lengths[1]:.3g} with a dot product of {directions[0] @ directions[1]:.3g}, expected two unit "
            "vectors at a right angle; export the series again."
        )
    spacing = numbers(one.where, one.header, "PixelSpacing", 2)
    sizes = [integer(one.where, one.header, keyword) for keyword in ("Rows", "Columns")]
    if min(*spacing, *sizes) <= 0:
        raise InputError(
            f"{one.where}: found a size or a PixelSpacing of 0 or less, expected numbers above 0; export the "
            "series again."
        )


def _check_alike(folder: Path, slices: Sequence[Slice]) -> None:
    """All slices have the size, pixel spacing and directions of the first one."""
    first = slices[0]
    for keyword, count in (("Rows", 1), ("Columns", 1), ("PixelSpacing", 2), ("ImageOrientationPatient", 6)):
        expected = numbers(first.where, first.header, keyword, count)
        for one in slices:
            found = numbers(one.where, one.header, keyword, count)
            if not np.allclose(found, expected, rtol=0, atol=SAME_DIRECTION):
                raise InputError(
                    f"{folder}: {one.name} has {keyword} {found.tolist()} and {first.name} has "
                    f"{expected.tolist()}, expected the same in the whole series; remove the images that do "
                    "not belong to the stack."
                )


def _check_steps(folder: Path, slices: Sequence[Slice], positions: np.ndarray, normal: np.ndarray) -> None:
    """Check that neighbours have one distance; rounded positions of such a stack cause a warning."""
    steps = np.diff(positions @ normal)
    usual = float(np.median(steps))
    for before, after, step in zip(slices, slices[1:], steps, strict=False):
        if step < 0.01:  # mm
            raise InputError(
                f"{folder}: {before.name} and {after.name} lie at the same place, expected one image a "
                "slice; remove the duplicate, or the images of another phase."
            )
    step, origin = _step_and_origin(positions, normal)
    away = positions - (origin + np.arange(len(positions))[:, None] * step)
    if not _is_even(steps):
        largest = float(abs(away @ normal).max())
        if largest > min(ROUNDED_MM, ROUNDED_STEPS * float(step @ normal)):
            _refuse_step(folder, slices, steps, usual)
        _log.warning(
            "%s: positions lie up to %.2g mm away from even steps of %.4g mm, probably because of rounding; "
            "the even steps are used.",
            folder,
            largest,
            float(step @ normal),
        )
    _check_beside(folder, slices, away - np.outer(away @ normal, normal))


def _refuse_step(folder: Path, slices: Sequence[Slice], steps: np.ndarray, usual: float) -> None:
    """Name the first two neighbours with another distance, and how many slices are missing."""
    worst = next(index for index, step in enumerate(steps) if not _is_usual(step, usual))
    step, pair = steps[worst], f"{slices[worst].name} and {slices[worst + 1].name}"
    count = round(step / usual) - 1
    if count > 0 and abs(step - (count + 1) * usual) <= EVEN_STEPS * usual:
        missing = "1 slice is" if count == 1 else f"{count} slices are"
        raise InputError(
            f"{folder}: {missing} missing between {pair} ({step:g} mm apart, elsewhere {usual:g} mm), "
            "expected a complete series; export it again."
        )
    raise InputError(
        f"{folder}: the slice spacing is uneven: {step:g} mm between {pair}, elsewhere {usual:g} mm, "
        "expected one spacing; split the series or resample it."
    )


def _check_beside(folder: Path, slices: Sequence[Slice], beside: np.ndarray) -> None:
    """Refuse slices whose pixels lie half a pixel or more beside those of a straight stack."""
    first = slices[0]
    limit = max(ROUNDED_MM, 0.5 * float(numbers(first.where, first.header, "PixelSpacing", 2).min()))
    distances = np.linalg.norm(beside, axis=1)
    worst = int(distances.argmax())
    if distances[worst] > limit:
        raise InputError(
            f"{folder}: {slices[worst].name} lies {distances[worst]:.3g} mm off the line of the other "
            "slices, expected a straight stack; split the series or resample it."
        )


def _is_usual(step: float, usual: float) -> bool:
    return abs(step - usual) <= EVEN_STEPS * usual


def _is_even(steps: np.ndarray) -> bool:
    usual = float(np.median(steps))
    return all(_is_usual(step, usual) for step in steps)


def _step_and_origin(positions: np.ndarray, normal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of the even stack (N, 3): from end to end, or of rounded positions the straight line closest to all."""
    if _is_even(np.diff(positions @ normal)):
        return (positions[-1] - positions[0]) / (len(positions) - 1), positions[0]
    slope, origin = np.polyfit(np.arange(len(positions)), positions, 1)
    return slope, origin

"""Values of a DICOM header, taken by name: a malformed one is named, never shown."""

from pathlib import Path

import numpy as np
import pydicom

from ..errors import InputError
from .dicom_files import UNREADABLE


def numbers(where: Path | str, header: pydicom.Dataset, keyword: str, count: int) -> np.ndarray:
    """`count` finite numbers of an element, float64.

    Args:
        where: file, or file and frame, for messages.

    Raises:
        InputError: absent, malformed, another number of them, or one that is not finite.
    """
    found = _floats(header, keyword)
    if found is None:
        raise InputError(f"{where}: found no {keyword}, expected it in every slice; export the series again.")
    if found.size != count or not np.isfinite(found).all():
        many = "one finite number" if count == 1 else f"{count} finite numbers"
        raise InputError(f"{where}: {keyword} is malformed, expected {many}; export the series again.")
    return found


def integer(where: Path | str, header: pydicom.Dataset, keyword: str) -> int:
    """One whole number; see `numbers`."""
    value = float(numbers(where, header, keyword, 1)[0])
    if value != round(value):
        raise InputError(
            f"{where}: {keyword} is malformed, expected a whole number; export the series again."
        )
    return round(value)


def has(header: pydicom.Dataset, keyword: str) -> bool:
    """Whether an element is there and not empty, whatever its value is worth."""
    try:
        return keyword in header and not header[keyword].is_empty
    except UNREADABLE:
        return True


def text(header: pydicom.Dataset, keyword: str) -> str:
    """An element as text, "" where it is absent or cannot be read; for comparing, not for messages."""
    try:
        value = header.get(keyword)
    except UNREADABLE:
        return ""
    return "" if value is None else str(value).strip()


def words(header: pydicom.Dataset, keyword: str) -> tuple[str, ...]:
    """The values of an element of several texts, in capitals."""
    try:
        value = header.get(keyword)
    except UNREADABLE:
        return ()
    several = [value] if isinstance(value, str) else (value or [])
    return tuple(str(one).strip().upper() for one in several)


def _floats(header: pydicom.Dataset, keyword: str) -> np.ndarray | None:
    """The numbers of an element, NaN for what is none; None where it is absent or empty."""
    try:
        value = header.get(keyword)
        if value is None or value == "":
            return None
        found = np.atleast_1d(np.asarray(value, dtype=float)).ravel()
    except UNREADABLE:
        return np.array([np.nan])
    return found if found.size else None

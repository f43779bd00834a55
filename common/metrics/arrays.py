"""Arrays that the kernels take from what callers hand over, and how the kernels are compiled.

Callers hand over numpy, torch on any device, or MetaTensor. Kernels are loops over voxels and surface
elements, compiled with numba. Its cache notices changes in a kernel's own file only, so that no kernel calls
one of another file.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

Spacing = Sequence[float] | None
Array = NDArray[Any]


def as_array(values: Any, name: str) -> NDArray[Any]:
    """A numpy array of bool or of whole numbers; `name` is what an error calls it.

    Raises:
        InputError: values are fractions, not finite or no numbers.
    """
    array = np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)
    if array.dtype.kind in "biu":
        return array
    if array.dtype.kind == "f" and np.isfinite(array).all():
        whole = array.astype(np.int32)
        if np.array_equal(whole, array):
            return whole
    raise InputError(
        f"{name}: found {array.dtype} values, expected labels (bool or whole numbers); threshold "
        "probabilities or take their argmax first."
    )


def as_mask(values: Any, name: str) -> NDArray[Any]:
    """A numpy array of bool, or of the whole numbers 0 and 1.

    Raises:
        InputError: other values.
    """
    mask = as_array(values, name)
    if mask.dtype != bool and mask.size and (mask.min() < 0 or mask.max() > 1):
        raise InputError(
            f"{name}: found values {mask.min()} to {mask.max()}, expected a mask of 0 and 1; "
            "use measure_labels for a label map."
        )
    return mask


def check_spacing(spacing_mm: Spacing, axes: int, source: Any = None) -> tuple[float, ...]:
    """The spacing as floats, one an axis; without one, that of `source`, a MetaTensor.

    Raises:
        InputError: none given and `source` has none; wrong number of axes; not above 0.
    """
    affine = getattr(source, "affine", None)
    if spacing_mm is None and affine is not None and affine.ndim == 2:
        spacing_mm = np.linalg.norm(np.asarray(affine)[:3, :axes], axis=0).tolist()
    if spacing_mm is None:
        raise InputError(
            "spacing_mm: missing, expected the voxel size in mm of each axis; "
            "give it, or pass the reference as a MetaTensor with an affine."
        )
    spacing = tuple(float(size) for size in spacing_mm)
    if len(spacing) != axes or not all(0 < size < float("inf") for size in spacing):
        raise InputError(
            f"spacing_mm: found {spacing}, expected {axes} sizes in mm above 0, one for each axis of the "
            "masks."
        )
    return spacing


def check_pair(pred: NDArray[Any], ref: NDArray[Any]) -> None:
    """Both (H, W) or (D, H, W), of the same shape.

    Raises:
        InputError: they are not.
    """
    if pred.shape != ref.shape:
        raise InputError(
            f"pred: found shape {pred.shape}, expected that of ref, {ref.shape}; "
            "resample one to the other's grid."
        )
    if pred.ndim not in (2, 3) or 0 in pred.shape:
        raise InputError(
            f"pred: found shape {pred.shape}, expected (H, W) or (D, H, W) with voxels; "
            "pass one image at a time, without batch and channel axes."
        )


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile at the first call, without holding the interpreter's lock in the calls, so that threads help.

    The machine code is kept on disk beside the file or in the user's cache, where one can be written.
    """
    # What is kept names its module: imported as `common` and as `scripts.common`, a file needs two entries.
    function.__qualname__ = f"{function.__module__}.{function.__qualname__}"
    try:
        return numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:  # numba finds no folder for its cache, as in a read-only container
        return numba.njit(nogil=True)(function)

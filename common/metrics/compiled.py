"""How loops over voxels and surface elements are compiled: with numba, one file of kernels at a time.

Numba's cache notices changes in a kernel's own file only, so that kernels call none of another file.
"""

from collections.abc import Callable
from typing import Any

import numba
from numpy.typing import NDArray

Array = NDArray[Any]


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

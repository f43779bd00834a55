"""Let torchvision's CUDA build be imported beside a CPU build of torch.

MONAI Label imports `torchvision.utils`, and transformers imports whatever torchvision is installed. PyPI has
torchvision for Linux as a CUDA build only; beside a CPU torch its compiled part does not load, and the import
then ends with "operator torchvision::nms does not exist", as two registrations are not guarded. Declaring the
two operators first lets the Python parts work, and nothing here calls the operators.
"""

import ctypes
import importlib.util
from pathlib import Path
from typing import Any

_kept: list[Any] = []  # the operators vanish when their library object does


def make_importable() -> None:
    """Declare the operators where torchvision's compiled part cannot be loaded; otherwise do nothing."""
    spec = importlib.util.find_spec("torchvision")
    if _kept or spec is None or spec.origin is None:
        return
    import torch

    try:
        ctypes.CDLL(str(Path(spec.origin).with_name("_C.so")))
    except OSError:
        library = torch.library.Library("torchvision", "DEF")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _kept.append(library)

"""Which weights are no numbers: those of a training that diverged."""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor


def non_finite(content: Any) -> list[str]:
    """Names of the tensors in `content` that hold NaN or an infinite value, such as ["head.weight"].

    Args:
        content: state dicts, nested in any way; what is no tensor counts as sound.
    """
    return [name for name, value in _tensors(content, "") if not _is_finite(value)]


def _tensors(content: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(content, Tensor):
        yield name, content
    elif isinstance(content, Mapping | list | tuple):
        parts = content.items() if isinstance(content, Mapping) else enumerate(content)
        for key, value in parts:
            yield from _tensors(value, f"{name}.{key}" if name else str(key))


def _is_finite(value: Tensor) -> bool:
    if not (value.is_floating_point() or value.is_complex()):
        return True
    value = value.float() if value.element_size() == 1 else value  # torch asks no 8-bit float
    return bool(value.isfinite().all())

"""Read the next case while the present one is being segmented."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Loaded = TypeVar("Loaded")


def load_ahead(
    items: Iterable[Item], load: Callable[[Item], Loaded]
) -> Iterator[tuple[Item, Future[Loaded]]]:
    """Yield each item with the future of `load(item)`; one more is loaded in a thread meanwhile.

    No more than two loaded items exist at a time. `future.result()` raises what `load` raised.
    MONAI's `ThreadBuffer` would hold a third volume, and lose the error of a case.
    """
    pending: deque[tuple[Item, Future[Loaded]]] = deque()
    with ThreadPoolExecutor(max_workers=1) as pool:
        for item in items:
            pending.append((item, pool.submit(load, item)))
            if len(pending) > 1:
                yield pending.popleft()
        while pending:
            yield pending.popleft()

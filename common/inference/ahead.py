"""Read the next case while the present one is being segmented."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Thread
from typing import TypeVar

Item = TypeVar("Item")
Loaded = TypeVar("Loaded")
END_S = 2.0  # a thread that has nothing to read ends at once


def load_ahead(
    items: Iterable[Item], load: Callable[[Item], Loaded]
) -> Iterator[tuple[Item, Future[Loaded]]]:
    """Yield each item with the future of `load(item)`; one more is loaded in a thread meanwhile.

    No more than two loaded items exist at a time. `future.result()` raises what `load` raised. The process
    does not wait for the thread when it ends: an input may never answer (a pipe, a share that is gone).
    MONAI's `ThreadBuffer` would hold a third volume, and lose the error of a case.
    """
    pending: deque[tuple[Item, Future[Loaded]]] = deque()
    asked: SimpleQueue[tuple[Item, Future[Loaded]] | None] = SimpleQueue()
    thread = Thread(target=_load_all, args=(asked, load), daemon=True)
    thread.start()
    try:
        for item in items:
            pending.append((item, Future()))
            asked.put(pending[-1])
            if len(pending) > 1:
                yield pending.popleft()
        while pending:
            yield pending.popleft()
    finally:
        asked.put(None)
        thread.join(END_S)  # Python's end would kill it within C++ code, which aborts the process


def _load_all(
    asked: "SimpleQueue[tuple[Item, Future[Loaded]] | None]", load: Callable[[Item], Loaded]
) -> None:
    while (job := asked.get()) is not None:
        item, future = job
        try:
            future.set_result(load(item))
        except BaseException as error:
            future.set_exception(error)
        del job, item, future  # the volume is its user's alone

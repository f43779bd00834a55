"""Collect all faults of a datalist's items in one error, so that users can mend them all at once."""

from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import InputError

SHOWN = 10


class Faults:
    """Collects the errors of a loop over items.

    Args:
        of: what the items are, for the message, such as "training cases".
    """

    def __init__(self, of: str) -> None:
        self.of = of
        self.found: list[str] = []

    @contextmanager
    def collected(self) -> Iterator[None]:
        """Around what one item needs: its InputError is kept for later, and the loop goes on."""
        try:
            yield
        except InputError as error:
            self.found.append(str(error))

    def check(self) -> None:
        """After the loop.

        Raises:
            InputError: the only fault that was found, or all of them, of which the first ten are shown.
        """
        if len(self.found) == 1:
            raise InputError(self.found[0])
        if self.found:
            shown = " ".join(f"({number}) {text}" for number, text in enumerate(self.found[:SHOWN], start=1))
            more = f" And {len(self.found) - SHOWN} more." if len(self.found) > SHOWN else ""
            raise InputError(f"{len(self.found)} of the {self.of} cannot be used: {shown}{more}")

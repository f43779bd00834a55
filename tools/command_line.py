"""What every command line of `tools` does with an error of its user. Nothing heavy: --help stays fast."""

import sys
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

from common.errors import InputError
from common.files import show_any_path

P = ParamSpec("P")


def says_input_errors(*, exit_code: int) -> Callable[[Callable[P, int]], Callable[P, int]]:
    """Decorate a command: it prints an InputError as one line on stderr and returns `exit_code` for it.

    Every other error goes through, with its traceback.
    """

    def decorate(command: Callable[P, int]) -> Callable[P, int]:
        @wraps(command)
        def run(*args: P.args, **kwargs: P.kwargs) -> int:
            show_any_path()
            try:
                return command(*args, **kwargs)
            except InputError as error:
                print(f"error: {error}", file=sys.stderr)
                return exit_code

        return run

    return decorate

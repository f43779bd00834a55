"""What every command line of `tools` does with an error of its user. Nothing heavy: --help stays fast."""

import argparse
import sys
from collections.abc import Callable
from functools import wraps
from typing import NoReturn, ParamSpec

from common.errors import InputError
from common.files import show_any_path
from common.terminal import CLOSED, keep_logs_printable, print_no_more, printable

P = ParamSpec("P")


class Parser(argparse.ArgumentParser):
    """Says what is wrong with an option in printable text."""

    def error(self, message: str) -> NoReturn:
        """See argparse."""
        super().error(printable(message))


def says_input_errors(*, exit_code: int) -> Callable[[Callable[P, int]], Callable[P, int]]:
    """Decorate a command: it prints an InputError as one line on stderr and returns `exit_code` for it.

    Where nobody reads its output (`| head -1`), it ends quietly.

    Every other error goes through, with its traceback.
    """

    def decorate(command: Callable[P, int]) -> Callable[P, int]:
        @wraps(command)
        def run(*args: P.args, **kwargs: P.kwargs) -> int:
            show_any_path()
            keep_logs_printable()
            try:
                code = command(*args, **kwargs)
                sys.stdout.flush()  # here, where it can be said that nobody reads it
                return code
            except InputError as error:
                print(f"error: {printable(error)}", file=sys.stderr)
                return exit_code
            except BrokenPipeError:
                print_no_more()
                return CLOSED

        return run

    return decorate

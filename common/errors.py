"""The errors that a user sees."""


class InputError(ValueError):
    """Something a user gave cannot be used.

    The message is one sentence that names the file or field, what was found, what was expected and
    what to do. Command lines print it without a traceback and exit with a non-zero code.
    """


def reason_of(error: BaseException) -> str:
    """The first line of another library's error, or its type if it has no text."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


class SwitchError(InputError):
    """A switch of a run that cannot work on this machine: it would fail for every case."""


def input_error_of(error: BaseException | None) -> InputError | None:
    """The InputError behind an error: MONAI raises its own from what a component's constructor raises."""
    while error is not None and not isinstance(error, InputError):
        error = error.__cause__
    return error

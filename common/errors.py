"""The error that a user sees."""


class InputError(ValueError):
    """Something a user gave cannot be used.

    The message is one sentence that names the file or field, what was found, what was expected and
    what to do. Command lines print it without a traceback and exit with a non-zero code.
    """


class SwitchError(InputError):
    """A switch of a run that cannot work here, whatever the case: trying the next one is no use."""

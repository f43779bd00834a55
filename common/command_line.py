"""What the configs need of `python -m monai.bundle run`, whose overrides are Python and errors long."""

import sys
from collections.abc import Iterator, Mapping
from types import FrameType, TracebackType
from typing import Any

from monai.bundle import ConfigParser

from .errors import InputError, input_error_of

AS_PYTHON = {"true": "True", "false": "False", "null": "None"}  # from JSON, in which configs are written


def prepare() -> None:
    """First step of every config: refuse what would be misread, and end a run with one line of what is wrong.

    Raises:
        InputError: an override is spelt as in JSON.
    """
    main = getattr(sys.modules["__main__"], "__spec__", None)
    if main is not None and main.name == "monai.bundle.__main__":  # and no program of somebody else's
        sys.excepthook = _say
    check_spelling(config_being_parsed() or {})


def check_spelling(config: Mapping[str, Any]) -> None:
    """Refuse the texts "true", "false" and "null".

    `--language false` is the text "false" to MONAI's command line, and texts are true: the network would be
    one with language.

    Raises:
        InputError: names the key and Python's spelling.
    """
    for key, value in _texts(config, ""):
        if value.lower() in AS_PYTHON:
            right = AS_PYTHON[value.lower()]
            raise InputError(
                f"{key}: found the text {value!r}, expected {right}: MONAI's command line reads Python, "
                f"and takes {value} for a word; give --{key} {right}."
            )


def config_being_parsed() -> dict[str, Any] | None:
    """The content of the parser that is building the caller; None when it is built by plain code.

    A MONAI config has no way to refer to itself as a whole, so it is read off the parser that waits further
    up the stack.
    """
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        parser = frame.f_locals.get("self")
        if isinstance(parser, ConfigParser):
            content: dict[str, Any] = parser.get()
            return content
        frame = frame.f_back
    return None


def _texts(content: Any, key: str) -> Iterator[tuple[str, str]]:
    """All texts in a config with their ids, such as ("loss#weights#dice", "...")."""
    if isinstance(content, str):
        yield key, content
    elif isinstance(content, dict | list):
        parts = content.items() if isinstance(content, dict) else enumerate(content)
        for name, part in parts:
            yield from _texts(part, f"{key}#{name}" if key else str(name))


def _say(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """The last line of a run that failed; what is no fault of the input keeps its traceback."""
    wrong = input_error_of(error)
    if wrong is not None:
        print(f"error: {wrong}", file=sys.stderr)
    elif issubclass(kind, KeyboardInterrupt):
        print(
            "stopped by Ctrl-C: a training goes on from its last whole epoch when the same command is given "
            "again.",
            file=sys.stderr,
        )
    else:
        sys.__excepthook__(kind, error, trace)

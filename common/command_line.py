"""What the configs need of `python -m monai.bundle run`, whose overrides are Python and errors long."""

import difflib
import inspect
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from types import FrameType, TracebackType
from typing import Any

from monai.bundle import ConfigParser, run

from .errors import InputError, input_error_of

# Of the command line, not of configs; the last two are taken by name before the others become keys.
MONAIS_OWN = {*inspect.signature(run).parameters, "workflow_name", "workflow_type"}
SECTIONS = ("imports", "initialize", "run", "finalize")  # what MONAI itself looks for
AS_PYTHON = {"true": "True", "false": "False", "null": "None"}  # from JSON, in which configs are written


def prepare() -> None:
    """First step of every config: refuse what would be misread, and end a run with one line of what is wrong.

    Raises:
        InputError: an override is spelt as in JSON, or nothing reads its key.
    """
    config = config_being_parsed() or {}
    main = getattr(sys.modules["__main__"], "__spec__", None)
    if main is not None and main.name == "monai.bundle.__main__":  # and no program of somebody else's
        sys.excepthook = _say
        check_keys(sys.argv[1:], config)
    check_spelling(config)


def check_keys(arguments: Sequence[str], config: Mapping[str, Any]) -> None:
    """Refuse keys that nothing in the configs reads: MONAI adds them, and the run does something else.

    Args:
        arguments: of the command line, such as `--promts_file`, `mine.txt`.
        config: all files and these overrides as one.

    Raises:
        InputError: names the key and those that are like it.
    """
    given = [argument[2:].partition("=")[0] for argument in arguments if argument.startswith("--")]
    if "tracking" in given:
        return  # MONAI's own settings of it become keys that its own code reads
    read = {key for _, text in _texts(config, "") for key in re.findall(r"[@%](\w+)", text)} | {*SECTIONS}
    for key in (name.partition("#")[0].replace("-", "_") for name in given):
        if key and key not in read and key not in MONAIS_OWN and not isinstance(config.get(key), dict | list):
            near = difflib.get_close_matches(key, read & config.keys(), n=3)
            hint = f"did you mean {' or '.join(near)}? Correct" if near else "correct"
            raise InputError(
                f"{key}: found --{key}, but nothing in the configs reads this key, expected one of theirs"
                f"; {hint} it or leave it out."
            )


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

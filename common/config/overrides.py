"""Checks for `python -m monai.bundle run`, whose overrides are Python and whose errors are long."""

import difflib
import inspect
import pydoc
import re
import sys
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, NoReturn

import torch
from monai.bundle import ConfigParser
from tqdm import tqdm

from ..errors import InputError, reason_of
from ..terminal import keep_logs_printable, printable
from .command_line import (
    MONAIS_OWN,
    config_of,
    parser_of_run,
    read_arguments,
    settings_of,
    started_by_monai,
)
from .values import as_data

NETWORK = "network_def"  # the section of a config that holds the network's arguments, and no other place does
ASKED = "asked"  # the section, of inference alone, that checks what a user asks
AS_PYTHON = {"true": "True", "false": "False", "null": "None"}  # from JSON, in which configs are written
_SEPARATOR = re.compile("#|::")


def prepare() -> None:
    """First step of every config: refuse what would be misread, and end a run with one line of what is wrong.

    Paths and other values of the table in `config.rules` reach the components as they were typed.

    It does nothing in programs other than `python -m monai.bundle`: they give values, and show errors, in
    their own way.

    Raises:
        InputError: an override is spelt as in JSON, of a key that the files do not have, or of another type
            or range than its key's; or what is asked cannot be used.
    """
    if started_by_monai():
        sys.excepthook = _say
        keep_logs_printable()
        given = read_arguments(sys.argv[1:])
        check_keys(given)
        check_spelling(config_of(given))
        parser = parser_of_run()
        parser.update(as_data(settings_of(sys.argv[1:])))
        parser.parse(reset=True)
        check_asked_by(parser)


def check_asked_by(parser: ConfigParser) -> None:
    """Build the part of a config that checks the request, before the network is built and loaded.

    Raises:
        InputError: inputs or prompts that cannot be used.
    """
    if ASKED in parser:
        parser.get_parsed_content(ASKED)


def check_keys(given: Mapping[str, Any]) -> None:
    """Refuse keys that the config files do not have: MONAI would add them and silently ignore them.

    An argument of the network is one that the files' `network_def` has, and is given as
    `--network_def#preset`. A key such as `inferer#slice_batch` is an argument that its section's class takes;
    of a missing section, MONAI itself refuses it.

    Args:
        given: see `read_arguments`.

    Raises:
        InputError: names the key and those that are like it.
    """
    if "config_file" not in given or "tracking" in given:  # another file has them, or MONAI's own code
        return
    content = ConfigParser.load_config_files(given["config_file"])
    known = {_SEPARATOR.split(key)[0] for key in content} | {
        name for _, text in _texts(content, "") for name in re.findall(r"[@%](\w+)", text)
    }
    of_network = _network_arguments(content)
    for key in (name.lstrip("+") for name in given):
        section, *path = _SEPARATOR.split(key)
        if section == NETWORK and path and of_network:
            _check_argument(path[0], of_network)
        elif path:
            _check_nested(key, content, [section, *path])
        elif not path and key not in known | MONAIS_OWN:
            _refuse(key, known, of_network)


def _network_arguments(content: Mapping[str, Any]) -> set[str]:
    """Names of what `network_def` has, in its own braces or as `network_def#NAME`."""
    definition = content.get(NETWORK)
    apart = {path[0] for section, *path in map(_SEPARATOR.split, content) if section == NETWORK and path}
    return apart | (definition.keys() if isinstance(definition, dict) else set())


def _check_argument(name: str, of_network: set[str]) -> None:
    if name not in of_network and not name.startswith("_"):  # _target_ and other words of MONAI's
        key = f"{NETWORK}#{name}"
        raise InputError(
            f"{key}: found --{key}, but the config files' {NETWORK} has no {name}, expected one of its "
            f"arguments; {_hint(name, of_network, prefix=f'{NETWORK}#')} it or leave it out."
        )


def _check_nested(key: str, content: Mapping[str, Any], path: list[str]) -> None:
    """Refuse an argument that the section's class or function does not take."""
    section: Any = content
    for part in path[:-1]:
        section = section.get(part) if isinstance(section, Mapping) else None
    if not isinstance(section, Mapping) or path[-1] in section or path[-1].startswith("_"):
        return
    built = pydoc.locate(str(section.get("_target_", "")))
    if not callable(built):  # a plain section, or a name that MONAI looks up by itself
        return
    try:
        takes = inspect.signature(built).parameters
    except ValueError:  # some built-in functions have none
        return
    if path[-1] not in takes and not any(one.kind is one.VAR_KEYWORD for one in takes.values()):
        prefix = key.removesuffix(path[-1])
        raise InputError(
            f"{key}: found --{key}, but {section['_target_']} has no argument {path[-1]}, expected one of "
            f"{', '.join(takes)}; {_hint(path[-1], set(takes), prefix=prefix)} it or leave it out."
        )


def _refuse(key: str, known: set[str], of_network: set[str]) -> NoReturn:
    if key in of_network:
        raise InputError(
            f"--{key}: network arguments are given as --{NETWORK}#{key}, found --{key} alone; write "
            f"--{NETWORK}#{key}."
        )
    raise InputError(
        f"{key}: found --{key}, but the config files have no such key, expected one of their keys; "
        f"{_hint(key, known)} it or leave it out."
    )


def _hint(key: str, known: set[str], prefix: str = "") -> str:
    near = [f"{prefix}{name}" for name in difflib.get_close_matches(key, known, n=3)]
    return f"did you mean {' or '.join(near)}? Rename" if near else "rename"


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
                f"where {value} is a text; give --{key} {right}."
            )


def _texts(content: Any, key: str) -> Iterator[tuple[str, str]]:
    """All texts in a config with their ids, such as ("loss#weights#dice", "...")."""
    if isinstance(content, str):
        yield key, content
    elif isinstance(content, dict | list):
        parts = content.items() if isinstance(content, dict) else enumerate(content)
        for name, part in parts:
            yield from _texts(part, f"{key}#{name}" if key else str(name))


def _say(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print the last line of a failed run; an error that the input did not cause keeps its traceback."""
    for bar in list(tqdm._instances):  # the sentence would appear in the middle of one
        bar.close()
    wrong = _reason(error)
    if wrong is not None:
        print(f"error: {printable(wrong)}", file=sys.stderr)
    elif issubclass(kind, KeyboardInterrupt):
        print(
            "stopped by Ctrl-C: the same command continues a training from its last complete epoch.",
            file=sys.stderr,
        )
    else:
        sys.__excepthook__(kind, error, trace)


def _reason(error: BaseException | None) -> str | None:
    """A sentence if the input, its size or this machine's files caused the error; None for a bug."""
    while error is not None:
        if isinstance(error, InputError):
            return str(error)
        if isinstance(error, MemoryError | torch.OutOfMemoryError):
            return (
                f"memory: found too little ({reason_of(error)}), expected enough for one step; lower "
                "batch_size, slice_batch or network_def#image_size."
            )
        if isinstance(error, OSError) and error.strerror is not None:
            place = error.filename or "files"
            return f"{place}: cannot be read or written ({error.strerror}); check the path and free space."
        error = error.__cause__
    return None

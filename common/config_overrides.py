"""What the configs need of `python -m monai.bundle run`, whose overrides are Python and errors long."""

import difflib
import inspect
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from types import FrameType, TracebackType
from typing import Any, NoReturn

from fire.parser import DefaultParseValue
from monai.bundle import ConfigParser, ConfigWorkflow, run

from .errors import InputError, input_error_of

# Arguments of MONAI's command line, which become no keys
MONAIS_OWN = {*inspect.signature(run).parameters, *inspect.signature(ConfigWorkflow).parameters}
MONAIS_OWN = MONAIS_OWN - {"override"} | {"workflow_name"}
NETWORK = "network_def"  # the section of a config that holds the network's arguments, and no other place does
AS_PYTHON = {"true": "True", "false": "False", "null": "None"}  # from JSON, in which configs are written
_SEPARATOR = re.compile("#|::")


def prepare() -> None:
    """First step of every config: refuse what would be misread, and end a run with one line of what is wrong.

    Raises:
        InputError: an override is spelt as in JSON, or of a key that the files do not have.
    """
    main = getattr(sys.modules["__main__"], "__spec__", None)
    if main is not None and main.name == "monai.bundle.__main__":  # and no program of somebody else's
        sys.excepthook = _say
        check_keys(sys.argv[1:])
    check_spelling(config_being_parsed() or {})


def check_keys(arguments: Sequence[str]) -> None:
    """Refuse keys that the config files do not have: MONAI adds them, and the run does something else.

    An argument of the network is one that the files' `network_def` has, and is given as
    `--network_def#preset`. Other keys with a separator, such as `train#dataset`, pass: MONAI itself refuses
    those of a missing section.

    Args:
        arguments: of the command line, such as `--config_file`, `train.json`, `--promts_file`, `mine.txt`.

    Raises:
        InputError: names the key and those that are like it.
    """
    if "--" in arguments:  # Fire's own flags stand behind it
        arguments = arguments[: arguments.index("--")]
    flags = [argument.lstrip("-+") for argument in arguments if re.match(r"--?\+?[a-zA-Z]", argument)]
    given = [flag.partition("=")[0].replace("-", "_") for flag in flags]
    if "config_file" not in given or "tracking" in given:  # another file has them, or MONAI's own code
        return
    content = ConfigParser.load_config_files(_value_of("config_file", arguments))
    known = {_SEPARATOR.split(key)[0] for key in content} | {
        name for _, text in _texts(content, "") for name in re.findall(r"[@%](\w+)", text)
    }
    of_network = _network_arguments(content)
    for key in given:
        section, *path = _SEPARATOR.split(key)
        if section == NETWORK and path and of_network:
            _check_argument(path[0], of_network)
        elif not path and not {key, key.removeprefix("no")} & (known | MONAIS_OWN):  # --noamp: False
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


def _refuse(key: str, known: set[str], of_network: set[str]) -> NoReturn:
    if key in of_network:
        raise InputError(
            f"--{key}: network arguments are given as --{NETWORK}#{key}, found --{key} alone; write "
            f"--{NETWORK}#{key}."
        )
    raise InputError(
        f"{key}: found --{key}, but the config files have no such key, expected one of theirs; "
        f"{_hint(key, known)} it or leave it out."
    )


def _hint(key: str, known: set[str], prefix: str = "") -> str:
    near = [f"{prefix}{name}" for name in difflib.get_close_matches(key, known, n=3)]
    return f"did you mean {' or '.join(near)}? Correct" if near else "correct"


def _value_of(name: str, arguments: Sequence[str]) -> Any:
    """What Fire reads for an argument that is there, as `--name value` or `--name=value`."""
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        flag, equals, value = argument.lstrip("-").partition("=")
        if flag.replace("-", "_") == name and argument.startswith("-"):
            return DefaultParseValue(value if equals else following)
    raise LookupError(name)


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

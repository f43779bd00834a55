"""What `python -m monai.bundle` was given: a config has no way to refer to itself as a whole."""

import gc
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import fire
import monai.bundle
from monai.bundle import ConfigParser, ConfigWorkflow, update_kwargs
from monai.utils import ensure_tuple

from .values import settings

# Arguments of MONAI's run commands that do not become keys of the config
MONAIS_OWN = {*inspect.signature(monai.bundle.run).parameters, *inspect.signature(ConfigWorkflow).parameters}
MONAIS_OWN = MONAIS_OWN - {"override"} | {"workflow_name"}


def started_by_monai() -> bool:
    """True only in a process of `python -m monai.bundle`, never in another program."""
    main = getattr(sys.modules["__main__"], "__spec__", None)
    return main is not None and main.name == "monai.bundle.__main__"


def read_arguments(words: Sequence[str]) -> dict[str, Any]:
    """Values by name as MONAI's command gets them: Fire reads these words for it too.

    Args:
        words: of the command line, such as `run`, `training`, `--config_file`, `train.json`, `--amp`, `True`.
    """
    in_order, named = _by_fire(words)
    command = getattr(monai.bundle, in_order[0])
    return dict(zip(inspect.signature(command).parameters, in_order[1:], strict=False)) | named


def read_texts(words: Sequence[str]) -> dict[str, str]:
    """The named ones of `read_arguments`, letter by letter: `run#2` is the text `run` to Fire."""
    return _by_fire(words, read=str)[1]


def _by_fire(
    words: Sequence[str], *, read: Callable[[str], Any] | None = None
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Values in order and by name; `read` makes them of their texts, None as Fire does by itself."""

    def collect(*in_order: Any, **named: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return in_order, named

    words = list(words)
    if "--" in words:  # Fire's own flags stand behind it
        words = words[: words.index("--")]
    component = collect if read is None else fire.decorators.SetParseFn(read)(collect)
    in_order, named = fire.Fire(component, command=words, serialize=lambda _: None)  # which prints nothing
    return tuple(in_order), dict(named)


def config_of(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The config after all files and overrides, with macros (%) replaced; nothing is built yet.

    It is read as MONAI's `create_workflow` and `ConfigWorkflow` do, but for the handler that `tracking` adds.
    """
    parser = _parser_of(arguments)
    parser.resolve_macro_and_relative_ids()
    content: dict[str, Any] = parser.get()
    return content


def _parser_of(arguments: Mapping[str, Any]) -> ConfigParser:
    arguments = deepcopy(dict(arguments))  # the parser changes lists in place
    given = update_kwargs(
        arguments.get("args_file"), **{name: arguments[name] for name in arguments if name != "args_file"}
    )
    files = given["config_file"]
    metadata = given.get("meta_file", str(Path(ensure_tuple(files)[0]).parent / "metadata.json"))
    parser = ConfigParser()
    parser.read_config(files)
    if all(Path(file).is_file() for file in ensure_tuple(metadata)):
        parser.read_meta(metadata)
    parser.update({name: value for name, value in given.items() if name not in MONAIS_OWN})
    return parser


def settings_of(words: Sequence[str]) -> dict[str, Any]:
    """Values of the keys that have a rule, of a run with these words, see `config.values.settings`.

    Raises:
        InputError: one of them has the wrong type for its key, or is out of range.
    """
    given = read_arguments(words)
    return settings(_parser_of(given).get(), given, read_texts(words))


def config_of_run() -> dict[str, Any] | None:
    """The config that `python -m monai.bundle` is running; None in other programs, which know theirs."""
    if not started_by_monai():
        return None
    parser = ConfigParser(config_of(read_arguments(sys.argv[1:])))
    parser.update(settings_of(sys.argv[1:]))
    content: dict[str, Any] = parser.get()
    return content


def parser_of_run() -> ConfigParser:
    """The parser of the workflow that `python -m monai.bundle run` has made, which hands it to nobody."""
    return next(one.parser for one in gc.get_objects() if issubclass(type(one), ConfigWorkflow))

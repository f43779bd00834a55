"""What `python -m monai.bundle` was given: a config has no way to refer to itself as a whole."""

import inspect
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import fire
import monai.bundle
from monai.bundle import ConfigParser, ConfigWorkflow, update_kwargs
from monai.utils import ensure_tuple

# Arguments of MONAI's commands that run a config, which become no keys of it
MONAIS_OWN = {*inspect.signature(monai.bundle.run).parameters, *inspect.signature(ConfigWorkflow).parameters}
MONAIS_OWN = MONAIS_OWN - {"override"} | {"workflow_name"}


def started_by_monai() -> bool:
    """True in a process of `python -m monai.bundle`, and in no program of somebody else's."""
    main = getattr(sys.modules["__main__"], "__spec__", None)
    return main is not None and main.name == "monai.bundle.__main__"


def read_arguments(words: Sequence[str]) -> dict[str, Any]:
    """Values by name as MONAI's command gets them: Fire reads these words for it too.

    Args:
        words: of the command line, such as `run`, `training`, `--config_file`, `train.json`, `--amp`, `True`.
    """
    words = list(words)
    if "--" in words:  # Fire's own flags stand behind it
        words = words[: words.index("--")]
    in_order, named = fire.Fire(_collect, command=words, serialize=lambda _: None)  # which prints nothing
    command = getattr(monai.bundle, in_order[0])
    return dict(zip(inspect.signature(command).parameters, in_order[1:], strict=False)) | named


def _collect(*in_order: Any, **named: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return in_order, named


def config_of(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The config after all files and overrides, its macros (%) replaced, and nothing of it built.

    It is read as MONAI's `create_workflow` and `ConfigWorkflow` do, but for the handler that `tracking` adds.
    """
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
    parser.resolve_macro_and_relative_ids()
    content: dict[str, Any] = parser.get()
    return content


def config_of_run() -> dict[str, Any] | None:
    """The config that `python -m monai.bundle` is running; None in other programs, which know theirs."""
    return config_of(read_arguments(sys.argv[1:])) if started_by_monai() else None

"""Values of a run's keys: checked by the table of rules, and handed to MONAI's parser as data."""

import re
from collections.abc import Mapping
from typing import Any

from .rules import RULES, take

EXPRESSIONS = ("$", "@", "%")  # prefixes of texts that MONAI's parser evaluates
_MISSING = object()


def settings(
    content: Mapping[str, Any], given: Mapping[str, Any], typed: Mapping[str, str]
) -> dict[str, Any]:
    """All keys of `RULES` that a run has, with their values in the right types.

    Expressions in config files stay MONAI's; on the command line they are no value.

    Args:
        content: of the config with all overrides.
        given, typed: values by key of the command line, as Fire reads them and as they stand there.

    Raises:
        InputError: see `take`.
    """
    given, typed = ({key.replace("::", "#"): one[key] for key in one} for one in (given, typed))
    found = {}
    for key in RULES:
        if key in typed:
            found[key] = take(key, given[key], typed[key])
        elif (value := _look_up(content, key)) is not _MISSING and not _evaluated(value):
            found[key] = take(key, value)
    return found


def _look_up(content: Any, key: str) -> Any:
    for part in key.split("#"):
        if not isinstance(content, Mapping) or part not in content:
            return _MISSING
        content = content[part]
    return content


def _evaluated(value: Any, marks: tuple[str, ...] = EXPRESSIONS) -> bool:
    """Whether MONAI builds a component of something in it, or evaluates a text with one of the marks."""
    if isinstance(value, Mapping):
        return "_target_" in value or any(_evaluated(one, marks) for one in value.values())
    if isinstance(value, list | tuple):
        return any(_evaluated(one, marks) for one in value)
    return isinstance(value, str) and value.startswith(marks)


def as_data(values: Mapping[str, Any]) -> dict[str, Any]:
    """Overrides that MONAI's parser hands on as they are: literals without the marks that it reads.

    It takes `run#2` for a path within the config, evaluates `$x`, and looks for `@x` and `%x`. What has a
    `_target_` in it is a part of a config, and stays one.

    Args:
        values: by key, as in JSON.
    """
    return {key: _literal(value) for key, value in values.items()}


def _is_plain(value: Any) -> bool:
    """Whether it holds only JSON values; MONAI does not look into others."""
    if isinstance(value, Mapping):
        return all(map(_is_plain, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


def _literal(value: Any) -> Any:
    if not isinstance(value, str | list | tuple | Mapping) or not _is_plain(value):
        return value
    if _evaluated(value, marks=()):  # a part of a config
        return value
    return "$" + re.sub("[#@%]", lambda found: f"\\x{ord(found[0]):02x}", ascii(value))

"""A client's request: the fields that are used, checked; all others are dropped.

A field of MONAI Label's requests can name any file of the server, choose where results are saved, or replace
settings. So nothing of a request goes on but what is read here.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from common.errors import InputError
from common.text.prompts import MAX_LABEL, check_prompt

SEPARATOR = ";"  # between prompts in the one text field that viewers have; commas belong to descriptions
FORMATS = ("nii.gz", "nii", "nrrd", "mha")
FLAGS = ("keep_largest", "smooth")


@dataclass(frozen=True)
class Asked:
    """A checked request for masks.

    Attributes:
        prompts: different texts, at least one; label numbers are 1, 2, ... in their order.
        options: arguments of the bundle's inferer.
        file_format: of the label map.
    """

    prompts: tuple[str, ...]
    options: dict[str, bool | float]
    file_format: str


def read_asked(params: Mapping[str, Any]) -> Asked:
    """Read a request's fields.

    These are `prompts` (a list) or `prompt` (text, several separated by `;`), `keep_largest`, `smooth`,
    `presence_threshold` and `result_extension`.

    Raises:
        InputError: a field that cannot be used.
    """
    options: dict[str, bool | float] = {name: _flag(params[name], name) for name in FLAGS if name in params}
    if "presence_threshold" in params:
        options["presence_threshold"] = _share(params["presence_threshold"], "presence_threshold")
    return Asked(_prompts(params), options, _format(params.get("result_extension") or ".nii.gz"))


def check_plain_name(value: object, field: str) -> str:
    """Return a name that can be part of a path: of a study, a tag, a session.

    Raises:
        InputError: not text, empty, or with something that leads elsewhere.
    """
    if (
        not isinstance(value, str)
        or not value.strip(". ")
        or re.search(r"[/\\:\x00-\x1f]", value)
        or len(value) > 200
    ):
        raise InputError(
            f"{field}: found {str(value)[:60]!r}, expected a plain name without /, \\ and :; give the name "
            "that the server's list of studies has."
        )
    return value


def whole_number(value: object, field: str, low: int, high: int) -> int:
    """Return an int from a number or its text.

    Raises:
        InputError: something else, or out of range.
    """
    text = str(value).strip()
    if isinstance(value, bool) or not re.fullmatch(r"\d{1,9}", text) or not low <= int(text) <= high:
        raise InputError(f"{field}: found {text[:20]!r}, expected a whole number from {low} to {high}.")
    return int(text)


def _prompts(params: Mapping[str, Any]) -> tuple[str, ...]:
    given = params.get("prompts")
    if given is None:
        text = check_prompt(params.get("prompt", ""), field="prompt")
        given = [part for part in text.split(SEPARATOR) if part.strip()] or [""]
    if not isinstance(given, list) or not 1 <= len(given) <= MAX_LABEL:
        found = f"{len(given)} texts" if isinstance(given, list) else type(given).__name__
        raise InputError(
            f"prompts: found {found}, expected a list of 1 to {MAX_LABEL} texts; say what to segment."
        )
    several = len(given) > 1
    prompts = [
        check_prompt(text, field=f"prompt {number}" if several else "prompt")
        for number, text in enumerate(given, start=1)
    ]
    for text in prompts:
        if prompts.count(text) > 1:
            raise InputError(f"prompts: found {text!r} twice, expected different texts; leave one out.")
    return tuple(prompts)


def _flag(value: object, field: str) -> bool:
    words = {"true": True, "false": False, "": False}
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in words:
        return words[value.strip().lower()]
    raise InputError(f"{field}: found {value!r}, expected true or false.")


def _share(value: object, field: str) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1:
        return float(value)
    raise InputError(f"{field}: found {value!r}, expected a number from 0 (off) to 1.")


def _format(extension: object) -> str:
    name = str(extension).lstrip(".")
    if name not in FORMATS:
        raise InputError(
            f"result_extension: found {str(extension)[:20]!r}, expected .{', .'.join(FORMATS)}; choose one."
        )
    return name

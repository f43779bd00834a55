"""What the keys of the configs may hold: a table of key -> type and range, checked before building starts.

Components check the keys that are not listed here.
"""

import math
import os
import re
import reprlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ..errors import InputError
from ..machine import check_device
from ..text.levels import LEVELS, RANDOM


class Rule(NamedTuple):
    """What a key may hold.

    Attributes:
        expected: in words, for messages.
        take: returns the value in its right type, or raises ValueError.
        or_none: None is allowed too.
        as_typed: a text, taken letter by letter: a path such as `run#2` or `2024` is no Python.
    """

    expected: str
    take: Callable[[Any], Any]
    or_none: bool = False
    as_typed: bool = False


def take(key: str, value: Any, typed: str | None = None) -> Any:
    """The value of a key of `RULES`, in its right type.

    Args:
        value: as Fire or JSON reads it.
        typed: the word on the command line that it was read from.

    Raises:
        InputError: it is of another type, or out of the range.
    """
    rule = RULES[key]
    if value is None and rule.or_none:
        return None
    try:
        if rule.as_typed:
            return _as_typed(rule, value, typed)
        return rule.take(value)
    except InputError:
        raise
    except ValueError as error:
        found = reprlib.repr(value if typed is None or value is None else typed)
        expected = f"{rule.expected} or None" if rule.or_none else rule.expected
        raise InputError(f"{key}: found {found}, expected {expected}; correct --{key}.") from error


def _as_typed(rule: Rule, value: Any, typed: str | None) -> Any:
    if isinstance(value, bool) or value is None:  # --output_dir alone is True to Fire
        raise ValueError
    if typed is None or (isinstance(value, list) and not os.path.exists(typed)):
        return rule.take(value)
    return rule.take(typed)


def _whole(low: int, high: int | None = None, *, or_none: bool = False) -> Rule:
    def whole(value: Any) -> int:
        if type(value) is not int or value < low or (high is not None and value > high):
            raise ValueError
        return value

    upper = "up" if high is None else f"to {high}"
    return Rule(f"a whole number from {low} {upper}", whole, or_none)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _number(low: float, high: float = math.inf, *, above: bool = False, or_none: bool = False) -> Rule:
    def number(value: Any) -> Any:
        if not _is_number(value) or not low <= value <= high or (above and value == low):
            raise ValueError
        return value

    words = f"a number above {low:g}" if above else f"a number from {low:g}"
    return Rule(words if high == math.inf else f"{words} to {high:g}", number, or_none)


def _window(value: Any) -> list[Any]:
    if not isinstance(value, list | tuple) or len(value) != 2 or not all(map(_is_number, value)):
        raise ValueError
    if value[0] >= value[1]:
        raise ValueError
    return list(value)


def _weights(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not all(_is_number(one) and one >= 0 for one in value.values()):
        raise ValueError
    return dict(value)


def _switch(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError
    return value


def _one_of(*names: str, or_none: bool = False) -> Rule:
    def one(value: Any) -> str:
        if value not in names:
            raise ValueError
        return str(value)

    return Rule(" or ".join(names), one, or_none)


def _list_of(*names: str, least: int = 0) -> Rule:
    def several(value: Any) -> list[str]:
        values = _texts(value)
        if len(values) < least or not set(values) <= set(names):
            raise ValueError
        return values

    return Rule(f"a list of {', '.join(names)}", several)


def _texts(value: Any) -> list[str]:
    values: list[Any] = list(value) if isinstance(value, list | tuple) else [value]
    return [_text(one) for one in values]


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise ValueError
    return value


def _paths(value: Any) -> Any:
    if not isinstance(value, list | tuple):
        return _text(value)
    if not value:
        raise ValueError
    return [_text(one) for one in value]


def _usable_device(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"cpu|mps|cuda(:\d{1,3})?", value):
        raise ValueError
    check_device(value)
    return value


def _level(value: Any) -> Any:
    """One level of prompts, or a list of several; see `common.text.levels`."""
    several = [value] if isinstance(value, str) else _texts(value)
    if not several or not set(several) <= {*LEVELS, RANDOM}:
        raise ValueError
    return value


_PATH = Rule("a path", _text, as_typed=True)
_PATH_OR_NONE = Rule("a path", _text, or_none=True, as_typed=True)
_WORDS = Rule("a text", _text, as_typed=True)
_WORDS_OR_NONE = Rule("a text", _text, or_none=True, as_typed=True)
_SWITCH = Rule("True or False", _switch)
_SHARE = _number(0, 1)
_BOUNDARIES = _list_of("surfel", "voxel")

_PLACES = {
    **dict.fromkeys(
        ("bundle_root", "dataset_dir", "datalist", "ckpt_dir", "output_dir", "checkpoint"), _PATH
    ),
    **dict.fromkeys(("init_checkpoint", "slice_store", "prompts_file", "evaluator#report"), _PATH_OR_NONE),
    "input": Rule("a path or a list of paths in quotes", _paths, as_typed=True),
    **dict.fromkeys(("tracking_uri", "experiment_name"), _WORDS),
    "run_name": _WORDS_OR_NONE,
}
_TRAINING = {
    "amp_dtype": _one_of("bfloat16", "float16"),
    "seed": _whole(0, 2**32 - 1),
    "level": Rule("p0 to p9, random, or a list of levels", _level, or_none=True),
    "organs": Rule("a list of names", _texts, or_none=True),
    "text_level": _one_of("none", "simple", "sentence", "complex", "mixed"),
    **dict.fromkeys(("noise", "negative_rate", "absent_rate", "flip_probability"), _SHARE),
    **dict.fromkeys(("epochs", "batch_size", "prompts_per_slice", "prompts_per_image"), _whole(1)),
    "prompts_per_picture": _whole(1, or_none=True),  # the former name of prompts_per_image
    **dict.fromkeys(("val_interval", "keep_states", "accumulation_steps"), _whole(1)),
    "draws_per_epoch": _whole(1, or_none=True),
    **dict.fromkeys(("num_workers", "images"), _whole(0)),
    "learning_rate": _number(0, 1e30, above=True),  # float32 ends at 3.4e38
    "schedule": _one_of("power", "cosine", "plateau"),
    "clip_gradients": _number(0, 1e30, above=True, or_none=True),
    "patience": _whole(1, or_none=True),
    "loss_weights": Rule("names with numbers of 0 or more, such as {'dice': 1.0}", _weights),
    **dict.fromkeys(("half", "activation_checkpointing"), _SWITCH),
    "timeout_minutes": _number(0, above=True),
}
_EVALUATION = {
    **dict.fromkeys(("absent", "instances"), _SWITCH),
    "sentences": _one_of("first", "all"),
    **dict.fromkeys(("boundaries", "slice_boundaries"), _BOUNDARIES),
}
_INFERENCE = {
    "section": _one_of("training", "validation", "test", or_none=True),
    "slice": _whole(0, or_none=True),
    "outputs": _list_of("labels", "masks", "probabilities", "preview", "dicom_seg", "rtstruct", least=1),
    "evaluator#series": Rule("a SeriesInstanceUID or SeriesNumber", _text, or_none=True, as_typed=True),
    "evaluator#file_format": _one_of("nii.gz", "nii", "nrrd", "mha"),
    **dict.fromkeys(("evaluator#skip_existing", "evaluator#progress"), _SWITCH),
}
_INFERER = {
    "slice_batch": _whole(1),
    **dict.fromkeys(("presence_threshold", "presence_top_fraction"), _SHARE),
    **dict.fromkeys(("amp", "channels_last", "compiled", "anatomy", "smooth", "keep_largest"), _SWITCH),
}
_NETWORK = {
    "preset": _WORDS,
    "image_size": _whole(1, or_none=True),
    "max_tokens": _whole(1),
    "text_dtype": _one_of("float32", "bfloat16"),
    **dict.fromkeys(("image_model", "image_revision", "text_model", "text_revision"), _WORDS_OR_NONE),
    **dict.fromkeys(("text_bank", "mscan"), _PATH_OR_NONE),
    **dict.fromkeys(("language", "train_text"), _SWITCH),
}

RULES: dict[str, Rule] = {
    **_PLACES,
    "device": Rule("cpu, cuda, cuda:1 or mps", _usable_device),
    "amp": _SWITCH,
    "slice_batch": _whole(1),
    "window": Rule("a lower and an upper number, such as [-160,240]", _window, or_none=True),
    **_TRAINING,
    **_EVALUATION,
    **_INFERENCE,
    **{
        f"{place}#{name}": rule
        for place in ("inferer", "validate#inferer")
        for name, rule in _INFERER.items()
    },
    **{f"network_def#{name}": rule for name, rule in _NETWORK.items()},
}

"""What the numbers of a datalist's label maps mean.

    "labels": {"1": "liver", "2": ["liver", "liver tumour"]}

A number may have several names, where one structure lies in another: voxels of 2 above are liver and tumour,
so that the liver has no hole where its tumour is. A name may stand under several numbers.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..text.prompts import MAX_LABEL

_NUMBERS = frozenset(map(str, range(MAX_LABEL + 1)))


def label_values(path: Path, labels: Any) -> dict[str, tuple[int, ...]]:
    """{name: its numbers, rising} in the order in which the names appear, without background.

    Args:
        path: of the datalist, for messages.
        labels: its entry "labels".

    Raises:
        InputError: `labels` has another shape.
    """
    expected = (
        'expected {"1": "liver", "2": ["liver", "liver tumour"], ...}: whole numbers from 1 to 255, each '
        "with a name or a list of different ones"
    )
    if not isinstance(labels, dict) or not labels:
        raise InputError(f'{path}: "labels" is {json.dumps(labels)}, {expected}.')
    values: dict[str, list[int]] = {}
    for key, named in labels.items():
        number = int(key) if key in _NUMBERS else -1
        names = named if isinstance(named, list) else [named]
        sound = all(isinstance(name, str) and name.strip() for name in names)
        if number < 0 or not names or not sound or len(set(names)) < len(names):
            raise InputError(f'{path}: "labels" has the entry {json.dumps({key: named})}, {expected}.')
        for name in names if number > 0 else ():
            values.setdefault(name, []).append(number)
    return {name: tuple(sorted(numbers)) for name, numbers in values.items()}


def names_of_numbers(values: Mapping[str, Sequence[int]]) -> dict[int, tuple[str, ...]]:
    """{number: its names} from {name: its numbers}."""
    names: dict[int, tuple[str, ...]] = {}
    for name, numbers in values.items():
        for number in numbers:
            names[number] = (*names.get(number, ()), name)
    return names

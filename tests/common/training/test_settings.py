"""What two runs must share: all of a config that is not named as free."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from common.training.states import MAY_DIFFER, compared

CONFIGS = sorted((Path(__file__).parents[3] / "bundles").glob("*/configs/train.json"))


def leaves(content: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where each value without parts stands."""
    if isinstance(content, dict | list) and content:
        for key in content if isinstance(content, dict) else range(len(content)):
            yield from leaves(content[key], (*path, key))
    else:
        yield path


def free(path: tuple[Any, ...]) -> bool:
    return any("#".join(map(str, path[:depth])) in MAY_DIFFER for depth in range(1, len(path) + 1))


@pytest.mark.parametrize("file", CONFIGS, ids=lambda path: path.parts[-3])
def test_every_value_of_a_bundles_config_is_compared_unless_it_may_differ(file: Path) -> None:
    config = json.loads(file.read_text())
    before = compared(config)
    places = list(leaves(config))
    assert len(before) == sum(not free(path) for path in places) > 50
    for path in places:
        other = copy.deepcopy(config)
        part = other
        for key in path[:-1]:
            part = part[key]
        part[path[-1]] = "another value"
        assert (compared(other) == before) == free(path), path


def test_what_may_differ_stands_in_a_config_or_is_added_to_one() -> None:
    """A name that is misspelt, or of a key that is gone, would free nothing, or one day something else."""
    known = {"_meta_", "save_execute_config", "is_not_rank0"}  # MONAI's own: metadata, tracking
    for file in CONFIGS:
        for config in file.parent.glob("*.json"):
            content = json.loads(config.read_text())
            paths = [path[:depth] for path in leaves(content) for depth in range(1, len(path) + 1)]
            known |= {"#".join(map(str, path)).removeprefix("+") for path in paths}
    assert known >= MAY_DIFFER


def test_a_part_of_a_name_is_another_name() -> None:
    assert compared({"network": 1, "network_def": {"preset": "compact"}, "imagesize": 2, "images": 3}) == {
        "network_def#preset": '"compact"',
        "imagesize": "2",
    }


def test_empty_values_are_values() -> None:
    assert compared({"a": {}, "b": [], "c": None}) == {"a": "{}", "b": "[]", "c": "null"}

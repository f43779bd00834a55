"""A bundle's README names every key of its configs that a user may set."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

CONFIGS = sorted(Path(__file__).parents[2].glob("bundles/*/configs/*.json"))


def settable(value: Any) -> bool:
    """Plain values; expressions, references and objects follow from them."""
    if isinstance(value, list):
        return all(settable(item) for item in value)
    return not isinstance(value, dict) and not str(value).startswith(("$", "@", "%"))


@pytest.mark.parametrize(
    "config",
    [path for path in CONFIGS if path.name != "metadata.json"],
    ids=lambda path: f"{path.parts[-3]}-{path.stem}",
)
def test_readme_names_every_key(config: Path) -> None:
    text = (config.parents[1] / "docs" / "README.md").read_text(encoding="utf-8")
    code = " ".join(re.findall(r"```.*?```|`[^`]+`", text, flags=re.DOTALL))
    keys = [
        key for key, value in json.loads(config.read_text()).items() if settable(value) and "#" not in key
    ]
    assert [key for key in keys if not re.search(rf"\b{re.escape(key)}\b", code)] == []

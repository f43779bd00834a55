"""A bundle's README names every key of its configs that a user may set, and no other."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from monai.bundle import ConfigParser

from tests.bundles.subjects import BUNDLES, REPOSITORY

CONFIGS = [path for bundle in BUNDLES for path in sorted((bundle / "configs").glob("*.json"))]
LAUNCHERS = {"nproc_per_node", "nnodes", "rdzv_backend", "rdzv_endpoint"}  # options of torchrun
MONAIS = {"config_file", "bundle_root"}  # bundle_root is a key as well


def settable(value: Any) -> bool:
    """Plain values; expressions, references and objects follow from them."""
    if isinstance(value, list):
        return all(settable(item) for item in value)
    return not isinstance(value, dict) and not str(value).startswith(("$", "@", "%"))


def readme(bundle: Path) -> str:
    return (bundle / "docs" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "config",
    [path for path in CONFIGS if path.name != "metadata.json"],
    ids=lambda path: f"{path.parts[-3]}-{path.stem}",
)
def test_readme_names_every_key(config: Path) -> None:
    code = " ".join(re.findall(r"```.*?```|`[^`]+`", readme(config.parents[1]), flags=re.DOTALL))
    keys = [
        key for key, value in json.loads(config.read_text()).items() if settable(value) and "#" not in key
    ]
    assert [key for key in keys if not re.search(rf"\b{re.escape(key)}\b", code)] == []


def commands(text: str) -> Iterator[list[str]]:
    """The words of every `monai.bundle run` in the code blocks."""
    for block in re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL):
        for line in re.sub(r"\\\n\s*", " ", block).splitlines():
            if "monai.bundle run" in line and not re.match(r"\w+=", line):
                yield shlex.split(re.sub(r"\s#\s.*", "", line))


def resolves(config: ConfigParser, key: str) -> bool:
    place: Any = config.get()
    for part in key.split("#"):
        if not isinstance(place, dict) or part not in place:
            return False
        place = place[part]
    return True


def test_commands_of_the_readme_set_what_their_configs_have(bundle: Path) -> None:
    """MONAI would add a key that is not there, and the run would do something else."""
    found = list(commands(readme(bundle)))
    assert found
    for words in found:
        named = words[words.index("--config_file") + 1]
        files = [bundle / "configs" / Path(name).name for name in re.findall(r"[\w./]+\.json", named)]
        parser = ConfigParser()
        parser.read_config([str(file) for file in files])
        keys = {word[2:].partition("=")[0] for word in words if word.startswith("--")} - LAUNCHERS
        assert [key for key in keys - MONAIS if not resolves(parser, key)] == [], words


def test_options_in_the_readmes_text_are_those_of_a_config_or_a_tool(bundle: Path) -> None:
    over_train = ("evaluate", "multi_gpu_train", "mlflow")
    groups = [["inference"], *(["train", name] for name in over_train)]
    parsers = [ConfigParser() for _ in groups]
    for parser, names in zip(parsers, groups, strict=True):
        parser.read_config([str(bundle / "configs" / f"{name}.json") for name in names])
    tools = "".join(path.read_text("utf-8") for path in (REPOSITORY / "tools").rglob("*.py"))
    spans = re.findall(r"`(--[^`]+)`", re.sub(r"```.*?```", "", readme(bundle), flags=re.DOTALL))
    keys = {key for span in spans for key in re.findall(r"(?:^|\s)--([\w#-]+)", span)}
    unknown = [key for key in keys - LAUNCHERS - MONAIS if f'"--{key}"' not in tools]
    assert [key for key in unknown if not any(resolves(parser, key) for parser in parsers)] == []

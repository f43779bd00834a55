"""Commands and options in a bundle's documents set what its configs have."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from tests.bundles.subjects import REPOSITORY

LAUNCHERS = {"nproc_per_node", "nnodes", "rdzv_backend", "rdzv_endpoint"}  # options of torchrun
MONAIS = {"config_file", "bundle_root"}  # bundle_root is a key as well


def documents(bundle: Path) -> str:
    return "\n\n".join(page.read_text("utf-8") for page in sorted((bundle / "docs").glob("*.md")))


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


def test_commands_of_the_documents_set_what_their_configs_have(bundle: Path) -> None:
    """MONAI would add a key that is not there, and the run would do something else."""
    found = list(commands(documents(bundle)))
    assert found
    for words in found:
        named = words[words.index("--config_file") + 1]
        files = [bundle / "configs" / Path(name).name for name in re.findall(r"[\w./]+\.json", named)]
        parser = ConfigParser()
        parser.read_config([str(file) for file in files])
        keys = {word[2:].partition("=")[0] for word in words if word.startswith("--")} - LAUNCHERS
        assert [key for key in keys - MONAIS if not resolves(parser, key)] == [], words


def test_options_in_the_text_are_those_of_a_config_or_a_tool(bundle: Path) -> None:
    over_train = ("evaluate", "multi_gpu_train", "mlflow")
    groups = [["inference"], *(["train", name] for name in over_train)]
    parsers = [ConfigParser() for _ in groups]
    for parser, names in zip(parsers, groups, strict=True):
        parser.read_config([str(bundle / "configs" / f"{name}.json") for name in names])
    tools = "".join(path.read_text("utf-8") for path in (REPOSITORY / "tools").rglob("*.py"))
    spans = re.findall(r"`(--[^`]+)`", re.sub(r"```.*?```", "", documents(bundle), flags=re.DOTALL))
    keys = {key for span in spans for key in re.findall(r"(?:^|\s)--([\w#-]+)", span)}
    unknown = [key for key in keys - LAUNCHERS - MONAIS if f'"--{key}"' not in tools]
    assert [key for key in unknown if not any(resolves(parser, key) for parser in parsers)] == []

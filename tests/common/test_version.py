"""One version of the project, said in three places."""

import re
import tomllib
from pathlib import Path

import common

REPOSITORY = Path(__file__).parents[2]


def test_code_package_and_changelog_say_the_same_version() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
    newest = re.search(r"^## (\S+)", (REPOSITORY / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert newest is not None
    assert project["version"] == common.__version__ == newest[1]

"""Documents: every key that a user may set is described, READMEs are short, and links lead to files."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
BUNDLES = sorted(path.parents[1] for path in ROOT.glob("bundles/*/configs/train.json"))
CONFIGS = [path for bundle in BUNDLES for path in sorted((bundle / "configs").glob("*.json"))]
SHARED = [ROOT / "bundles" / name for name in ("TRAINING.md", "INFERENCE.md", "HARD_INPUT.md")]
NESTED = ("network_def", "inferer")  # whose arguments are set by their path, such as network_def#preset
MOST_LINES = 130  # of a bundle's README
LINK = re.compile(r"\]\(([^()\s]+)\)")


def settable(value: Any) -> bool:
    """Plain values; expressions, references and objects follow from them."""
    if isinstance(value, list):
        return all(settable(item) for item in value)
    return not isinstance(value, dict) and not str(value).startswith(("$", "@", "%"))


def keys_of(config: dict[str, Any]) -> Iterator[str]:
    """The last part of each key that a user may set."""
    for key, value in config.items():
        if settable(value) and "#" not in key:
            yield key
        elif key in NESTED:
            yield from (name for name, part in value.items() if name != "_target_" and settable(part))


def code_in(text: str) -> str:
    """What stands in backticks."""
    return " ".join(re.findall(r"```.*?```|`[^`]+`", text, flags=re.DOTALL))


def without_code(text: str) -> str:
    return re.sub(r"```.*?```|`[^`\n]+`", "", text, flags=re.DOTALL)


def anchors_of(page: Path) -> set[str]:
    """The anchors that GitHub gives to a page's headings: words in lower case with dashes between them."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    headings = re.findall(r"^#+ +(.+?) *$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def dead_links(page: Path) -> list[str]:
    """Relative links of a page that lead to no file, or to no heading of it."""
    dead = []
    for link in LINK.findall(without_code(page.read_text(encoding="utf-8"))):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if re.match(r"[a-z]+:", link):
            continue
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors_of(target)):
            dead.append(link)
    return dead


def pages() -> list[Path]:
    """All Markdown files of the repository that git does not ignore."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", "*.md"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in sorted(set(listed.split("\0"))) if name and (ROOT / name).is_file()]


@pytest.mark.parametrize(
    "config",
    [path for path in CONFIGS if path.name != "metadata.json"],
    ids=lambda path: f"{path.parts[-3]}-{path.stem}",
)
def test_documents_name_every_key(config: Path) -> None:
    documents = [*(config.parents[1] / "docs").glob("*.md"), *SHARED]
    code = code_in("\n\n".join(page.read_text(encoding="utf-8") for page in documents))
    keys = keys_of(json.loads(config.read_text(encoding="utf-8")))
    assert [key for key in keys if not re.search(rf"\b{re.escape(key)}\b", code)] == []


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda path: path.name)
def test_a_readme_is_short(bundle: Path) -> None:
    lines = (bundle / "docs" / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= MOST_LINES


def test_relative_links_lead_to_files_and_headings() -> None:
    found = pages()
    assert ROOT / "README.md" in found
    assert {page.relative_to(ROOT).as_posix(): dead for page in found if (dead := dead_links(page))} == {}


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda path: path.name)
def test_links_of_a_bundles_documents_lead_to_what_is_packed_with_it(bundle: Path) -> None:
    for page in [*(bundle / "docs").glob("*.md"), *SHARED]:
        for link in LINK.findall(without_code(page.read_text(encoding="utf-8"))):
            if link.startswith("#") or re.match(r"[a-z]+:", link):
                continue
            target = (page.parent / link.partition("#")[0]).resolve()
            assert target.is_relative_to(bundle) or target in SHARED, f"{page}: {link}"


def test_files_that_documents_name_are_there() -> None:
    named = re.compile(r"`((?:common|tools|tests)/[\w/.-]+\.\w+)`")
    missing = {
        f"{page.name}: {name}"
        for page in pages()
        for name in named.findall(page.read_text("utf-8"))
        if "NAME" not in name and not (ROOT / name).is_file()
    }
    assert missing == set()


def test_no_number_is_left_open() -> None:
    """Drafts have `@@NAME@@` where a measured number will stand."""
    mark = re.compile(r"@@\w*@@")
    assert [page.name for page in pages() if mark.search(without_code(page.read_text("utf-8")))] == []


def test_a_dead_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    (tmp_path / "other.md").write_text("# Other\n\n## Two words, and `code`\n```\n# no heading\n```\n")
    good = "[a](other.md) [b](other.md#two-words-and-code) [c](https://x.y/z) [d](#page) `[e](none.md)`"
    page.write_text(f"# Page\n{good}\n[f](none.md) [g](other.md#three) [h](other.md#no-heading) [i](#none)\n")
    assert dead_links(page) == ["none.md", "other.md#three", "other.md#no-heading", "#none"]

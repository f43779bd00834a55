"""Reading a vocabulary."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from common.errors import InputError
from common.text.vocabulary import Vocabulary

ROOT = Path(__file__).parents[3]
TEXT_FOLDER = ROOT / "common" / "text"


def entry(name: str, **changes: object) -> dict[str, object]:
    return {
        "name": name,
        "laterality": None,
        "pieces": 1,
        "synonyms": [],
        "neighbours": [],
        "parts": [f"The {name} is described here in words that say nothing, {number}." for number in "123"],
        "source": "Nobody, Nothing at All, 1",
    } | changes


@pytest.mark.parametrize(
    ("organs", "message"),
    [
        (
            [entry("liver", laterality="middle")],
            r"found at \$\.organs\[0\]\.laterality that 'middle' is not one of",
        ),
        ([entry("liver", parts=[])], r"found at \$\.organs\[0\]\.parts that \[\] "),
        (
            [entry("liver", parts=["The liver is here.", *entry("liver")["parts"]])],  # type: ignore[misc]
            r"found at \$\.organs\[0\]\.parts",
        ),
        (
            [entry("liver", synonyms=["gland"]), entry("pancreas", synonyms=["Gland"])],
            "'Gland' stands for 'liver' and 'pancreas', expected one organ for each spelling",
        ),
        ([entry("liver", neighbours=["moon"])], "neighbours of 'liver' has 'moon', expected canonical names"),
    ],
)
def test_load_refuses_wrong_content(tmp_path: Path, organs: list[object], message: str) -> None:
    path = tmp_path / "own.json"
    path.write_text(json.dumps({"groups": {}, "organs": organs}), encoding="utf-8")
    with pytest.raises(InputError, match=message):
        Vocabulary.load(path)


def test_load_reads_an_own_vocabulary(tmp_path: Path) -> None:
    path = tmp_path / "own.json"
    content = {"groups": {"glands": ["thymus"]}, "organs": [entry("thymus", synonyms=["thymus gland"])]}
    path.write_text(json.dumps(content), encoding="utf-8")
    assert Vocabulary.load(path).organ("Thymus Gland").groups == ("glands",)


def test_load_refuses_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.json: cannot be read \(No such file or directory\)"):
        Vocabulary.load(tmp_path / "none.json")
    (tmp_path / "broken.json").write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match=r"broken\.json: found no valid JSON"):
        Vocabulary.load(tmp_path / "broken.json")


def test_works_as_scripts_common_and_needs_no_torch(tmp_path: Path) -> None:
    copy = tmp_path / "scripts" / "common"
    shutil.copytree(TEXT_FOLDER, copy / "text", ignore=shutil.ignore_patterns("__pycache__"))
    for module in ("errors.py", "user_text.py"):
        shutil.copy(ROOT / "common" / module, copy)
    code = (
        "import sys; from scripts.common.text.vocabulary import Vocabulary; "
        "import scripts.common.text.prompts;"
        "print(Vocabulary.load().organ('hepar').name, 'torch' in sys.modules, 'common' in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == ["liver", "False", "False"]

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tools.prompts import main

ROOT = Path(__file__).parents[2]


def test_json_is_the_committed_vocabulary(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--json"])
    printed = json.loads(capsys.readouterr().out)
    stored = json.loads((ROOT / "common/text/vocabulary.json").read_text(encoding="utf-8"))
    assert printed["groups"] == stored["groups"]
    for organ, source in zip(printed["organs"], stored["organs"], strict=True):
        assert organ.items() >= source.items()


def test_group_limits_the_organs(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--json", "--group", "SegTHOR"])
    organs = json.loads(capsys.readouterr().out)["organs"]
    assert [organ["name"] for organ in organs] == ["esophagus", "heart", "trachea", "aorta"]


def test_table_shows_synonyms_and_groups(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--group", "segthor"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("esophagus  oesophagus, gullet")
    assert lines[-1].startswith("Groups: flare22, segthor,")


def test_unknown_group_ends_with_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--group", "legs"]) == 1
    assert capsys.readouterr().err.startswith("error: group: found 'legs', expected one of flare22, ")


def test_needs_no_torch() -> None:
    code = "import sys; from tools.prompts import main; main(['--json']); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)

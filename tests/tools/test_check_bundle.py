"""Looking a bundle through without running it."""

import hashlib
import json
from pathlib import Path

import pytest

from tools.check_bundle import CALLED, ELSEWHERE, main, what_runs

REPOSITORY = Path(__file__).parents[2]
MARK = "was_run"
CONFIG = {
    "imports": ["$import os"],
    "plain": "costs $5",
    "own": "%plain",
    "other": "%/somewhere/else.json::key",
    "list": [{"_target_": "subprocess.call", "args": ["true"]}, f"  $open('{MARK}', 'w')"],
}


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle with its manifest, as tools.get_bundle leaves it."""
    monkeypatch.chdir(tmp_path)
    files = {
        "configs/inference.json": json.dumps(CONFIG).encode(),
        "configs/logging.conf": b"[loggers]",
        "scripts/__init__.py": f"open('{MARK}', 'w')".encode(),
    }
    for name, content in files.items():
        (tmp_path / "mini" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mini" / name).write_bytes(content)
    records = {n: {"bytes": len(c), "sha256": hashlib.sha256(c).hexdigest()} for n, c in files.items()}
    whole = {"file": "mini_v0.1.0.zip", "bytes": 1, "sha256": "0" * 64}
    manifest = {"name": "mini", "version": "0.1.0", "zip": whole, "files": records}
    (tmp_path / "mini/manifest.json").write_text(json.dumps(manifest))
    return tmp_path / "mini"


def test_everything_that_monai_would_execute_is_listed(bundle: Path, capsys) -> None:
    assert main([str(bundle)]) == 0
    said = capsys.readouterr().out
    assert said.splitlines() == [
        "mini 0.1.0, 3 files in the manifest",
        "",
        "evaluated as Python",
        f"    $open('{MARK}', 'w')",
        "      inference.json list#1",
        "  $import os",
        "      inference.json imports#0",
        "",
        "imported and called",
        "  subprocess.call",
        "      inference.json list#0#_target_",
        "",
        "read from another file",
        "  %/somewhere/else.json::key",
        "      inference.json other",
        "",
        "not JSON, read it yourself",
        "  logging.conf",
        "      configs",
        "",
        "all files as published",
    ]
    assert not list(bundle.parent.rglob(MARK))


def test_what_was_changed_added_or_taken_away_is_named(bundle: Path, capsys) -> None:
    (bundle / "configs/inference.json").write_text("{}")
    (bundle / "configs/logging.conf").unlink()
    (bundle / "scripts/common").mkdir()
    (bundle / "scripts/common/more.py").write_text("")
    (bundle / "scripts/__pycache__").mkdir()
    (bundle / "scripts/__pycache__/x.pyc").write_bytes(b"x")
    (bundle / "eval").mkdir()
    (bundle / "eval/ct_seg.nii.gz").write_bytes(b"x")
    assert main([str(bundle)]) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[-5:] == [
        "",
        "configs/inference.json: changed",
        "configs/logging.conf: missing",
        "scripts/common/more.py: not in the manifest",
        "3 files are not as published",
    ]
    assert "note: 1 compiled files in __pycache__ are not checked; delete them to be sure." in said


@pytest.mark.parametrize(
    ("break_it", "sentence"),
    [
        (lambda b: (b / "manifest.json").unlink(), "no manifest can be read there"),
        (lambda b: (b / "manifest.json").write_text("{}"), "cannot be read as a bundle's manifest"),
        (lambda b: (b / "configs/inference.json").write_text("[" * 99_999), "cannot be read as JSON"),
        (lambda b: (b / "configs/inference.json").write_bytes(b"\xff"), "cannot be read as JSON"),
    ],
)
def test_what_cannot_be_checked(bundle: Path, capsys, break_it, sentence: str) -> None:
    break_it(bundle)
    assert main([str(bundle)]) == 2
    assert sentence in capsys.readouterr().err


def test_our_own_configs_call_only_the_bundle_monai_torch_and_ignite() -> None:
    """Names without a dot are MONAI's own components."""
    for bundle in sorted(path.parents[1] for path in REPOSITORY.glob("bundles/*/configs/metadata.json")):
        called = what_runs(bundle)[CALLED]
        assert called
        assert not what_runs(bundle)[ELSEWHERE]
        roots = {name.split(".")[0] for name in called if "." in name}
        assert roots <= {"scripts", "monai", "torch", "ignite"}, bundle.name

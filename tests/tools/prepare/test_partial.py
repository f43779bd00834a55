"""Datalists whose sentences are cut: only the prompts change."""

import json
from pathlib import Path

import pytest
from PIL import Image

from common.data.datalist import load_referring
from tools.prepare.__main__ import main


def write(folder: Path, *items: dict[str, object]) -> Path:
    folder.mkdir()
    for name in ("image", "label"):
        Image.new("L", (4, 4), 1).save(folder / f"{name}.png")
    files = {"image": "image.png", "label": "label.png", "patient": "p"}
    path = folder / "datalist.json"
    content = {"licence": "CC BY 4.0", "labels": {"1": "lesion"}, "test": [{**files, **one} for one in items]}
    path.write_text(json.dumps(content))
    return path


def test_only_the_prompts_change(tmp_path: Path) -> None:
    one = {"prompts": ["a large round lesion", "a large smooth one near the edge"], "lesion": 1, "own": [1]}
    path = write(tmp_path / "whole", one, {"prompts": ["one two three four"], "case": "b"})
    out = tmp_path / "half"
    assert main(["partial", str(path), "--share", "1/2", "--out", str(out)]) == 0
    before, after = (load_referring(folder / "datalist.json", "test") for folder in (path.parent, out))
    assert [case.prompts for case in after] == [("a large", "a large smooth one"), ("one two",)]
    for old, new in zip(before, after, strict=True):
        assert (new.case, new.patient, new.lesions, new.targets) == (
            old.case,
            old.patient,
            old.lesions,
            old.targets,
        )
        assert (new.image.resolve(), new.label.resolve()) == (old.image.resolve(), old.label.resolve())
    content = json.loads((out / "datalist.json").read_text())
    assert (content["licence"], content["share_of_text"]) == ("CC BY 4.0", 0.5)
    assert content["test"][0]["own"] == [1]
    main(["partial", str(path), "--share", "0.25", "--out", str(tmp_path / "quarter")])
    (first, _) = load_referring(tmp_path / "quarter" / "datalist.json", "test")
    assert first.prompts == ("a", "a large")


def test_what_cannot_be_cut_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "whole", {"prompts": ["x y"], "case": "a"}, {"case": "b"})
    assert main(["partial", str(path), "--share", "0.5", "--out", str(tmp_path / "out")]) == 1
    assert 'the case "b" has no "prompts", expected sentences to cut in every item' in capsys.readouterr().err
    for share in ("0", "2", "1/0", "much"):
        with pytest.raises(SystemExit):
            main(["partial", str(path), "--share", share, "--out", str(tmp_path / "out")])
        assert f"found {share}, expected a" in capsys.readouterr().err

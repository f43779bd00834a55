"""Datalists whose sentences are cut to their first words: only the prompts change."""

import itertools
import json
from fractions import Fraction
from pathlib import Path

import pytest
from PIL import Image

from common.data.datalist import load_referring
from common.errors import InputError
from tools.prepare.__main__ import main
from tools.prepare.partial import part_of

CAPTION = "bilateral pulmonary infection, two infected areas, upper left lung and lower right lung."


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


@pytest.mark.parametrize(
    ("text", "share", "part"),
    [
        (CAPTION, Fraction(1, 4), "bilateral pulmonary infection, two"),  # 13 words: 3.25
        (CAPTION, 0.5, "bilateral pulmonary infection, two infected areas, upper"),
        (CAPTION, Fraction(3, 13), "bilateral pulmonary infection"),  # no comma at the end
        (CAPTION, 1, CAPTION),
        ("the  lesion", 1.0, "the  lesion"),
        ("lesion", 0.1, "lesion"),
        (" ".join(map(str, range(30))), 0.1, "0 1 2"),
        (", a", 0.5, ","),
    ],
)
def test_the_first_words(text: str, share: float, part: str) -> None:
    assert part_of(text, share) == part


def test_more_share_is_more_text() -> None:
    parts = [part_of(CAPTION, Fraction(number, 20)) for number in range(1, 21)]
    assert all(longer.startswith(shorter) for shorter, longer in itertools.pairwise(parts))
    assert len(set(parts)) == 13


@pytest.mark.parametrize("share", [0, -0.5, 1.5, float("nan")])
def test_other_shares_are_refused(share: float) -> None:
    with pytest.raises(InputError, match=r"share: found .*, expected more than 0 and at most 1"):
        part_of(CAPTION, share)

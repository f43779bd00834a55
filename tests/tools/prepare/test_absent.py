"""What is absent by the region of the body, in the datalists of the preparers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from common.data.datalist import load_datalist
from tools.prepare.__main__ import main

REAL = Path(__file__).parents[4] / "shared" / "data" / "ct_openkbp_nifti" / "datalist.json"


def write(folder: Path, *items: dict[str, Any], labels: dict[str, str]) -> Path:
    folder.mkdir()
    for name in ("image", "label"):
        Image.new("L", (4, 4), 1).save(folder / f"{name}.png")
    files = {"image": "image.png", "label": "label.png", "patient": "p"}
    path = folder / "datalist.json"
    content = {"licence": "CC BY 4.0", "labels": labels, "test": [{**files, **item} for item in items]}
    path.write_text(json.dumps(content))
    return path


def test_absent_organs_are_added_and_everything_else_stays(tmp_path: Path) -> None:
    one = {"case": "a", "targets": ["mandible"], "absent": ["hepar", "left lung"], "own": [1]}
    path = write(tmp_path / "in", one, {"case": "b"}, labels={"1": "mandible", "2": "jaw gland"})
    out = tmp_path / "out"
    assert main(["absent", str(path), "--region", "head and neck", "--out", str(out)]) == 0
    content = json.loads((out / "datalist.json").read_text())
    assert (content["licence"], content["labels"]) == ("CC BY 4.0", {"1": "mandible", "2": "jaw gland"})
    first, second = content["test"]
    assert (first["own"], first["targets"]) == ([1], ["mandible"])
    assert first["absent"][:2] == ["hepar", "left lung"]
    assert "liver" not in first["absent"]  # which "hepar" is
    assert {"spleen", "left kidney", "right kidney", "prostate"} < set(first["absent"])
    assert set(second["absent"]) == {*first["absent"][2:], "liver"}
    assert second["targets"] == ["mandible", "jaw gland"]
    before, after = (load_datalist(file, "test") for file in (path, out / "datalist.json"))
    for old, new in zip(before, after, strict=True):
        assert (new.image.resolve(), new.label.resolve()) == (old.image.resolve(), old.label.resolve())


def test_an_annotated_organ_is_never_absent_under_any_of_its_names(tmp_path: Path) -> None:
    path = write(tmp_path / "in", {"case": "a"}, labels={"1": "mandible", "2": "hepar", "3": "bladder"})
    command = ["absent", str(path), "--out", str(tmp_path / "out"), "--region", "head and neck"]
    assert main(command) == 0
    (case,) = load_datalist(tmp_path / "out" / "datalist.json", "test")
    assert case.targets == ("mandible", "hepar", "bladder")
    assert {"spleen", "prostate"} < set(case.absent)
    assert not {"liver", "urinary bladder", "mandible"} & set(case.absent)


def test_two_regions_rule_out_what_neither_shows(tmp_path: Path) -> None:
    path = write(tmp_path / "in", {"case": "a"}, labels={"1": "mandible"})
    command = ["absent", str(path), "--out", str(tmp_path / "out")]
    assert main([*command, "--region", "head and neck", "--region", "thorax"]) == 0
    (case,) = load_datalist(tmp_path / "out" / "datalist.json", "test")
    assert set(case.absent) == {
        *("urinary bladder", "prostate"),
        *("peripheral zone of the prostate", "transition zone of the prostate"),
    }


def test_an_own_folder_gets_them_too_and_says_nothing_without_a_region(tmp_path: Path) -> None:
    source = tmp_path / "mine"
    for kind in ("images", "labels"):
        (source / kind).mkdir(parents=True)
        for number in range(3):
            pixels = np.zeros((6, 5), np.uint8)
            pixels[2:4, 2:4] = 1
            Image.fromarray(pixels).save(source / kind / f"{number}.png")
    command = ["folder", "--source", str(source), "--images", "images/*.png", "--labels", "labels/*.png"]
    command += ["--name", "1=liver", "--validation", "0", "--test", "0", "--out"]
    assert main([*command, str(tmp_path / "plain")]) == 0
    assert all(not case.absent for case in load_datalist(tmp_path / "plain" / "datalist.json", "training"))
    assert main([*command, str(tmp_path / "region"), "--region", "abdomen"]) == 0
    for case in load_datalist(tmp_path / "region" / "datalist.json", "training"):
        assert {"brainstem", "mandible"} < set(case.absent)
        assert not {"liver", "lungs", "prostate"} & set(case.absent)


def test_another_region_is_refused_with_those_there_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["absent", "x.json", "--region", "legs", "--out", str(tmp_path)])
    assert "legs" in (said := capsys.readouterr().err)
    assert "head and neck" in said


def test_real_patients_get_absent_organs_beside_their_own(tmp_path: Path) -> None:
    if not REAL.is_file():
        pytest.skip(f"{REAL} is not there")
    assert main(["absent", str(REAL), "--region", "head and neck", "--out", str(tmp_path)]) == 0
    cases = load_datalist(tmp_path / "datalist.json", "training")
    assert len(cases) == len(load_datalist(REAL, "training")) > 100
    assert all({"liver", "spleen", "left kidney", "right kidney"} < set(case.absent) for case in cases)

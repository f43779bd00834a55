"""QaTa-COV19 as a datalist: which sentence, whose image, and whose left."""

import json
from pathlib import Path

import numpy as np
import pytest

from common.data.datalist import load_referring
from common.data.labelled import LabelledReader
from common.errors import InputError
from tests.tools.prepare.spreadsheets import xlsx
from tools.prepare.__main__ import main
from tools.prepare.qata import prepare, subject

REAL = Path(__file__).parents[4] / "shared" / "data" / "cxr_qata_cov19_text"
NAMES = {
    "train": [f"sub-s1{n:04d}_ses-e2_run-{run}_bp-chest_vp-ap_dx" for n in range(20) for run in (1, 2)]
    + ["covid_7"],
    "valid": ["sub-S09999_ses-e1_run-1_bp-chest_vp-ap_dx"],
}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    content = {}
    for part, names in NAMES.items():
        content[part] = [
            {"image_path": f"mask_{name}.png", "caption": f"caption of {name}"} for name in names
        ]
        for kind, prefix in (("images", ""), ("masks", "mask_")):
            (tmp_path / part / kind).mkdir(parents=True)
            for name in names:
                (tmp_path / part / kind / f"{prefix}{name}.png").touch()
    (tmp_path / "annotation.json").write_text(json.dumps(content))
    return tmp_path


def test_every_image_has_its_own_sentence_and_subjects_stay_together(source: Path, tmp_path: Path) -> None:
    prepare(source, tmp_path / "out")
    sections = {
        name: load_referring(tmp_path / "out" / "datalist.json", name)
        for name in ("training", "validation", "test")
    }
    assert [item.case for item in sections["test"]] == NAMES["valid"]
    every = [item for part in sections.values() for item in part]
    assert sorted(item.case for item in every) == sorted(NAMES["train"] + NAMES["valid"])
    for item in every:
        assert item.prompts == (f"caption of {item.case}",)
        assert (item.image.name, item.label.name) == (f"{item.case}.png", f"mask_{item.case}.png")
    patients = [{item.patient for item in part} for part in sections.values()]
    assert not patients[0] & patients[1]
    assert len(patients[1]) == 2  # a tenth of 21


def test_subject_is_the_bids_name() -> None:
    assert subject("sub-S09340_ses-E17503_run-1_bp-chest_vp-ap_dx") == "sub-s09340"
    assert subject("covid_3039") == "covid_3039"


def test_what_is_missing_is_named(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gone = source / "train" / "masks" / "mask_covid_7.png"
    gone.unlink()
    with pytest.raises(
        InputError, match=r"1 of 84 files are missing \(train/masks/mask_covid_7.png\).*Get it: X-rays"
    ):
        prepare(source, tmp_path / "out")
    (source / "annotation.json").write_text('{"train": []}')
    assert main(["qata", "--source", str(source), "--out", str(tmp_path / "out")]) == 1
    assert "cannot be read as QaTa-COV19's captions (KeyError('valid'))" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_subject_in_both_parts_is_reported_and_leaves_the_training(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = json.loads((source / "annotation.json").read_text())
    twice = NAMES["valid"][0].replace("run-1", "run-2")
    names["train"].append({"image_path": f"mask_{twice}.png", "caption": "another picture of this subject"})
    (source / "annotation.json").write_text(json.dumps(names))
    for kind, prefix in (("images", ""), ("masks", "mask_")):
        (source / "train" / kind / f"{prefix}{twice}.png").touch()
    prepare(source, tmp_path / "out")
    assert "warning: 1 subjects are in both parts (sub-s09999)" in capsys.readouterr().out
    datalist = tmp_path / "out" / "datalist.json"
    sections = [load_referring(datalist, name) for name in ("training", "validation", "test")]
    assert len(sections[0]) + len(sections[1]) == len(NAMES["train"])
    assert twice not in {item.case for part in sections for item in part}


def test_left_of_real_sentences_is_left_in_the_image(tmp_path: Path) -> None:
    """Where a sentence names one lung alone, the mask lies in that half of the image."""
    if not REAL.is_dir():
        pytest.skip(
            f"REAL DATA ABSENT: QaTa-COV19 expected in {REAL}; the sides of its sentences are not checked"
        )
    prepare(REAL, tmp_path)
    sections = (
        load_referring(tmp_path / "datalist.json", name) for name in ("training", "validation", "test")
    )
    items = [item for section in sections for item in section]
    read, agree = LabelledReader(), []
    for item in items:
        sides = [side for side in ("left", "right") if f"{side} lung" in item.prompts[0]]
        if len(sides) == 1:
            left, right = np.array_split(read(item).meant(item).mask()[0], 2, axis=1)
            agree.append((left.sum() > right.sum()) == (sides == ["left"]))
    assert (len(agree), round(float(np.mean(agree)), 2)) == (272, 0.96)  # as the preparer says


def lvit(source: Path, parts: dict[str, list[tuple[str, str]]]) -> Path:
    """QaTa-COV19 as LViT's authors keep it: {part: (image's name, sentence)}."""
    for part, rows in parts.items():
        for kind, prefix in (("img", ""), ("labelcol", "mask_")):
            (source / f"{part}_Folder" / kind).mkdir(parents=True)
            for name, _ in rows:
                (source / f"{part}_Folder" / kind / f"{prefix}{name}.png").touch()
    return source


@pytest.mark.parametrize("one_table", [False, True])
def test_the_layout_of_lvit(tmp_path: Path, one_table: bool) -> None:
    """With a table for each part, or one for training and validation, as its code reads it."""
    trained = [(f"covid_{n}", f"caption {n}") for n in range(18)]
    parts = {"Train": trained[:12], "Val": trained[12:], "Test": [("covid_90", "caption 90")]}
    source = lvit(tmp_path / "Covid19", parts)
    tables = {f"{part}_Folder/{part}_text.xlsx": rows for part, rows in parts.items()}
    if one_table:
        test = "Test_Folder/Test_text.xlsx"
        tables = {"Train_Val_text.xlsx": parts["Val"] + parts["Train"], test: parts["Test"]}
    for place, rows in tables.items():
        named = [(f"mask_{name}.png", text) for name, text in rows]
        xlsx(source / place, [("Image", "Description"), *named], shared=True)
    assert main(["qata", "--source", str(source), "--out", str(tmp_path / "out")]) == 0
    sections = {
        name: load_referring(tmp_path / "out" / "datalist.json", name)
        for name in ("training", "validation", "test")
    }
    assert {name: len(items) for name, items in sections.items()} == {
        "training": 16,
        "validation": 2,
        "test": 1,
    }
    for item in (item for items in sections.values() for item in items):
        assert item.prompts == (f"caption {item.case.removeprefix('covid_')}",)
        assert item.label is not None
        assert (item.image.name, item.label.name) == (f"{item.case}.png", f"mask_{item.case}.png")
        assert item.image.parent.name == "img"
    (source / "Val_Folder" / "labelcol" / "mask_covid_15.png").unlink()
    with pytest.raises(InputError, match=r"files are missing \(.*labelcol/mask_covid_15\.png"):
        prepare(source, tmp_path / "out")


def test_one_of_the_two_layouts_is_wanted(source: Path, tmp_path: Path) -> None:
    (source / "Train_Folder").mkdir()
    with pytest.raises(
        InputError, match=r"found annotation\.json and Train_Folder, expected one of them, QaTa-COV19 as its"
    ):
        prepare(source, tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        InputError, match=r"empty: found neither annotation\.json nor Train_Folder, expected one.*Get it"
    ):
        prepare(tmp_path / "empty", tmp_path / "out")


def test_all_sentences_of_an_image_are_kept(source: Path, tmp_path: Path) -> None:
    """An image with two captions, and one name in both parts with a sentence each."""
    content = json.loads((source / "annotation.json").read_text())
    content["train"].append({"image_path": "mask_covid_7.png", "caption": "in other words"})
    content["valid"].append({"image_path": "mask_covid_8.png", "caption": "of the test"})
    content["train"].append({"image_path": "mask_covid_8.png", "caption": "of the training"})
    for part in ("train", "valid"):
        (source / part / "images" / "covid_8.png").touch()
        (source / part / "masks" / "mask_covid_8.png").touch()
    (source / "annotation.json").write_text(json.dumps(content))
    prepare(source, tmp_path / "out")
    datalist = tmp_path / "out" / "datalist.json"
    said = {item.case: item.prompts for item in load_referring(datalist, "test")}
    assert said["covid_8"] == ("of the test",)
    trained = load_referring(datalist, "training") + load_referring(datalist, "validation")
    assert {item.case: item.prompts for item in trained}["covid_7"] == (
        "caption of covid_7",
        "in other words",
    )

"""The sets of medvlsm: their prompts word for word, their splits, and the faults of their files."""

import json
import tarfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.data.datalist import SECTIONS, load_datalist, load_referring
from common.errors import InputError
from common.text.levels import families
from tests.tools.prepare.drawings import disc, save, scene
from tools.prepare import _level_commands
from tools.prepare.__main__ import main
from tools.prepare._medvlsm_sets import SETS
from tools.prepare.medvlsm import RULES, prepare

PUBLISHED = Path(__file__).parents[4] / "shared/data/text_medvlsm_prompts/data.tar.xz"
PARTS = {"train": "training", "val": "validation", "test": "test"}
FOLDERS = {"isic": "isic", "busi": "busi", "dfu": "dfu", "camus": "camus", "chexlocalize": "chexlocalize"}


def published(name: str) -> dict[str, list[dict[str, Any]]]:
    """{part: records} of a set; the parts that are there."""
    if not PUBLISHED.is_file():
        pytest.skip("NO ../shared/data: published prompts not read")
    found = {}
    with tarfile.open(PUBLISHED) as archive:
        for part in PARTS:
            try:
                file = archive.extractfile(f"data/{FOLDERS.get(name, f'{name}_polyp')}/anns/{part}.json")
            except KeyError:
                continue
            assert file is not None
            found[part] = json.load(file)
    return found


def some(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """About twelve records, spread over the list."""
    return records[:: max(len(records) // 12, 1)]


def lay_out(folder: Path, name: str, records: dict[str, list[dict[str, Any]]]) -> Path:
    """Images and masks for records, and these as anns/."""
    in_parts = SETS[name].in_parts or {}
    for part, listed in records.items():
        (folder / "anns").mkdir(parents=True, exist_ok=True)
        (folder / "anns" / f"{part}.json").write_text(json.dumps(listed))
        below = in_parts.get(PARTS[part], "")
        for record in listed:
            nothing = "no " in str(record["prompts"]["p1"]).lower()
            seed = zlib.crc32(f"{below}/{record['img_name']}".encode())
            image = folder / "images" / below / record["img_name"]
            save(image, scene(seed, size=(24, 32)))
            mask = np.zeros((24, 32), np.uint8) if nothing else disc(12, 16, 5, size=(24, 32))
            save(folder / "masks" / below / record["mask_name"], mask)
    return folder


def items(out: Path) -> dict[str, list[dict[str, Any]]]:
    content = json.loads((out / "datalist.json").read_text())
    for section in SECTIONS:
        load_referring(out / "datalist.json", section)
    return {section: content[section] for section in SECTIONS}


@pytest.mark.parametrize("full", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", sorted(set(SETS) - {"cvc300"}))
def test_texts_of_each_level_are_theirs(tmp_path, name, full):
    records = published(name)
    if not full:
        empty = [r for r in records.get("train", []) if r["prompts"]["p1"] == "no polyp"][:1]
        records = {part: some(listed) for part, listed in records.items()}
        records.get("train", []).extend(empty)
    source = lay_out(tmp_path / "source", name, records)
    prepare(source, tmp_path / "out", name=name, rule="theirs", drop_duplicates=True)
    found = items(tmp_path / "out")
    later: set[str] = set()  # images of later parts, which are dropped from this one
    for part in reversed(PARTS):
        kept = {
            (r["img_name"], r["mask_name"]): r["prompts"]
            for r in records.get(part, [])
            if r["img_name"] not in later or SETS[name].in_parts
        }
        assert [item["levels"] for item in found[PARTS[part]]] == [
            {level: text if isinstance(text, list) else [text] for level, text in prompts.items()}
            for prompts in kept.values()
        ]
        later |= {image for image, _ in kept}
    every = [item for section in found.values() for item in section]
    assert {item["dataset"] for item in every} == {name}
    assert all(item["targets"] for item in every)
    for item in every:
        assert (item.get("lesion") == []) == ("no " in item["prompts"][0].lower())


@pytest.mark.parametrize(
    ("name", "section", "case", "expected"),
    [
        (
            "camus",
            "validation",
            "patient0001_2CH_ED-myocardium",
            {"view": "two-chamber", "cycle": "diastole", "gender": "female", "age": "fifty-six"},
        ),
        (
            "chexlocalize",
            "validation",
            "patient64758_study1_view1_frontal-airspace-opacity",
            {"view": "frontal", "pathology": ["Lung Opacity", "Atelectasis"]},
        ),
        ("busi", "training", "100_benign", {"class": "tumor", "tumor_type": "benign"}),
    ],
)
def test_clean_texts_take_metadata_from_names_and_from_their_p6(tmp_path, name, section, case, expected):
    records = published(name)
    part = {section: part for part, section in PARTS.items()}[section]
    of_part = [r for r in records[part] if r["img_name"] == records[part][0]["img_name"]]
    source = lay_out(tmp_path / "source", name, {part: of_part})
    prepare(source, tmp_path / "out", name=name)
    item = next(item for item in items(tmp_path / "out")[section] if item["case"] == case)
    assert expected.items() <= item["attributes"].items()
    theirs = of_part[0]["prompts"]
    assert list(item["levels"]) == list(theirs)  # nothing is unknown


def record(image: str, mask: str | None = None) -> dict[str, Any]:
    levels = {f"p{n}": "polyp" for n in range(1, 10)}
    return {"img_name": image, "mask_name": mask or image, "prompts": {"p0": "", **levels}}


def test_a_image_in_two_parts_is_refused_or_leaves_the_earlier_part(tmp_path, capsys):
    records = {
        "train": [record("a.png"), record("b.png"), record("c.png"), record("c.png")],
        "val": [record("b.png")],
        "test": [record("a.png"), record("d.png")],
    }
    source = lay_out(tmp_path / "source", "bkai", records)
    arguments = [
        "medvlsm",
        "--set",
        "bkai",
        "--source",
        str(source),
        "--out",
        str(tmp_path / "out"),
        "--rule",
        "theirs",
    ]
    assert main(arguments) == 1
    said = capsys.readouterr().err
    assert "images: found 2 in two parts (a in training and test, b in training and validation)" in said
    assert "--drop-duplicates" in said
    assert main([*arguments, "--drop-duplicates"]) == 0
    cases = {name: [item["case"] for item in listed] for name, listed in items(tmp_path / "out").items()}
    assert cases == {"training": ["c"], "validation": ["b"], "test": ["a", "d"]}


def test_one_image_under_two_names_is_found_too(tmp_path):
    source = lay_out(tmp_path / "source", "isic", {"train": [record("a.png")], "test": [record("b.png")]})
    (source / "images" / "b.png").write_bytes((source / "images" / "a.png").read_bytes())
    with pytest.raises(InputError, match=r"found 1 in two parts \(a in training and test\)"):
        prepare(source, tmp_path / "out", name="isic", rule="theirs")


@pytest.mark.parametrize(("name", "count"), [("isic", 3), ("bkai", 3)])
def test_published_lists_have_images_in_two_parts(tmp_path, name, count):
    records = published(name)
    early = {r["img_name"] for r in records["train"]} & {
        r["img_name"] for part in ("val", "test") for r in records[part]
    }
    chosen = {
        part: [r for r in listed if r["img_name"] in early] + listed[:2] for part, listed in records.items()
    }
    source = lay_out(tmp_path / "source", name, chosen)
    with pytest.raises(InputError, match=f"found {count} in two parts"):
        prepare(source, tmp_path / "out", name=name, rule="theirs")


@pytest.mark.parametrize("rule", RULES)
def test_the_json_of_cvc_300_is_refused_by_its_content(tmp_path, rule):
    records = published("cvc300")
    (tmp_path / "anns").mkdir()
    (tmp_path / "anns" / "test.json").write_text(json.dumps(records["test"][::-1], indent=2))
    with pytest.raises(
        InputError, match=r"found the images of CVC-ColonDB, .* take anns/ away and use the rule clean"
    ):
        prepare(tmp_path, tmp_path / "out", name="cvc300", rule=rule)


def test_a_set_for_tests_alone_needs_no_json(tmp_path):
    for name in ("149", "150"):
        save(tmp_path / "images" / f"{name}.png", scene(int(name)))
        save(tmp_path / "masks" / f"{name}.jpg", disc(20, 20, 10))
    prepare(tmp_path, tmp_path / "out", name="cvc300")
    found = items(tmp_path / "out")
    assert [len(listed) for listed in found.values()] == [0, 0, 2]
    assert found["test"][0]["attributes"]["location"] == ["top left"]
    with pytest.raises(
        InputError, match=r"found no anns/train.json, expected the authors' prompts for the rule theirs"
    ):
        prepare(tmp_path, tmp_path / "out", name="cvc300", rule="theirs")
    with pytest.raises(
        InputError, match=r"found no anns/train.json, expected the published split of ISIC 2016"
    ):
        prepare(tmp_path, tmp_path / "out", name="isic")


def test_camus_without_json_is_split_by_patient_and_says_what_levels_lack(tmp_path, capsys):
    for part, numbers in (("train", range(1, 53)), ("test", range(1, 3))):
        for number in numbers:
            stem = f"patient{number:04d}_4CH_ES"
            save(
                tmp_path / "images" / part / f"{stem}.png",
                scene(number + 100 * (part == "test"), size=(24, 32))[..., 0],
            )
            for structure in (1, 2, 3):
                save(
                    tmp_path / "masks" / part / f"mask_{structure}" / f"{stem}_gt.png",
                    disc(12, 12, 6, size=(24, 32)),
                )
    prepare(tmp_path, tmp_path / "out", name="camus")
    found = items(tmp_path / "out")
    patients = {name: len({item["patient"] for item in listed}) for name, listed in found.items()}
    assert patients == {"training": 2, "validation": 50, "test": 2}
    values = {
        case.targets[0]: case.label for case in load_datalist(tmp_path / "out" / "datalist.json", "test")[:3]
    }
    assert set(values) == {"Left ventricular cavity", "Myocardium", "Left atrium cavity"}
    assert list(found["test"][0]["levels"]) == ["p0", "p1", "p2", "p3"]
    assert "of 162 items: p4 162, p5 162, p6 162, p7 162" in capsys.readouterr().out


def test_broken_json_is_refused(tmp_path):
    (tmp_path / "anns").mkdir()
    (tmp_path / "anns" / "train.json").write_text('[{"img_name": "a.png"}]')
    with pytest.raises(InputError, match=r"train.json: cannot be read as prompts of medvlsm \(KeyError"):
        prepare(tmp_path, tmp_path / "out", name="dfu")


def test_choices_of_the_command_line_are_what_there_is():
    assert set(_level_commands.SETS) == set(SETS)
    assert set(_level_commands.FAMILIES) == set(families())

"""Which cases an input means, and where their outputs go."""

import json
import os

import numpy as np
import pytest

from common.data import load_datalist
from common.data.item_fields import FIELDS
from common.errors import InputError
from common.inference.cases import find_cases
from common.inference.lists import READ
from common.text.prompts import Prompt
from tools.phantom.__main__ import main as phantoms


def places(inputs, tmp_path):
    """{input: output stem}, both relative to the test's folder."""
    cases = find_cases(inputs, tmp_path / "out")
    return {
        str(case.source.relative_to(tmp_path)): str(case.stem.relative_to(tmp_path / "out")) for case in cases
    }


@pytest.fixture
def files(tmp_path):
    for name in ("in/a.nii.gz", "in/sub/b.nrrd", "c.mha"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_a_list_may_name_files_and_folders_of_all_kinds(files):
    listed = [str(files / "c.mha"), files / "in"]
    assert places(listed, files) == {"c.mha": "c", "in/a.nii.gz": "a", "in/sub/b.nrrd": "sub/b"}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("list.csv", "patient,image\n1,in/a.nii.gz\n2,in/sub/b.nrrd\n"),
        ("list.json", json.dumps(["in/a.nii.gz", {"image": "in/sub/b.nrrd", "patient": 2}])),
        ("LIST.JSON", json.dumps(["in/a.nii.gz", "in/sub/b.nrrd"])),
        ("List.Csv", "image\nin/a.nii.gz\nin/sub/b.nrrd\n"),
    ],
)
def test_a_list_file_names_paths_from_its_own_folder_and_mirrors_them(name, content, files):
    (files / name).write_text(content, "utf-8")
    assert places(files / name, files) == {"in/a.nii.gz": "in/a", "in/sub/b.nrrd": "in/sub/b"}


def test_prompts_slices_and_names_of_their_own(files):
    """Rows of one image and slice are one case; a name that is not given has the slice behind the image's."""
    (files / "list.csv").write_text(
        "image,prompt,slice,case\n"
        'in/a.nii.gz,"the largest, round lesion",,\n'
        "c.mha,one,7,\n"
        "in/a.nii.gz,$(x),,\n"
        "c.mha,two,8,\n"
        "in/sub/b.nrrd,,, b 1\n",
        "utf-8",
    )
    entries = [
        {"image": "c.mha", "prompts": ["x", {"prompt": "y", "name": "Y", "label": 9}]},
        {"image": "in/a.nii.gz", "prompt": "z", "slice": 0},
    ]
    (files / "list.json").write_text(json.dumps(entries), "utf-8")
    found = [
        (str(case.stem.relative_to(files / "out")), [one.text for one in case.prompts], case.slice_index)
        for case in find_cases(files / "list.csv", files / "out")
    ]
    assert found == [
        ("in/a", ["the largest, round lesion", "$(x)"], None),
        ("c-7", ["one"], 7),
        ("c-8", ["two"], 8),
        ("in/sub/b 1", [], None),
    ]
    first, second = find_cases(files / "list.json", files / "out")
    assert first.prompts == (Prompt("x", "x", 1), Prompt("y", "Y", 9))
    assert (second.prompts, second.slice_index) == ((Prompt("z", "z", 1),), 0)


def test_links_to_folders_are_followed_but_not_in_circles(files):
    (files / "in/linked").symlink_to(files / "in/sub")
    (files / "in/sub/back").symlink_to(files / "in")
    assert places(files / "in", files) == {
        "in/a.nii.gz": "a", "in/linked/b.nrrd": "linked/b", "in/sub/b.nrrd": "sub/b",
    }  # fmt: skip


def test_a_folder_is_named_by_itself_however_it_is_reached(files, make_dicom, monkeypatch):
    make_dicom(files / "scan/sub/deep", np.zeros((2, 4, 4), int))
    monkeypatch.chdir(files / "scan/sub/deep")
    assert [case.stem for case in find_cases(".", files / "out")] == [files / "out/deep"]
    make_dicom(files / "scan/sub", np.zeros((2, 4, 4), int))
    stems = {case.stem for case in find_cases("..", files / "out")}
    assert stems == {files / "out/sub", files / "out/deep"}


def test_what_phantoms_with_lesions_write_is_a_list(tmp_path):
    """Its items have the lesions' attributes."""
    arguments = ["--lesions", "--out", str(tmp_path), "--cases", "1", "--seed", "3"]
    assert phantoms([*arguments, "--validation", "0", "--test", "0"]) == 0
    items = json.loads((tmp_path / "datalist.json").read_text())["training"]
    cases = find_cases(tmp_path / "datalist.json", tmp_path / "out", section="training")
    assert [case.prompts[0].text for case in cases] == [item["prompts"][0] for item in items]


def test_a_section_without_a_datalist_is_refused(files):
    with pytest.raises(InputError, match="section: found 'test' and no datalist as input, expected one"):
        find_cases(files / "c.mha", files / "out", section="test")
    (files / "list.csv").write_text("image\nc.mha\n")
    with pytest.raises(InputError, match=r"list\.csv: found a list without sections, expected a datalist"):
        find_cases(files / "list.csv", files / "out", section="test")


def test_a_file_needs_a_name(files):
    (files / ".nii.gz").touch()
    with pytest.raises(
        InputError, match=r"\.nii\.gz: found no name before '\.nii\.gz', expected one; rename"
    ):
        find_cases(files / ".nii.gz", files / "out")


def test_a_folder_that_cannot_be_read_is_named(files, monkeypatch):
    """As `os.walk` says it; root may read everything."""
    scandir = os.scandir

    def refusing(path):
        if str(path).endswith("sub"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(
        InputError, match=r"in/sub: cannot be read \(Permission denied\), expected folders of"
    ):
        find_cases(files / "in", files / "out")


def test_a_section_of_a_datalist_is_a_list(files):
    """Sentences of an item mean one lesion; its first is asked, and outputs are named as in training."""
    lesions = [{"label": "l.nii.gz", "lesion": number, "patient": "p"} for number in (1, 2)]
    test = [
        {"image": "in/a.nii.gz", "slice": 4, "prompts": ["the first", "number one"], **lesions[0]},
        {"image": "in/a.nii.gz", "slice": 4, "prompts": ["the second"], **lesions[1]},
        {"image": "in/a.nii.gz", "slice": 4, "prompts": ["a square one"], "lesion": [], "patient": "p"},
        {"image": "c.mha", "case": "c 1", "targets": ["liver"], "absent": ["prostate"], "label": "l.nii.gz"},
    ]
    path = files / "datalist.json"
    path.write_text(json.dumps({"labels": {"1": "liver"}, "training": ["c.mha"], "test": test}), "utf-8")
    cases = find_cases(path, files / "out", section="test")
    assert [(case.stem.name, [one.text for one in case.prompts], case.slice_index) for case in cases] == [
        ("a-4-1", ["the first"], 4),
        ("a-4-2", ["the second"], 4),
        ("a-4-none", ["a square one"], 4),
        ("c 1", [], None),
    ]
    with pytest.raises(InputError, match="found the section 'validation' for a datalist, expected one of"):
        find_cases(path, files / "out", section="validation")
    path.write_text(json.dumps({"test": test}), "utf-8")
    assert find_cases(path, files / "out") == cases


def test_a_datalist_that_trains_can_be_inferred_on(files):
    """It may have fields of its own, and former names; slips are refused by the same words."""
    path = files / "datalist.json"
    item = {"image": "c.mha", "scanner": "A"}
    path.write_text(json.dumps({"labels": {"1": "liver"}, "test": [item | {"rotatable": True}]}), "utf-8")
    with pytest.warns(FutureWarning, match="rotatable is now orientation_free"):
        assert [case.stem.name for case in find_cases(path, files / "out")] == ["c"]
    path.write_text(json.dumps({"labels": {"1": "liver"}, "test": [item | {"cas": "x"}]}), "utf-8")
    said = r' has the field "cas" and no "case", expected one of .*; rename it to case,'
    with pytest.raises(InputError, match=f"item 1{said}"):
        find_cases(path, files / "out")
    with pytest.raises(InputError, match=rf"test\[0\]{said}"):
        load_datalist(path, "test")


def test_every_field_that_inference_reads_is_one_of_datalists():
    assert set(READ) - {"prompt"} <= set(FIELDS)


def test_paths_outside_the_lists_folder_do_not_leave_the_output_folder(files):
    (files / "in/list.json").write_text(json.dumps(["../c.mha", str(files / "in/a.nii.gz")]), "utf-8")
    stems = [case.stem for case in find_cases(files / "in/list.json", files / "out")]
    assert stems == [files / "out/c", files / "out/a"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("list.json", "{", r"list\.json: cannot be read as a list of inputs \("),
        ("list.json", "{}", r"list\.json: found no inputs, expected a list of at least one"),
        ("list.csv", "image\n", r"list\.csv: found no inputs, expected a list of at least one"),
        (
            "list.csv",
            "path\na.nii\n",
            r'list\.csv, item 1: found the fields path, expected text or a field "image"',
        ),
        ("list.json", '["in/a.nii.gz", 3]', r"list\.json, item 2: found no path"),
        (
            "list.json",
            '["list.json"]',
            r"list\.json, item 1: found another list, expected an image or a folder",
        ),
        ("list.json", '["gone.nii"]', r"gone\.nii: no such file or folder"),
        (
            "list.csv",
            "image,prompt\nin/a.nii.gz,large, round\n",
            "item 1: found more cells than columns, exp",
        ),
        (
            "list.csv",
            "image;prompt\na.nii;x\n",
            r"list\.csv: .* \(found semicolons between its columns, expected commas\)",
        ),
        (
            "list.csv",
            "image,promt\nin/a.nii.gz,x\n",
            r"list\.csv, item 1: found the field 'promt', expected image, prompt, prompts, slice, case",
        ),
        (
            "list.csv",
            "image,slice\nin/a.nii.gz,-1\n",
            "item 1, slice: found '-1', expected a whole number fr",
        ),
        (
            "list.csv",
            "image,prompts\nin/a.nii.gz,x\n",
            r"item 1: found 'x' as prompts, expected prompt \(",
        ),
        (
            "list.json",
            '[{"image": "c.mha", "slice": 1.5}]',
            "item 1, slice: found 1.5, expected a whole numb",
        ),
        (
            "list.csv",
            "image,slice\nc.mha," + "9" * 5000,
            r"item 1, slice: found '9+\.\.\.9+', expected a whole number",
        ),
        ("list.json", '[{"image": "c.mha", "slice": true}]', "item 1, slice: found True, expected a whole"),
        (
            "list.json",
            '[{"image": "c.mha", "prompts": []}]',
            r"found \[\] as prompts, expected prompt",
        ),
        (
            "list.json",
            '[{"image": "c.mha", "prompt": "x", "prompts": ["y"]}]',
            r"list\.json, item 1: found both prompt and prompts, expected prompt \(a text; of a CSV",
        ),
        (
            "list.json",
            '[{"image": "c.mha", "prompt": "l\\u0007r"}]',
            r"item 1: found the control character U\+",
        ),
        ("list.json", '[{"image": "c.mha", "prompt": 3}]', "item 1: found a number, expected text or"),
        (
            "list.json",
            '[{"image": "c.mha", "prompts": ["x", {"prompt": "y", "size": 3}]}]',
            "item 1, prompt 2: found the key 'size', expected prompt, name, label, colour",
        ),
        (
            "list.csv",
            "image,prompt\nin/a.nii.gz,x\nc.mha,x\nin/a.nii.gz,x\n",
            r"item 3: found the name 'x' again \(first in .*list\.csv, item 1\), expected every name once",
        ),
        (
            "list.csv",
            "image,prompt\n" + "\n".join(f"c.mha,{n}" for n in range(256)),
            "item 1: found 256 prompts for one image, expected at most 255; split them",
        ),
        (
            "list.json",
            '[{"image": "c.mha", "case": "../x"}]',
            "item 1, case: found '../x', expected a name witho",
        ),
        ("list.json", '[{"image": "c.mha", "case": true}]', "item 1, case: found True, expected a name"),
        (
            "list.json",
            '[{"image": "in", "case": "x"}]',
            'item 1: found 2 images for the one case "x", expected one image; name the images one by one',
        ),
        (
            "list.json",
            '["c.mha", {"image": "c.mha", "prompt": "x"}]',
            "both would be written .* another case in a",
        ),
        (
            "list.json",
            '{"training": ["c.mha"], "test": ["c.mha"]}',
            r"list\.json: found no section for a datalist, expected one of training, test; give section",
        ),
        ("list.json", '{"test": []}', r"list\.json, test: found no inputs, expected a list of at least one"),
        ("list.json", '{"test": [{}]}', r"list\.json, test, item 1: found no path"),
    ],
)
def test_errors_say_what_to_do(name, content, message, files):
    (files / name).write_text(content, "utf-8")
    with pytest.raises(InputError, match=message):
        find_cases(files / name, files / "out")

"""Which cases an input means, and where their outputs go."""

import json

import pytest

from common.errors import InputError
from common.inference.cases import find_cases


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
    ],
)
def test_a_list_file_names_paths_from_its_own_folder_and_mirrors_them(name, content, files):
    (files / name).write_text(content, "utf-8")
    assert places(files / name, files) == {"in/a.nii.gz": "in/a", "in/sub/b.nrrd": "in/sub/b"}


def test_paths_outside_the_lists_folder_do_not_leave_the_output_folder(files):
    (files / "in/list.json").write_text(json.dumps(["../c.mha", str(files / "in/a.nii.gz")]), "utf-8")
    stems = [case.stem for case in find_cases(files / "in/list.json", files / "out")]
    assert stems == [files / "out/c", files / "out/a"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("list.json", "{", r"list\.json: cannot be read as a list of inputs \("),
        ("list.json", "{}", r"list\.json: found no list of inputs, expected at least one"),
        ("list.csv", "image\n", r"list\.csv: found no list of inputs, expected at least one"),
        ("list.csv", "path\na.nii\n", r'list\.csv, item 1: found no path, expected text or a field "image"'),
        ("list.json", '["in/a.nii.gz", 3]', r"list\.json, item 2: found no path"),
        (
            "list.json",
            '["list.json"]',
            r"list\.json, item 1: found another list, expected an image or a folder",
        ),
        ("list.json", '["gone.nii"]', r"gone\.nii: no such file or folder"),
    ],
)
def test_errors_say_what_to_do(name, content, message, files):
    (files / name).write_text(content, "utf-8")
    with pytest.raises(InputError, match=message):
        find_cases(files / name, files / "out")

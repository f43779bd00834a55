"""Datalists: what is read, what is refused and how cases are split."""

import json
from fractions import Fraction
from pathlib import Path

import pytest
from monai.data import load_decathlon_datalist

from common.data.datalist import (
    Case,
    check_patients,
    load_datalist,
    load_label_values,
    load_referring,
    split_by_patient,
)
from common.data.labels import names_of_numbers
from common.errors import InputError


@pytest.fixture
def folder(tmp_path):
    for name in ("a", "b", "c", "d"):
        for kind in ("images", "labels"):
            (tmp_path / kind).mkdir(exist_ok=True)
            (tmp_path / kind / f"{name}.nii.gz").touch()
    return tmp_path


def item(name, **more):
    return {"image": f"images/{name}.nii.gz", "label": f"labels/{name}.nii.gz", **more}


def write(folder, **content):
    path = folder / "datalist.json"
    path.write_text(json.dumps({"labels": {"1": "liver", "2": "spleen"}, **content}))
    return path


def error_of(call, *args, **kwargs):
    with pytest.raises(InputError) as caught:
        call(*args, **kwargs)
    return str(caught.value)


def test_full_and_sparse_items(folder):
    path = write(
        folder,
        training=[item("a", patient="P1", targets=["spleen"]), item("b", case="scan 7", patient=12)],
        test=["images/c.nii.gz", {"image": str(folder / "images" / "d.nii.gz"), "label": None}],
    )
    a, b = load_datalist(path, "training")
    c, d = load_datalist(path, "test")

    images, labels = folder / "images", folder / "labels"
    assert a == Case("a", images / "a.nii.gz", labels / "a.nii.gz", "P1", ("spleen",))
    assert b == Case("scan 7", images / "b.nii.gz", labels / "b.nii.gz", "12", ("liver", "spleen"))
    assert c == Case("c", images / "c.nii.gz", None, "c", ())
    assert d == Case("d", images / "d.nii.gz", None, "d", ())


def test_structures_that_are_surely_not_there(folder):
    path = write(folder, training=[item("a", absent=["prostate", "heart"]), item("b")])
    a, b = load_datalist(path, "training")
    assert a.absent == ("prostate", "heart")
    assert b.absent == ()


@pytest.mark.parametrize("absent", ["prostate", [3], [" "], {"heart": 1}, None])
def test_absent_is_a_list_of_names(folder, absent):
    path = write(folder, training=[item("a", absent=absent)])
    assert error_of(load_datalist, path, "training") == (
        f'{path}: training[0] has {json.dumps(absent)} as "absent", expected a list of names.'
    )


def test_paths_agree_with_monai(folder):
    path = write(folder, training=[item("a"), item("b")])
    peer = load_decathlon_datalist(str(path), is_segmentation=True, data_list_key="training")
    ours = load_datalist(path, "training")
    assert [(str(case.image), str(case.label)) for case in ours] == [(p["image"], p["label"]) for p in peer]


def test_label_names_leave_background_out(folder):
    path = folder / "datalist.json"
    path.write_text(json.dumps({"labels": {"0": "background", "1": "liver", "7": "left kidney"}}))
    assert load_label_values(path) == {"liver": (1,), "left kidney": (7,)}


def test_missing_file_and_other_content(tmp_path):
    path = tmp_path / "list.json"
    assert error_of(load_datalist, path, "training") == f"{path}: no such file; give a datalist (JSON)."
    path.write_text('{"labels": ')
    assert error_of(load_datalist, path, "training").startswith(f"{path}: not JSON (Expecting value: line 1")
    path.write_bytes(b"\xff\xfe\x00")
    utf16 = f"{path}: found UTF-16 text, expected UTF-8 text; save the file as UTF-8."
    assert error_of(load_datalist, path, "training") == utf16
    path.write_text("[]")
    assert error_of(load_datalist, path, "training") == (
        f'{path}: holds a JSON list, expected an object with "labels" and "training"; '
        "give a datalist in MONAI's decathlon layout."
    )


def test_missing_section(folder):
    path = write(folder, training=[item("a")], test=[])
    assert error_of(load_datalist, path, "validation") == (
        f'{path}: the section "validation" is missing (lists found: training, test); '
        "use one of training, validation, test, or add it."
    )
    path = write(folder, training={"image": "a"})
    assert error_of(load_datalist, path, "training") == (
        f'{path}: "training" is a JSON dict, expected a list of items.'
    )


@pytest.mark.parametrize(
    "broken", [{"label": "labels/b.nii.gz"}, {"image": ["x", "y"]}, {"image": ""}, 3, ""]
)
def test_item_without_image(folder, broken):
    path = write(folder, training=[item("a"), broken])
    assert error_of(load_datalist, path, "training") == (
        f'{path}: training[1] has no image, expected "image": "PATH"; add it.'
    )


@pytest.mark.parametrize("kind", ["image", "label"])
def test_path_that_does_not_exist(folder, kind):
    path = write(folder, training=[item("a") | {kind: "else/where.nii.gz", "case": "a"}])
    assert error_of(load_datalist, path, "training") == (
        f'{path}: training case "a" names the {kind} {folder / "else/where.nii.gz"}, which does not exist; '
        "correct the path (absolute, or relative to the datalist) or remove the item."
    )


def test_a_path_above_the_datalist_is_allowed(folder):
    (folder / "lists").mkdir()
    path = write(folder / "lists", training=[{"image": "../images/a.nii.gz"}])
    assert load_datalist(path, "training")[0].image.resolve() == (folder / "images" / "a.nii.gz").resolve()


def test_duplicate_case(folder):
    path = write(folder, training=[item("a"), item("b", case="a")])
    assert error_of(load_datalist, path, "training") == (
        f'{path}: training[1] has the case id "a" of an earlier item ({folder / "images/a.nii.gz"}), '
        'expected a different one for each item; give both items their own "case".'
    )


@pytest.mark.parametrize("field", ["case", "patient"])
@pytest.mark.parametrize("value", ["../out", "", None, True, ["a"]])
def test_ids_that_are_no_names(folder, field, value):
    path = write(folder, training=[item("a", **{field: value})])
    assert error_of(load_datalist, path, "training") == (
        f'{path}: training[0] has {json.dumps(value)} as "{field}", expected a name without "/", backslash, '
        "control characters and a dot in front, of at most 200 bytes."
    )


def test_patient_in_two_splits(folder):
    path = write(
        folder, training=[item("a", patient="P1")], test=[item("b", patient="P2"), item("c", patient="P1")]
    )
    expected = (
        f'{path}: patient "P1" is in both "training" and "test", expected in one split only; '
        "move all images of the patient to one of them."
    )
    assert error_of(load_datalist, path, "training") == expected
    assert error_of(load_datalist, path, "test") == expected
    # Without the field the case id is the patient.
    path = write(folder, training=[item("a")], validation=[item("a")])
    assert 'patient "a" is in both "training" and "validation"' in error_of(load_datalist, path, "training")


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        (None, "is null"),
        ({}, "is {}"),
        (["liver"], 'is ["liver"]'),
        ({"liver": 1}, 'has the entry {"liver": 1}'),
        ({"1": ""}, 'has the entry {"1": ""}'),
        ({"256": "liver"}, 'has the entry {"256": "liver"}'),
        ({"-1": "liver"}, 'has the entry {"-1": "liver"}'),
        ({"1": "liver", "2": []}, 'has the entry {"2": []}'),
        ({"1": ["liver", " "]}, 'has the entry {"1": ["liver", " "]}'),
        ({"1": ["liver", "liver"]}, 'has the entry {"1": ["liver", "liver"]}'),
        ({"1": [["liver"]]}, 'has the entry {"1": [["liver"]]}'),
        ({"1": {"liver": 1}}, 'has the entry {"1": {"liver": 1}}'),
        ({"1": "liver", "01": "spleen"}, 'has the entry {"01": "spleen"}'),
    ],
)
def test_malformed_labels(folder, labels, found):
    path = write(folder, training=[item("a")], labels=labels)
    message = (
        f'{path}: "labels" {found}, expected {{"1": "liver", "2": ["liver", "liver tumour"], ...}}: whole '
        "numbers from 1 to 255, each with a name or a list of different ones."
    )
    assert error_of(load_label_values, path) == message
    assert error_of(load_datalist, path, "training") == message


def test_a_number_may_have_several_names_and_a_name_several_numbers(folder):
    labels = {"0": "background", "7": "spleen", "1": "liver", "2": ["liver", "liver tumour"], "3": "liver"}
    path = write(folder, training=[item("a"), item("b", targets=["liver tumour"])], labels=labels)
    values = load_label_values(path)
    assert list(values.items()) == [("spleen", (7,)), ("liver", (1, 2, 3)), ("liver tumour", (2,))]
    assert load_label_values(path, organs=["liver tumour", "liver"]) == {
        "liver": (1, 2, 3),
        "liver tumour": (2,),
    }
    assert names_of_numbers(values) == {
        7: ("spleen",),
        1: ("liver",),
        2: ("liver", "liver tumour"),
        3: ("liver",),
    }
    assert error_of(load_label_values, path, organs=["pancreas"]) == (
        f"organs: 'pancreas' is not among the labels of {path} (spleen, liver, liver tumour); use these "
        "names."
    )
    a, b = load_datalist(path, "training")
    assert (a.targets, b.targets) == (("spleen", "liver", "liver tumour"), ("liver tumour",))


def test_items_of_both_kinds_are_cases(folder):
    (folder / "images" / "e.png").touch()
    flat = {"image": "images/e.png", "label": "labels/a.nii.gz"}
    path = write(
        folder,
        training=[
            item("a"),
            item("b", slice=4, lesion=[3, 1], prompts=[" all cysts "], orientation_free=True),
            flat | {"prompts": ["everything"], "attributes": {"shape": "round"}},
            {"image": "images/e.png", "lesion": [], "prompts": ["a square lesion"]},
        ],
    )
    organs, cysts, everything, nothing = load_datalist(path, "training")
    assert (organs.case, organs.targets) == ("a", ("liver", "spleen"))
    assert (organs.prompts, organs.lesions, organs.slice_index, organs.orientation_free) == (
        (),
        None,
        None,
        False,
    )
    assert (cysts.case, cysts.patient, cysts.prompts) == ("b-4-1-3", "b", ("all cysts",))
    assert (cysts.lesions, cysts.slice_index, cysts.orientation_free) == ((1, 3), 4, True)
    assert (everything.case, everything.lesions, everything.slice_index) == ("e", None, None)
    assert (nothing.case, nothing.patient, nothing.lesions, nothing.label) == ("e-none", "e", (), None)


def test_labels_may_be_left_out_where_all_items_have_sentences(folder):
    (folder / "images" / "e.png").touch()
    sentences = {"image": "images/e.png", "lesion": [], "prompts": ["a square lesion"]}
    path = folder / "datalist.json"
    path.write_text(json.dumps({"training": [sentences]}))
    (case,) = load_datalist(path, "training")
    assert (case.targets, case.prompts) == ((), ("a square lesion",))
    path.write_text(json.dumps({"training": [sentences], "test": [item("a")]}))
    assert error_of(load_datalist, path, "training").startswith(f'{path}: "labels" is null, expected')


def test_a_training_on_sentences_wants_them_in_every_item(folder):
    path = write(folder, training=[item("a", slice=1, prompts=["x"]), item("b")])
    assert error_of(load_referring, path, "training") == (
        f'{path}: training[1] has no "prompts", expected sentences in every item, as this training learns '
        "from sentences; add one, or leave the item out."
    )


@pytest.mark.parametrize(
    ("targets", "wrong"), [(["liver", "heart"], '"heart"'), ("liver", '"liver"'), (None, "null")]
)
def test_unknown_targets(folder, targets, wrong):
    path = write(folder, training=[item("a", targets=targets)])
    assert error_of(load_datalist, path, "training") == (
        f'{path}: training[0] has {wrong} in "targets", expected a list of names from "labels" '
        "(liver, spleen)."
    )


def test_label_that_is_no_path(folder):
    path = write(folder, training=[{"image": "images/a.nii.gz", "label": 1}])
    assert error_of(load_datalist, path, "training") == (
        f'{path}: training[0] has the label 1, expected "label": "PATH".'
    )


def cases(patients, scans=2):
    return [
        Case(f"{p}-{s}", Path(f"{p}-{s}.nii"), None, f"{p}", ())
        for p in range(patients)
        for s in range(scans)
    ]


def test_split_keeps_patients_together_and_counts_them():
    all_cases = cases(64)
    shares = {"training": Fraction(44, 64), "validation": Fraction(8, 64), "test": Fraction(12, 64)}
    split = split_by_patient(all_cases, shares, 3)
    assert [len(split[name]) for name in shares] == [88, 16, 24]
    assert sorted(case.case for part in split.values() for case in part) == sorted(c.case for c in all_cases)
    check_patients(split, "split")


def test_split_depends_on_the_seed_alone():
    shares = {"training": 0.7, "test": 0.3}
    first = split_by_patient(cases(50), shares, 0)
    assert split_by_patient(cases(50)[::-1], shares, 0) == first
    assert split_by_patient(cases(50), shares, 1) != first


@pytest.mark.parametrize(
    ("patients", "counts"), [(10, [7, 2, 1]), (1, [1, 0, 0]), (3, [2, 1, 0]), (0, [0, 0, 0])]
)
def test_largest_remainder(patients, counts):
    # 3 patients at 0.7, 0.2, 0.1 are 2.1, 0.6 and 0.3: the one left over goes to the 0.6.
    split = split_by_patient(cases(patients, 1), {"a": 0.7, "b": 0.2, "c": 0.1}, 0)
    assert [len(part) for part in split.values()] == counts


@pytest.mark.parametrize("shares", [{"a": 0.7, "b": 0.2}, {"a": 1.5, "b": -0.5}, {}])
def test_shares_that_do_not_sum_to_one(shares):
    assert error_of(split_by_patient, cases(4), shares, 0) == (
        f"fractions: found {shares}, expected shares of 0 or more that sum to 1."
    )


def test_labels_that_are_absent_are_no_default_targets(folder):
    """In whatever words: the vocabulary's synonyms, capitals, hyphens; own names too."""
    labels = {"1": "liver", "2": "Left Kidney", "3": "my own", "4": ["liver", "liver tumour"]}
    names = ("liver", "Left Kidney", "my own", "liver tumour")
    for absent, gone in (
        ("Hepar", "liver"),
        ("LIVER", "liver"),
        ("left-kidney", "Left Kidney"),
        ("My_Own", "my own"),
        ("right kidney", None),
        ("prostate", None),
    ):
        path = write(folder, training=[item("a", absent=[absent])], labels=labels)
        (case,) = load_datalist(path, "training")
        assert case.targets == tuple(name for name in names if name != gone)
        assert case.absent == (absent,)


@pytest.mark.parametrize("absent", ["liver", "Hepar"])
def test_an_organ_that_is_annotated_and_absent_is_refused(folder, absent):
    path = write(folder, training=[item("a", targets=["spleen", "liver"], absent=["prostate", absent])])
    assert error_of(load_datalist, path, "training") == (
        f'{path}: training[0] has "liver" in "targets" and "{absent}" in "absent", '
        "expected an organ in only one of them, since it is either annotated or absent; remove one."
    )

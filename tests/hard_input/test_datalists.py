"""Datalists: what a number, a row or a file does not say is never made up."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from common.data.datalist import SECTIONS, Case, load_datalist, load_label_values, load_referring
from common.data.evaluation_cases import EvaluationCases
from common.data.faults import Faults
from common.data.label_maps import read_label_map
from common.data.labelled import LabelledReader
from common.data.organ_slices import OrganSlices
from common.errors import InputError
from common.inference.lists import read_list
from tests.common.training.parts import Tiny
from tests.hard_input.datalists import (
    LAYOUTS,
    PATIENTS,
    ct,
    litter,
    organ_slabs,
    organs_of,
    write_nifti,
    write_polyps,
    write_set,
    write_turned_image,
)
from tools.prepare.__main__ import main
from tools.prepare.join import join

FULL = {"1": "liver", "2": "spleen", "3": "pancreas"}


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(
    ("names", "item"),
    [
        ({"1": "liver"}, {}),
        ({"3": "liver"}, {}),
        ({"2": "liver", "5": ["liver", "liver tumour"]}, {}),
        ({"1": "liver"}, {"targets": []}),
        ({"1": "liver"}, {"targets": [], "absent": ["spleen"]}),
        ({"1": "liver"}, {"absent": ["spleen", "pancreas"]}),
    ],
)
def test_an_unnamed_number_is_background_after_joining(
    tmp_path: Path, first: bool, names: dict[str, object], item: dict[str, object]
) -> None:
    """Of each organ the joined datalist finds in the case what its own datalist found: here, or nothing."""
    own = write_set(tmp_path / "own", names, organ_slabs([1, 2, 3, 4, 5]), **item)
    full = write_set(tmp_path / "full", FULL, organ_slabs([1, 2, 3]))
    joined = join([own, full] if first else [full, own], tmp_path / "joined")
    before, after = load_label_values(own), load_label_values(joined)
    (case,) = [case for case in load_datalist(joined, "training") if case.case.startswith("own-")]
    (its,) = load_datalist(own, "training")
    assert case.targets == its.targets
    assert case.label is not None
    assert its.label is not None
    written, stored = read_label_map(case.label).slices, read_label_map(its.label).slices
    for organ, numbers in after.items():
        np.testing.assert_array_equal(np.isin(written, numbers), np.isin(stored, before.get(organ, ())))
    if case.targets:
        EvaluationCases([case], labels=after, absent=True)[0]  # nothing that is absent is found in it


def test_all_bad_files_of_a_datalist_are_named_at_once(tmp_path: Path) -> None:
    """Those that are missing, and of those that are there those that cannot be read or do not fit."""
    path = write_set(tmp_path, {"1": "liver"}, organ_slabs([1, 1]))
    write_nifti(tmp_path / "wide.nii.gz", np.zeros((9, 8, 6), np.uint8))
    (tmp_path / "text.nii.gz").write_text("no image")
    good = {"image": "image.nii.gz", "label": "label.nii.gz"}
    bad = [good | {"case": "wide", "label": "wide.nii.gz"}, good | {"image": "text.nii.gz"}]
    gone = [good | {"case": name, "image": f"{name}.nii.gz"} for name in ("x", "y")]
    path.write_text(json.dumps({"labels": {"1": "liver"}, "training": [good, *gone]}))
    with pytest.raises(
        InputError, match=r"^2 of the training cases of .*: \(1\) .*x\.nii\.gz.* \(2\) .*y\.nii"
    ):
        load_datalist(path, "training")
    path.write_text(json.dumps({"labels": {"1": "liver"}, "training": [good, *bad]}))
    data = load_datalist(path, "training")
    expected = r"^2 of the training cases .*: \(1\) \S*wide\.nii\.gz: .* \(2\) \S*text\.nii\.gz: "
    for store in (None, tmp_path / "store"):
        with pytest.raises(InputError, match=expected):
            OrganSlices(data, labels={"liver": (1,)}, network=Tiny(), length=8, store=store)


def test_many_faults_are_counted() -> None:
    faults = Faults("items")
    for number in range(13):
        with faults.collected():
            raise InputError(f"fault {number}.")
    expected = r"^13 of the items .*: \(1\) fault 0\. .*\(10\) fault 9\. And 3 more\.$"
    with pytest.raises(InputError, match=expected):
        faults.check()


@pytest.mark.parametrize("stored", [False, True])
def test_an_organ_smaller_than_a_pixel_of_the_field_is_said(
    tmp_path: Path, stored: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """32 pixels to 16: of two in a row or column, the field takes the second one."""
    labels = np.zeros((32, 32, 6), np.uint8)
    labels[4:20, 4:20, :], labels[24, 24, 1:5] = 1, 2
    labels[24, 2, 1:4], labels[26:30, 2:6, 5] = 3, 3
    names = {"1": "liver", "2": "left adrenal gland", "3": "spleen"}
    path = write_set(tmp_path, names, labels)

    def draws(*organs: str) -> OrganSlices:
        values, store = load_label_values(path, organs=organs), tmp_path / "store" if stored else None
        data = load_datalist(path, "training")
        return OrganSlices(data, labels=values, network=Tiny(), length=8, store=store)

    for _ in range(2):  # the second time from the store
        expected = (
            r"^image_size: 'left adrenal gland' \(label 2\) is smaller than a pixel in 4 of the 4 slices "
            r"that hold it \(1 training cases\), at 16 x 16 pixels, so no example .*; raise network_def#image"
        )
        with pytest.raises(InputError, match=expected):
            draws(*names.values())
    draws("liver", "spleen")
    (said,) = [record.getMessage() for record in caplog.records if "image_size" in record.getMessage()]
    assert "'spleen' (label 3) is smaller than a pixel in 3 of the 4 slices that hold it (1 training" in said


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("of_mask", [1, 3, 6])
def test_an_image_that_exif_turns_and_its_mask_not_is_said(
    tmp_path: Path, orientation: int, of_mask: int, caplog: pytest.LogCaptureFixture
) -> None:
    (case,) = load_referring(
        write_turned_image(tmp_path, orientation=orientation, of_mask=of_mask), "training"
    )
    read = LabelledReader()
    shown = read(case)
    read(replace(case, case="again", label=case.label))
    same = bool((shown.meant(case).mask() == (shown.image.slices == 200)).all())
    assert same == (orientation == of_mask)
    found = f"its EXIF orientation is {orientation} and that of the label map {case.label} is {of_mask}"
    assert caplog.text.count(found) == (orientation != of_mask)


def test_one_sentence_for_two_lesions_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Of one slice, in whatever case and spaces; the same lesion twice and another slice are in order."""
    path = write_set(tmp_path, {"1": "lesion"}, organ_slabs([1, 2, 3]))
    files = {"image": "image.nii.gz", "label": "label.nii.gz", "patient": "p"}
    said = [("The lesion.", 1, 0), ("the  lesion", 2, 0), ("a", 3, 0), ("a", 4, 1), ("a", 3, 0)]
    items = [
        files | {"slice": index, "lesion": lesion, "prompts": [text], "case": str(number)}
        for number, (text, lesion, index) in enumerate(said)
    ]
    for section, its in (("training", items), ("test", items[1:])):
        path.write_text(json.dumps({section: its}))
        load_referring(path, section)
    (message,) = [record.getMessage() for record in caplog.records]
    expected = '1 sentences of "training" mean different lesions of one image, as in the cases "0" and "1"'
    assert f"{expected}; make them differ" in message


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (
            {"image": "x" * 300 + ".nii.gz", "case": "a"},
            r"names the image .*x\.nii\.gz, which does not",
        ),
        ({"label": "y" * 300}, r"names the label .*yyy, which does not exist"),
        *(
            ({field: name}, rf'as "{field}", expected a name without "/", backslash, control characters and')
            for field in ("case", "patient")
            for name in ("..", ".a", "a\0", "\ud800", "a\\b", " ", "é" * 101)
        ),
    ],
)
def test_names_that_no_file_may_have_are_refused(tmp_path: Path, item: dict[str, str], message: str) -> None:
    path = write_set(tmp_path, {"1": "liver"}, organ_slabs([1]), **item)
    with pytest.raises(InputError, match=message):
        load_datalist(path, "training")


def prepare(source: Path, out: Path, *more: str) -> int:
    return main(["folder", "--source", str(source), "--out", str(out), *more])


def prepared(out: Path) -> dict[str, Case]:
    return {case.case: case for section in SECTIONS for case in load_datalist(out / "datalist.json", section)}


@pytest.mark.parametrize("littered", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_people_have_is_taken(tmp_path: Path, layout: str, littered: bool) -> None:
    """Whatever lies where: each organ of each patient has its own voxels, beside the right image."""
    write, options = LAYOUTS[layout]
    write(tmp_path / "own")
    if littered:
        litter(tmp_path / "own")
    assert prepare(tmp_path / "own", tmp_path / "out", *options) == 0
    values = load_label_values(tmp_path / "out" / "datalist.json")
    # The label of a BIDS file is one word.
    expected = {"liver": 1, "spleen" if layout == "bids masks" else "spleen left": 2}
    assert values.keys() == expected.keys()
    cases = prepared(tmp_path / "out")
    assert len(cases) == len(PATIENTS)
    for case in cases.values():
        patient = case.patient.removeprefix("sub-")
        read = LabelledReader()(case)
        stored = read.image.to_stored(read.labels)
        np.testing.assert_array_equal(read.image.to_stored(read.image.slices), ct(patient))
        assert set(case.targets) == expected.keys()
        for organ, number in expected.items():
            np.testing.assert_array_equal(np.isin(stored, values[organ]), organs_of(patient) == number)
    if layout.startswith("nnunet"):
        assert [case.case for case in load_datalist(tmp_path / "out" / "datalist.json", "test")] == ["p5"]


def test_overlapping_organs_share_their_voxels(tmp_path: Path) -> None:
    """A tumour is in the liver's mask too; an organ without a file is unknown in that case."""
    LAYOUTS["totalsegmentator"][0](tmp_path / "own")
    for patient in PATIENTS[1:]:
        tumour = (organs_of(patient) == 1) & (np.arange(6) == 0)
        write_nifti(tmp_path / "own" / patient / "segmentations" / "tumour.nii.gz", tumour.astype(np.uint8))
    assert prepare(tmp_path / "own", tmp_path / "out") == 0
    values = load_label_values(tmp_path / "out" / "datalist.json")
    for name, case in prepared(tmp_path / "out").items():
        assert ("tumour" in case.targets) == (name != "p0")
        labels = LabelledReader()(case)
        stored = labels.image.to_stored(labels.labels)
        np.testing.assert_array_equal(np.isin(stored, values["liver"]), organs_of(name) == 1)
        tumour = (organs_of(name) == 1) & (np.arange(6) == 0) & (name != "p0")
        np.testing.assert_array_equal(np.isin(stored, values["tumour"]), tumour)


TABLE = 'Image,Prompt,Patient\n0,the left polyp,a\n0.jpg,"the polyp, a flat one",a\n1.jpg,a polyp,b\n'


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_photographs_with_masks_and_sentences_are_taken(tmp_path: Path, encoding: str) -> None:
    write_polyps(tmp_path / "own", f"{TABLE}2,a pölyp,c\r\n3,a polyp,d\n", encoding=encoding)
    assert prepare(tmp_path / "own", tmp_path / "out", "--test", "0.25", "--validation", "0.25") == 0
    cases = {
        case.case: case
        for section in SECTIONS
        for case in load_referring(tmp_path / "out" / "datalist.json", section)
    }
    assert {name: case.prompts for name, case in cases.items()} == {
        "0": ("the left polyp", "the polyp, a flat one"),
        "1": ("a polyp",),
        "2": ("a pölyp",),
        "3": ("a polyp",),
    }
    assert [case.patient for _, case in sorted(cases.items())] == ["a", "b", "c", "d"]
    for number in range(3):
        mask = np.zeros((1, 40, 48), bool)
        mask[:, 4:20, 8 + number : 24] = True
        found = LabelledReader()(cases[str(number)]).meant(cases[str(number)]).mask()
        np.testing.assert_array_equal(found, mask)
    assert cases["3"].lesions == ()  # its mask is empty


@pytest.mark.parametrize(
    ("table", "encoding", "message"),
    [
        (TABLE, "utf-16", r"sentences\.csv: found UTF-16 text, expected UTF-8 text; save the file as UTF-8"),
        (f"{TABLE}2,a pölyp,c", "cp1252", r"found the byte 0xf6 at position \d+, expected UTF-8 text; save"),
        ("image;prompt\n0;a", "utf-8", "found semicolons between its columns, expected commas"),
        (
            "image,words\n0,a polyp",
            "utf-8",
            r"own/\S+\.csv: left out, expected the columns image and prompt for sentences; name them so",
        ),
        (
            "image,prompt\n9,a polyp",
            "utf-8",
            r"row 2, image: found '9', expected a file below .*; correct the",
        ),
        (
            "image,prompt\n../own/images/0.jpg,a",
            "utf-8",
            r"row 2, image: found '\.\./own/images/0\.jpg', exp",
        ),
        ("image,prompt\n0,a, b", "utf-8", r"row 2: found more cells than columns, expected"),
        ("image,prompt,lesion\n0,a,1.5", "utf-8", r"row 2, lesion: found '1\.5', expected a whole number"),
        (
            "image,prompt,split\n0,a,exam",
            "utf-8",
            r"split: found 'exam', expected training, validation, test",
        ),
        ("image,prompt\n", "utf-8", "found no row, expected the columns image and prompt"),
        (
            "image,prompt,Image\n0,a,1",
            "utf-8",
            "found the columns image, prompt, image, expected each name once",
        ),
    ],
)
def test_a_table_that_cannot_be_read_is_refused(
    tmp_path: Path, table: str, encoding: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_polyps(tmp_path / "own", table, encoding=encoding)
    assert prepare(tmp_path / "own", tmp_path / "out") == 1
    assert re.search(message, capsys.readouterr().err)


def test_slices_and_splits_of_a_table_are_taken(tmp_path: Path) -> None:
    """With numbers as spreadsheets write them, where a column has empty cells."""
    for patient in PATIENTS[:3]:
        write_nifti(tmp_path / "own" / "images" / f"{patient}.nii.gz", ct(patient))
        write_nifti(tmp_path / "own" / "masks" / f"{patient}_seg.nii.gz", organs_of(patient))
    splits = {"p0": "train", "p1": "val", "p2": "test"}
    rows = "".join(f"{name},bright,2.0,2.0,{split}\n" for name, split in splits.items())
    (tmp_path / "own" / "own.csv").write_text(f"image,sentence,slice,lesion,split\n{rows}")
    assert prepare(tmp_path / "own", tmp_path / "out") == 0
    for section, patient in (("training", "p0"), ("validation", "p1"), ("test", "p2")):
        (case,) = load_referring(tmp_path / "out" / "datalist.json", section)
        assert (case.case, case.patient, case.slice_index) == (f"{patient}-2-2", patient, 2)
        assert case.lesions == (2,)


def test_lists_of_inputs_take_what_spreadsheets_write(tmp_path: Path) -> None:
    rows = "Image, Prompt ,SLICE\na.png,the lesion,\nb.nii.gz,the round one,41.0\n"
    (tmp_path / "list.csv").write_text(rows, encoding="utf-8-sig")
    first, second = read_list(tmp_path / "list.csv")
    assert (first.slice_index, second.slice_index) == (None, 41)
    assert second.prompts[0].text == "the round one"
    (tmp_path / "list.json").write_text('[{"image": "b.nii.gz", "slice": 41.0}]', encoding="utf-8-sig")
    assert read_list(tmp_path / "list.json")[0].slice_index == 41
    for encoding, found in (
        ("utf-16", "UTF-16 text"),
        ("utf-16-le", "UTF-16 text"),
        ("cp1252", "the byte 0xf6"),
    ):
        (tmp_path / "list.csv").write_bytes("image,prompt\na.png,pölyp\n".encode(encoding))
        with pytest.raises(
            InputError, match=rf"list\.csv: found {found}.*, expected UTF-8 text; save the file as"
        ):
            read_list(tmp_path / "list.csv")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--patient", "^(p["], r"--patient: found '\^\(p\[', expected a regular expression \(unterminated"),
        (
            ["--validation", "0.6", "--test", "0.5"],
            "found 0.6 and 0.5 of the patients, expected a share that",
        ),
        (
            ["--name", "3=Liver"],
            "--name: found 'liver' and 'Liver', which mean the same, expected one spelling",
        ),
    ],
)
def test_options_that_cannot_be_are_refused(
    tmp_path: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write, named = LAYOUTS["nifti"]
    write(tmp_path / "own")
    assert prepare(tmp_path / "own", tmp_path / "out", *named, *options) == 1
    assert re.search(message, capsys.readouterr().err)


@pytest.mark.parametrize("share", ["1/0", "1e999999999", "nan", "-1/4", "1/1", "0,15", "١/٤"])
def test_shares_that_are_none_are_refused(share: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["folder", "--source", ".", "--out", "out", f"--validation={share}"])
    assert f"found {share}, expected a " in capsys.readouterr().err


def test_two_cases_alike_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write, named = LAYOUTS["nifti"]
    write(tmp_path / "own")
    for folder in ("images", "labels"):
        name = next((tmp_path / "own" / folder).glob("p0*"))
        name.with_name(name.name.replace("p0", "P0")).write_bytes(name.read_bytes())
    assert prepare(tmp_path / "own", tmp_path / "out", *named) == 1
    assert "its case is called 'p0', and that of " in capsys.readouterr().err
    next((tmp_path / "own" / "images").glob("P0*")).unlink()
    (tmp_path / "own" / "images" / "p0.nii").write_bytes(b"")
    assert prepare(tmp_path / "own", tmp_path / "out", *named) == 1
    assert "images: found both p0.nii and p0.nii.gz, expected one file of a name" in capsys.readouterr().err


def test_empty_label_maps_alone_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for patient in PATIENTS:
        write_nifti(tmp_path / "own" / "images" / f"{patient}.nii.gz", ct(patient))
        write_nifti(tmp_path / "own" / "labels" / f"{patient}.nii.gz", np.zeros((8, 8, 6), np.uint8))
    assert prepare(tmp_path / "own", tmp_path / "out", "--name", "1=liver") == 1
    assert "all 6 label maps are empty, expected voxels of what is named" in capsys.readouterr().err


def test_copies_and_scans_of_one_patient_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The copy is stored in another type and name; only its values are the same."""
    for number in range(12):
        name = f"pat{number // 2}_scan{number % 2}"
        image = ct(f"p{number}") if number < 11 else ct("p0").astype(np.float32)
        write_nifti(tmp_path / "own" / "images" / f"{name}.nii.gz", image)
        write_nifti(tmp_path / "own" / "labels" / f"{name}.nii.gz", organs_of("p0" if number == 11 else "p1"))
    named = ["--name", "1=liver", "--name", "2=spleen"]
    assert prepare(tmp_path / "own", tmp_path / "out", *named) == 0
    said = capsys.readouterr().err
    assert re.search(
        r"pat0_scan0\.nii\.gz and \S*pat5_scan1\.nii\.gz hold the same image, but count as 2", said
    )
    assert re.search(
        r"warning: 'pat\d_scan0' \(\w+\) and 'pat\d_scan1' \(\w+\) may be scans of one patient", said
    )
    assert prepare(tmp_path / "own", tmp_path / "again", *named, "--patient", r"^(.*\d.*?)[_\-. ]") == 0
    assert "may be scans" not in capsys.readouterr().err
    assert {case.patient for case in prepared(tmp_path / "again").values()} == {f"pat{n}" for n in range(6)}


def test_plain_numbers_are_no_scans_of_one_patient(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(8):
        name = f"FLARE22_Tr_{number:04d}"
        write_nifti(tmp_path / "own" / "images" / f"{name}.nii.gz", ct(f"p{number}"))
        write_nifti(tmp_path / "own" / "labels" / f"{name}.nii.gz", organs_of("p0"))
    assert prepare(tmp_path / "own", tmp_path / "out", "--name", "1=liver", "--name", "2=spleen") == 0
    assert "warning" not in capsys.readouterr().err


def test_rounded_labels_and_cropped_ct_are_in_order(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """0.9999 is a 1 after resampling; CT of the inside of a body has neither air nor bone."""
    rng = np.random.default_rng(0)
    for patient in PATIENTS:
        image = rng.integers(-110, 160, (8, 8, 6)).astype(np.int16)
        write_nifti(tmp_path / "own" / "images" / f"{patient}.nii.gz", image)
        labels = (organs_of(patient) == 1).astype(np.float32) * np.float32(0.9999)
        write_nifti(tmp_path / "own" / "labels" / f"{patient}.nii.gz", labels)
    assert prepare(tmp_path / "own", tmp_path / "out", "--name", "1=liver") == 0
    said = capsys.readouterr()
    assert "Hounsfield" not in said.out + said.err
    for name, case in prepared(tmp_path / "out").items():
        read = LabelledReader()(case)
        np.testing.assert_array_equal(read.image.to_stored(read.labels) == 1, organs_of(name) == 1)


def test_a_table_without_sentences_beside_images_is_no_matter(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Lists of patients lie beside images and label maps; TotalSegmentator's has semicolons."""
    for name, table in (("commas", "file,age\n0,40\n"), ("semicolons", "image_id;age\ns0001;40\n")):
        own = tmp_path / name
        write_polyps(own, "image,prompt\n0,a")
        next(iter(own.glob("*.csv"))).write_text(table)
        (own / "masks").rename(own / "labels")
        prepare(own, tmp_path / f"out_{name}")
        said = capsys.readouterr()
        assert said.out.startswith("found images and label maps: 4 cases")
        assert "an image and a prompt" not in said.err
        assert "cannot be read as a CSV" not in said.err

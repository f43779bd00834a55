"""Datalists: what a number, a row or a file does not say is never made up."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from common.data.datalist import load_datalist, load_label_values, load_referring
from common.data.evaluation_cases import EvaluationCases
from common.data.faults import Faults
from common.data.label_maps import read_label_map
from common.data.labelled import LabelledReader
from common.data.organ_slices import OrganSlices
from common.errors import InputError
from tests.common.training.parts import Tiny
from tests.hard_input.datalists import organ_slabs, write_nifti, write_set, write_turned_image
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
            r"that hold it \(1 training cases\), at 16 x 16 pixels, so nothing .*; raise network_def#image"
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
    expected = (
        '1 sentences of "training" stand for different lesions of one image, as in the cases "0" and "1"'
    )
    assert f"{expected}; make them differ" in message

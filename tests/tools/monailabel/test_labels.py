"""Saved labels become one data set: numbers by name, studies split by patient."""

import json
import logging

import nibabel as nib
import numpy as np
import pytest

from common.data.datalist import load_datalist, load_label_values
from common.errors import InputError
from tools.monailabel.labels import SavedLabel, names_of, write_dataset


@pytest.mark.parametrize(
    ("info", "names"),
    [
        (
            {"label_info": [{"name": "liver", "idx": 1}, {"name": "the spleen", "idx": 7}]},
            {1: "liver", 7: "the spleen"},
        ),
        ({"label_info": [{"name": "liver"}, {"name": "spleen"}]}, {1: "liver", 2: "spleen"}),
        ({"params": {"label_names": {"liver": 2}}}, {2: "liver"}),
    ],
)
def test_names_of_a_saved_label(info, names):
    assert names_of(info) == names


@pytest.mark.parametrize("info", [{}, {"label_info": []}, {"params": {}}])
def test_no_names(info):
    with pytest.raises(InputError, match=r"^label_info: found no names, expected"):
        names_of(info)


@pytest.mark.parametrize("name", ["Segment_1", "region 2", "Label 3", "unknown", "Segment"])
def test_names_that_say_nothing(name):
    with pytest.raises(
        InputError, match=r"^label_info: found the name .*, expected what it shows, such as liver"
    ):
        names_of({"label_info": [{"name": name, "idx": 1}]})


def save(folder, study, array, names, patient=None, affine=None):
    image, label = folder / f"{study}.nii.gz", folder / f"{study}_label.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 4), np.int16), np.eye(4)), image)
    nib.save(nib.Nifti1Image(array.astype(np.uint8), np.eye(4) if affine is None else affine), label)
    return SavedLabel(study, image, label, patient or study, names)


def test_one_number_a_name_in_all_studies(tmp_path, caplog):
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 3, (4, 4, 4)) for _ in range(5)]
    saved = [
        save(tmp_path, "a", arrays[0], {1: "liver", 2: "spleen"}),
        save(tmp_path, "b", arrays[1], {1: "spleen", 2: "liver"}),
        save(tmp_path, "c", arrays[2], {1: "aorta", 2: "liver"}, patient="b"),
        save(tmp_path, "unnamed", arrays[3], {1: "liver"}),
        save(tmp_path, "elsewhere", arrays[4], {1: "liver", 2: "aorta"}, affine=np.diag([2, 2, 2, 1])),
    ]
    with caplog.at_level(logging.WARNING):
        path = write_dataset(saved, tmp_path / "data", validation_share=0.2)
    assert (
        "unnamed is left out: unnamed: its label map has the numbers [2], which have no name." in caplog.text
    )
    assert "elsewhere is left out: " in caplog.text
    names = {name: number for name, (number,) in load_label_values(path).items()}
    assert set(names) == {"liver", "spleen", "aorta"}
    cases = {
        case.case: case for part in ("training", "validation") for case in load_datalist(path, section=part)
    }
    assert set(cases) == {"a", "b", "c"}
    for one, array in zip(saved[:3], arrays, strict=False):
        written = np.asarray(nib.load(cases[one.study].label).dataobj)
        assert cases[one.study].targets == tuple(one.names.values())
        for number, name in one.names.items():
            np.testing.assert_array_equal(written == names[name], array == number)
    content = json.loads(path.read_text())
    sides = {item["patient"]: part for part in ("training", "validation") for item in content[part]}
    assert sorted(sides) == ["a", "b"]
    assert set(sides.values()) == {"training", "validation"}


def test_one_patient_is_not_enough(tmp_path):
    saved = [save(tmp_path, name, np.ones((4, 4, 4)), {1: "liver"}, patient="same") for name in "ab"]
    with pytest.raises(
        InputError, match=r"^labels: found usable labels of 1 patient\(s\), expected 2 or more"
    ):
        write_dataset(saved, tmp_path / "data", validation_share=0.2)

"""The preparers on miniatures of each data set's published layout (sources in the modules' docstrings)."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from common.data.datalist import SECTIONS, load_datalist, load_label_values, load_referring
from common.text.vocabulary import Vocabulary
from tests.tools.prepare.spreadsheets import xlsx
from tools.prepare.__main__ import main
from tools.prepare._lvit import read_sentences
from tools.prepare.mosmed import patient_of
from tools.prepare.msd import TASKS as KNOWN_TASKS

HIPPOCAMPUS = Path(__file__).parents[4] / "shared" / "data" / "mr_msd_hippocampus"


def volume(path: Path, shape: tuple[int, ...] = (3, 3, 2)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.arange(np.prod(shape), dtype=np.int16).reshape(shape), np.eye(4)), path)


def prepared(out: Path) -> dict[str, list[str]]:
    """Cases by section, through the project's own reader, which also refuses a patient in two of them."""
    return {
        section: [case.case for case in load_datalist(out / "datalist.json", section)] for section in SECTIONS
    }


@pytest.fixture
def flare(tmp_path: Path) -> Path:
    for number in range(1, 51):
        volume(tmp_path / "flare" / "images" / f"FLARE22_Tr_{number:04d}_0000.nii.gz")
        volume(tmp_path / "flare" / "labels" / f"FLARE22_Tr_{number:04d}.nii.gz")
    return tmp_path / "flare"


def test_flare22(flare: Path, tmp_path: Path) -> None:
    assert main(["flare22", "--source", str(flare), "--out", str(tmp_path / "out")]) == 0
    sections = prepared(tmp_path / "out")
    assert {name: len(cases) for name, cases in sections.items()} == {
        "training": 35,
        "validation": 5,
        "test": 10,
    }
    values = load_label_values(tmp_path / "out" / "datalist.json")
    names = {number: name for name, (number,) in values.items()}
    assert len(names) == 13
    # The numbers in the challenge's own description.
    assert (names[1], names[2], names[3], names[13]) == ("liver", "right kidney", "spleen", "left kidney")


def test_flare22_with_its_tuning_set_tests_on_that(flare: Path, tmp_path: Path) -> None:
    for number in range(1, 51):
        volume(flare / "tuning" / "images" / f"FLARETs_{number:04d}_0000.nii.gz")
        volume(flare / "tuning" / "labels" / f"FLARETs_{number:04d}.nii.gz")
    assert main(["flare22", "--source", str(flare), "--out", str(tmp_path / "out")]) == 0
    sections = prepared(tmp_path / "out")
    assert sections["test"] == [f"FLARETs_{number:04d}" for number in range(1, 51)]
    assert (len(sections["training"]), len(sections["validation"])) == (40, 10)


def test_half_a_download_is_refused_with_what_is_missing_and_where_to_get_it(
    flare: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (flare / "labels" / "FLARE22_Tr_0007.nii.gz").unlink()
    for number in range(40, 51):
        (flare / "images" / f"FLARE22_Tr_{number:04d}_0000.nii.gz").unlink()
    assert main(["flare22", "--source", str(flare), "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err
    assert (
        "12 of 100 files are missing (labels/FLARE22_Tr_0007.nii.gz, images/FLARE22_Tr_0040_0000.nii.gz"
        in said
    )
    assert "and 2 more), expected FLARE22 as its authors give it" in said
    assert "Get it: join https://flare22.grand-challenge.org and accept its rules. Licence:" in said
    assert not (tmp_path / "out").exists()


def test_segthor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = tmp_path / "segthor", tmp_path / "out"
    for number in range(1, 41):
        folder = source / "train" / f"Patient_{number:02d}"
        volume(folder / f"Patient_{number:02d}.nii.gz")
        volume(folder / "GT.nii.gz")
    assert main(["segthor", "--source", str(source), "--out", str(out)]) == 0
    assert [len(cases) for cases in prepared(out).values()] == [28, 4, 8]
    organs = ("esophagus", "heart", "trachea", "aorta")
    assert load_label_values(out / "datalist.json") == {organ: (n,) for n, organ in enumerate(organs, 1)}
    (source / "train" / "Patient_40" / "GT.nii.gz").unlink()
    assert main(["segthor", "--source", str(source), "--out", str(out)]) == 1
    said = capsys.readouterr().err
    assert "1 of 80 files are missing (train/Patient_40/GT.nii.gz)" in said
    assert "sign its data usage agreement" in said


def msd(folder: Path, *, modality: dict[str, str], labels: dict[str, str], shape: tuple[int, ...]) -> Path:
    """A task as medicaldecathlon.com packs one, with the files that macOS leaves in its archives."""
    names = [f"case_{number:03d}" for number in range(1, 11)]
    for name in names:
        volume(folder / "imagesTr" / f"{name}.nii.gz", shape)
        volume(folder / "labelsTr" / f"{name}.nii.gz", shape[:3])
        (folder / "imagesTr" / f"._{name}.nii.gz").write_bytes(b"\0")
    pairs = [{"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"} for name in names]
    content = {"name": "Spleen", "modality": modality, "labels": labels, "training": pairs, "test": []}
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


def test_msd_task_with_one_modality(tmp_path: Path) -> None:
    labels = {"0": "background", "1": "liver", "2": "cancer"}
    source = msd(tmp_path / "Task03_Liver", modality={"0": "CT"}, labels=labels, shape=(3, 3, 2))
    assert main(["msd", "--source", str(source), "--out", str(tmp_path / "out")]) == 0
    assert [len(cases) for cases in prepared(tmp_path / "out").values()] == [7, 1, 2]
    # Both are one structure's: the tumour's voxels are the liver's too.
    assert load_label_values(tmp_path / "out" / "datalist.json") == {"liver": (1, 2), "liver tumour": (2,)}
    written = json.loads((tmp_path / "out" / "datalist.json").read_text())
    assert written["labels"] == {"1": "liver", "2": ["liver", "liver tumour"]}
    assert written["training"][0]["targets"] == ["liver", "liver tumour"]


@pytest.mark.parametrize(
    ("task", "labels"),
    [
        ("Task08_HepaticVessel", {"0": "background", "1": "Vessel", "2": "Tumour"}),
        ("Task06_Lung", {"0": "background", "1": "cancer"}),
        ("Task09_Spleen", {"0": "background", "1": "spleen"}),
    ],
)
def test_msd_tasks_without_a_tumour_in_a_labelled_organ(
    tmp_path: Path, task: str, labels: dict[str, str]
) -> None:
    source = msd(tmp_path / task, modality={"0": "CT"}, labels=labels, shape=(3, 3, 2))
    assert main(["msd", "--source", str(source), "--out", str(tmp_path / "out")]) == 0
    found = load_label_values(tmp_path / "out" / "datalist.json")
    assert sorted(found.values()) == [(number,) for number in range(1, len(labels))]


TASKS = {  # the labels of each task's own dataset.json, and what they mean
    "Task01_BrainTumour": {"edema": None, "non-enhancing tumor": None, "enhancing tumour": None},
    "Task02_Heart": {"left atrium": "left atrium"},
    "Task03_Liver": {"liver": "liver", "cancer": None},
    "Task04_Hippocampus": {"Anterior": "anterior hippocampus", "Posterior": "posterior hippocampus"},
    "Task05_Prostate": {"PZ": "peripheral zone of the prostate", "TZ": "transition zone of the prostate"},
    "Task06_Lung": {"cancer": None},
    "Task07_Pancreas": {"pancreas": "pancreas", "cancer": None},
    "Task08_HepaticVessel": {"Vessel": "hepatic vessels", "Tumour": None},
    "Task09_Spleen": {"spleen": "spleen"},
    "Task10_Colon": {"colon cancer primaries": None},
}


@pytest.mark.parametrize("task", TASKS)
def test_organs_of_msd_tasks_have_descriptions(task: str, tmp_path: Path) -> None:
    """What is None is a growth, which no vocabulary of organs describes."""
    labels = {str(number): name for number, name in enumerate(["background", *TASKS[task]])}
    source = msd(tmp_path / task, modality={"0": "CT"}, labels=labels, shape=(3, 3, 2))
    assert main(["msd", "--source", str(source), "--out", str(tmp_path / "out")]) == 0
    names = load_label_values(tmp_path / "out" / "datalist.json")
    for name, organ in zip(names, TASKS[task].values(), strict=True):
        found = Vocabulary.load().find(name)
        assert (found and found.name) == organ
        assert found is None or (found.name == name and len(found.parts) == 3)
        assert found is not None or any(word in name for word in ("tumo", "cancer", "edema"))


def test_msd_labels_are_those_of_the_tasks_and_tell_them_apart() -> None:
    assert {task: list(names) for task, names in KNOWN_TASKS.items()} == {
        task: list(names) for task, names in TASKS.items()
    }
    assert len({frozenset(names) for names in KNOWN_TASKS.values()}) == len(TASKS)


@pytest.mark.parametrize("organ", ["liver", "pancreas"])
@pytest.mark.parametrize("linked", [True, False])
def test_msd_tumours_stay_in_their_organ_whatever_the_folder_is_called(
    organ: str, linked: bool, tmp_path: Path
) -> None:
    labels = {"0": "background", "1": organ, "2": "cancer"}
    source = msd(tmp_path / f"{organ}_msd", modality={"0": "CT"}, labels=labels, shape=(3, 3, 2))
    if linked:
        (tmp_path / "Task").symlink_to(source)
        source = tmp_path / "Task"
    assert main(["msd", "--source", str(source), "--out", str(tmp_path / "out")]) == 0
    tumour = {"liver": "liver tumour", "pancreas": "pancreatic tumour"}[organ]
    assert load_label_values(tmp_path / "out" / "datalist.json") == {organ: (1, 2), tumour: (2,)}


def test_labels_of_no_msd_task_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whether a kidney holds its cancer's voxels is not known, and the folder's name does not tell."""
    labels = {"0": "background", "1": "kidney", "2": "cancer"}
    source = msd(tmp_path / "Task03_Liver", modality={"0": "CT"}, labels=labels, shape=(3, 3, 2))
    assert main(["msd", "--source", str(source), "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err
    assert "dataset.json: found the labels kidney, cancer, expected those of a Decathlon task" in said
    assert "or prepare data of your own with `python -m tools.prepare folder`" in said
    assert not (tmp_path / "out").exists()


def test_msd_task_with_several_sequences(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = msd(
        tmp_path / "Task05_Prostate",
        modality={"0": "T2", "1": "ADC"},
        labels={"0": "background", "1": "PZ", "2": "TZ"},
        shape=(3, 4, 2, 2),
    )
    options = ["msd", "--source", str(source), "--out", str(tmp_path / "out")]
    assert main(options) == 1
    assert "--sequence: found none, but Task05_Prostate has T2, ADC" in capsys.readouterr().err
    assert main([*options, "--sequence", "ADC"]) == 0
    written = nib.load(tmp_path / "out" / "images" / "case_004.nii.gz")
    original = nib.load(source / "imagesTr" / "case_004.nii.gz")
    np.testing.assert_array_equal(written.dataobj, np.asarray(original.dataobj)[..., 1])
    assert written.shape == (3, 4, 2)
    prepared(tmp_path / "out")


def test_msd_on_real_images(tmp_path: Path) -> None:
    if not HIPPOCAMPUS.is_dir():
        pytest.skip(f"no {HIPPOCAMPUS}: the real hippocampus images are not beside this clone")
    source = tmp_path / "Task04_Hippocampus"
    source.mkdir()
    for kind in ("images", "labels"):
        (source / f"{kind}Tr").symlink_to(HIPPOCAMPUS / kind)
    names = sorted(path.name for path in (HIPPOCAMPUS / "images").glob("*.nii.gz"))
    pairs = [{"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"} for name in names]
    labels = {"0": "background", "1": "Anterior", "2": "Posterior"}
    content = {"name": "Hippocampus", "modality": {"0": "MRI"}, "labels": labels, "training": pairs}
    (source / "dataset.json").write_text(json.dumps(content))
    assert main(["msd", "--source", str(source), "--out", str(tmp_path / "out")]) == 0
    assert sum(len(cases) for cases in prepared(tmp_path / "out").values()) == len(names) > 50


@pytest.fixture
def mosmed(tmp_path: Path) -> Path:
    """Ten volumes with slices in all three parts, as in the published split."""
    source = tmp_path / "mosmed"
    slices = [f"Morozov_study_{volume:04d}_{index}" for volume in range(250, 260) for index in range(10)]
    for part, chosen in (("Train", range(8)), ("Val", (8,)), ("Test", (9,))):
        folder = source / f"{part}_Folder"
        rows = [("Image", "Description")]
        for name in (name for name in slices if int(name[-1]) in chosen):
            for kind in ("img", "labelcol"):
                (folder / kind).mkdir(parents=True, exist_ok=True)
                (folder / kind / f"{name}.png").touch()
            rows.append((f"{name}.png", f"Bilateral <infection> & two areas, {name}."))
        xlsx(folder / f"{part}_text.xlsx", rows, shared=part == "Train")
    return source


def test_mosmed_is_split_by_patient_and_its_own_split_is_said_to_leak(
    mosmed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["mosmed", "--source", str(mosmed), "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "warning: the published split has slices of 10 patients in more than one part" in said
    assert "Morozov_study_0250 in training and validation and test" in said
    sections = prepared(tmp_path / "out")
    patients = {name: {patient_of(case) for case in cases} for name, cases in sections.items()}
    assert {name: len(found) for name, found in patients.items()} == {
        "training": 8,
        "validation": 1,
        "test": 1,
    }
    assert len(set().union(*patients.values())) == 10
    item = json.loads((tmp_path / "out" / "datalist.json").read_text())["test"][0]
    assert item["prompts"] == [f"Bilateral <infection> & two areas, {item['case']}."]
    first = load_referring(tmp_path / "out" / "datalist.json", "test")[0]  # as lsms_lesion reads it
    assert (first.case, first.prompts) == (item["case"], tuple(item["prompts"]))


def test_mosmed_keeps_what_has_the_same_id(mosmed: Path, tmp_path: Path) -> None:
    """An image of one name in two parts, and one with two sentences."""
    folder = mosmed / "Test_Folder"
    for kind in ("img", "labelcol"):
        (folder / kind / "Morozov_study_0250_0.png").touch()
    rows = [("Image", "Description")]
    rows += [(f"Morozov_study_{volume:04d}_9.png", "A sentence.") for volume in range(250, 260)]
    rows += [("Morozov_study_0250_9.png", "Another."), ("Morozov_study_0250_0.png", "Of the test.")]
    xlsx(folder / "Test_text.xlsx", rows, shared=False)
    assert main(["mosmed", "--source", str(mosmed), "--out", str(tmp_path / "out")]) == 0
    items = [item for name in SECTIONS for item in load_referring(tmp_path / "out" / "datalist.json", name)]
    said = {item.case: (item.prompts, item.image.parents[1].name) for item in items}
    assert len(said) == 101
    assert said["Morozov_study_0250_9"] == (("A sentence.", "Another."), "Test_Folder")
    assert said["Morozov_study_0250_0"][1] == "Train_Folder"
    assert said["Morozov_study_0250_0-2"] == (("Of the test.",), "Test_Folder")


def test_mosmed_as_published_says_so_in_the_file(mosmed: Path, tmp_path: Path) -> None:
    assert main(["mosmed", "--source", str(mosmed), "--out", str(tmp_path / "out"), "--published"]) == 0
    sections = prepared(tmp_path / "out")
    assert {name: len(cases) for name, cases in sections.items()} == {
        "training": 80,
        "validation": 10,
        "test": 10,
    }
    head = json.loads((tmp_path / "out" / "datalist.json").read_text())
    assert head["split"].startswith("published, by slice: the published split has slices of 10 patients")


def test_mosmed_refuses_missing_masks_and_other_sheets(
    mosmed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (mosmed / "Val_Folder" / "labelcol" / "Morozov_study_0250_8.png").unlink()
    assert main(["mosmed", "--source", str(mosmed), "--out", str(tmp_path / "out")]) == 1
    assert (
        "1 of 200 files are missing (Val_Folder/labelcol/Morozov_study_0250_8.png)" in capsys.readouterr().err
    )
    xlsx(mosmed / "Val_Folder" / "Val_text.xlsx", [("Name", "Text")], shared=True)
    assert main(["mosmed", "--source", str(mosmed), "--out", str(tmp_path / "out")]) == 1
    assert "Val_text.xlsx: not a sheet with the columns Image and Description" in capsys.readouterr().err
    assert read_sentences(mosmed / "Test_Folder" / "Test_text.xlsx").keys() == {
        f"Morozov_study_{volume:04d}_9.png" for volume in range(250, 260)
    }


@pytest.mark.parametrize(
    ("name", "patient"),
    [
        ("Morozov_study_0255_13", "Morozov_study_0255"),
        ("Jun_coronacases_case5_100", "Jun_coronacases_case5"),
        ("bjorke_37", "bjorke"),
    ],
)
def test_patients_of_mosmed_names(name: str, patient: str) -> None:
    assert patient_of(name) == patient

"""Your own folder: pairs, checks, splits, and what a user is told."""

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from common.data.datalist import SECTIONS, load_datalist, load_label_values
from tools.prepare.__main__ import main

SARCOMA = Path(__file__).parents[4] / "shared" / "data" / "ct_sts_sarcoma"


def write(path: Path, array: np.ndarray, spacing: float = 1.0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.diag([spacing, spacing, 2.0, 1.0])), path)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Ten CT pairs of five patients: p0_a, p0_b, p1_a, ..."""
    rng = np.random.default_rng(0)
    for name in (f"p{patient}_{scan}" for patient in range(5) for scan in "ab"):
        image = rng.integers(-1000, 1000, (6, 5, 4)).astype(np.int16)
        labels = np.zeros((6, 5, 4), np.uint8)
        labels[2:4, 1:3, 1:3], labels[0, 0, 0] = 1, 7
        write(tmp_path / "own" / "images" / f"{name}.nii.gz", image)
        write(tmp_path / "own" / "labels" / f"{name}.nii.gz", labels)
    return tmp_path / "own"


def run(source: Path, out: Path, *more: str) -> int:
    return main(["folder", "--source", str(source), "--out", str(out), "--name", "1=lesion", *more])


def cases(out: Path) -> dict[str, list[Any]]:
    return {section: load_datalist(out / "datalist.json", section) for section in SECTIONS}


def test_pairs_are_listed_and_split_by_patient(source: Path, tmp_path: Path) -> None:
    assert (
        run(
            source,
            tmp_path / "out",
            "--ignore",
            "7",
            "--patient",
            "^(p[0-9]+)_",
            "--test",
            "0.2",
            "--validation",
            "0.2",
        )
        == 0
    )
    found = cases(tmp_path / "out")
    assert {name: len(part) for name, part in found.items()} == {"training": 6, "validation": 2, "test": 2}
    assert {case.patient for part in found.values() for case in part} == {f"p{number}" for number in range(5)}
    assert all(case.targets == ("lesion",) for part in found.values() for case in part)
    again = tmp_path / "again"
    run(source, again, "--ignore", "7", "--patient", "^(p[0-9]+)_", "--test", "0.2", "--validation", "0.2")
    assert (again / "datalist.json").read_bytes() == (tmp_path / "out" / "datalist.json").read_bytes()


def test_a_datalist_in_the_folder_itself_moves_with_it(source: Path, tmp_path: Path) -> None:
    assert run(source, source, "--ignore", "7") == 0
    moved = source.rename(tmp_path / "elsewhere")
    assert sum(len(part) for part in cases(moved).values()) == 10


def test_bad_pairs_are_left_out_and_named(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(source / "labels" / "p0_a.nii.gz", np.zeros((6, 5, 3), np.uint8))
    write(source / "labels" / "p1_a.nii.gz", np.full((6, 5, 4), 3, np.uint8))
    write(source / "images" / "p2_a.nii.gz", np.full((6, 5, 4), np.nan, np.float32))
    for kind in ("images", "labels"):
        write(source / kind / "p3_a.nii.gz", np.zeros((6, 5, 4), np.uint8), spacing=0.001)
    (source / "images" / "p4_a.nii.gz").write_bytes(b"no image")
    assert run(source, tmp_path / "out", "--ignore", "7") == 1
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("left out: ")]
    assert len(said) == 5
    for line, sentence in zip(
        said,
        [
            "p0_a.nii.gz: ",
            "p1_a.nii.gz: has the label numbers 3 without a name; add --name 3=NAME, or --ignore 3.",
            "p2_a.nii.gz: no voxel holds a finite number",
            "p3_a.nii.gz: voxels of 2 x 0.001 x 0.001 mm (slices, rows, columns), expected 0.05 to 20 mm "
            "each",
            "p4_a.nii.gz: ",
        ],
        strict=True,
    ):
        assert sentence in line
    assert sorted(case.case for part in cases(tmp_path / "out").values() for case in part) == [
        f"p{number}_b" for number in range(5)
    ]


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (
            ["--images", "images/p0_a.nii.gz"],
            "--images: found 'images/p0_a.nii.gz', expected a pattern below --source",
        ),
        (
            ["--images", "../*.nii.gz"],
            "--images: found '../*.nii.gz', expected a pattern below --source with one *",
        ),
        (
            ["--labels", "labels/*_b.nii.gz"],
            "found 10 images (images/*.nii.gz) and 5 label maps (labels/*_b.nii.gz)",
        ),
        (["--patient", "^x(.)"], "--patient: '^x(.)' has no group that matches in the case 'p0_a'"),
        (
            ["--name", "300=liver"],
            "--name: found '300=liver', expected NUMBER=NAME, a number from 1 to 255, and each entry once",
        ),
        (["--name", "1=lesion"], "--name: found '1=lesion', expected NUMBER=NAME"),
        ([], "none of the 10 pairs can be used; the first one: "),
        (["--ignore", "7", "--patient", "^(p)"], "1 patients are too few for a share in validation, test"),
    ],
)
def test_what_is_asked_wrongly_is_said(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], sentence: str
) -> None:
    assert run(source, tmp_path / "out", *more) == 1
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_what_is_odd_is_noted(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(source / "images" / "p0_a.nii.gz", np.full((6, 5, 4), 200, np.int16))
    assert run(source, tmp_path / "out", "--ignore", "7", "--name", "2=cyst") == 0
    said = capsys.readouterr().out
    assert "note: p0_a: grey values from 200 to 200 do not look like Hounsfield units" in said
    assert said.count("no voxel of cyst") == 10


def test_a_number_may_have_several_names(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A lesion in an organ: its voxels are the organ's too."""
    assert run(source, tmp_path / "out", "--name", "7=lesion", "--name", "7=cyst, old") == 0
    assert "note: voxels of label 7 belong to all of lesion, cyst, old" in capsys.readouterr().out
    assert load_label_values(tmp_path / "out" / "datalist.json") == {"lesion": (1, 7), "cyst, old": (7,)}
    found = cases(tmp_path / "out")
    assert all(case.targets == ("lesion", "cyst, old") for part in found.values() for case in part)


def test_linked_folders_and_files_are_found(source: Path, tmp_path: Path) -> None:
    linked = tmp_path / "linked"
    (linked / "cases").mkdir(parents=True)
    for image in (source / "images").glob("*"):
        folder = tmp_path / "store" / image.name.removesuffix(".nii.gz")
        folder.mkdir(parents=True)
        (folder / "ct.nii.gz").symlink_to(image)
        (folder / "seg.nii.gz").symlink_to(source / "labels" / image.name)
        (linked / "cases" / folder.name).symlink_to(folder)
    (linked / "again").symlink_to(linked)
    patterns = ["--images", "cases/*/ct.nii.gz", "--labels", "cases/*/seg.nii.gz"]
    assert run(linked, tmp_path / "out", "--ignore", "7", *patterns) == 0
    assert sum(len(part) for part in cases(tmp_path / "out").values()) == 10
    (tmp_path / "link").symlink_to(source)
    assert run(tmp_path / "link", tmp_path / "other", "--ignore", "7") == 0
    assert sum(len(part) for part in cases(tmp_path / "other").values()) == 10


def test_folders_of_a_real_set(tmp_path: Path) -> None:
    if not SARCOMA.is_dir():
        pytest.skip(f"no {SARCOMA}: the real sarcoma CT is not beside this clone")
    patterns = ["--images", "*/CT_image.nii.gz", "--labels", "*/CT_mask.nii.gz"]
    out = str(tmp_path / "out")
    assert main(["folder", "--source", str(SARCOMA), "--out", out, "--name", "1=sarcoma", *patterns]) == 0
    content = json.loads((tmp_path / "out" / "datalist.json").read_text())
    assert content["labels"] == {"1": "sarcoma"}
    found = cases(tmp_path / "out")
    assert sorted(case.case for part in found.values() for case in part) == sorted(
        path.name for path in SARCOMA.iterdir() if path.is_dir()
    )

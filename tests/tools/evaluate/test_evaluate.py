"""Two folders in, tables and a report out; what does not fit is named and the rest is measured."""

import csv
import json
import re
import subprocess
import sys
import tracemalloc
from html.parser import HTMLParser
from pathlib import Path

import itk
import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from common.data.itk_files import write_labels_itk
from common.data.label_maps import read_label_map
from common.data.volumes import write_labels
from common.inference.cases import find_cases
from common.metrics import measure_mask, summarise
from tools.evaluate.__main__ import main
from tools.evaluate.tables import absent_tables

AFFINE = np.array([[-0.8, 0, 0, 30], [0, 1.1, 0, -20], [0, 0, 2.5, 5], [0, 0, 0, 1]])
SPACING_DHW = (2.5, 1.1, 0.8)


def cube(at: int, value: int = 1, size: int = 6) -> np.ndarray:
    """(X, Y, Z) label map of one cube."""
    labels = np.zeros((20, 18, 12), np.uint8)
    labels[at : at + size, 4 : 4 + size, 3 : 3 + size] = value
    return labels


def save(path: Path, labels: np.ndarray, affine: np.ndarray = AFFINE) -> None:
    path.parent.mkdir(exist_ok=True)
    nib.save(nib.Nifti1Image(labels, affine), path)


def save_nrrd(path: Path, labels: np.ndarray) -> None:
    """The same place in the world in ITK's LPS+."""
    image = itk.image_from_array(np.ascontiguousarray(labels.transpose()))
    image.SetSpacing(np.linalg.norm(AFFINE[:3, :3], axis=0).tolist())
    axes = (np.diag([-1, -1, 1]) @ AFFINE[:3, :3]) / np.linalg.norm(AFFINE[:3, :3], axis=0)
    image.SetDirection(itk.matrix_from_array(np.ascontiguousarray(axes)))
    image.SetOrigin((np.diag([-1, -1, 1]) @ AFFINE[:3, 3]).tolist())
    itk.imwrite(image, str(path))


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path, Path]:
    return tmp_path / "pred", tmp_path / "ref", tmp_path / "out"


def run(folders: tuple[Path, Path, Path], *more: str) -> int:
    pred, ref, out = map(str, folders)
    return main(["--pred", pred, "--ref", ref, "--out", out, *more])


def rows_of(out: Path) -> dict[tuple[str, str], dict[str, str]]:
    return {(row["case"], row["label"]): row for row in csv.DictReader((out / "metrics.csv").open())}


def test_rows_are_those_of_the_arrays(folders: tuple[Path, Path, Path], tmp_path: Path) -> None:
    pred, ref, out = folders
    save(pred / "a.nii.gz", cube(5))
    save(ref / "a.nii.gz", cube(4))
    save(pred / "b.nii.gz", cube(4, size=0))
    save(ref / "b.nii.gz", cube(4))
    names = tmp_path / "labels.json"
    names.write_text(json.dumps({"labels": {"0": "background", "1": "liver", "2": "left kidney"}}))
    options = ("--labels", str(names), "--boundary", "voxel", "surfel", "--penalty-mm", "40")
    assert run(folders, *options, "--tolerance-mm", "1.5") == 0
    rows = rows_of(out)
    assert {key: row["status"] for key, row in rows.items()} == {
        ("a", "liver"): "found",
        ("a", "left kidney"): "absent",
        ("b", "liver"): "missed",
        ("b", "left kidney"): "absent",
    }
    expected = measure_mask(
        cube(5).transpose(2, 1, 0),
        cube(4).transpose(2, 1, 0),
        spacing_mm=SPACING_DHW,
        boundaries=("voxel", "surfel"),
        tolerances_mm=(1.5,),
    )
    for name, value in expected.items():
        if name != "status":
            assert float(rows["a", "liver"][name]) == pytest.approx(value, rel=1e-6), name
    summary = json.loads((out / "summary.json").read_text())
    assert summary["problems"] == []
    distances = summary["labels"]["liver"]["metrics"]["voxel_hd_mm"]
    assert (distances["n"], distances["mean"]) == (2, pytest.approx((0.8 + 40) / 2))


@pytest.fixture
def lesions(folders: tuple[Path, Path, Path]) -> tuple[Path, Path, Path]:
    """Label 1: two parts of which one is found, missed, rejected, false. Label 2: right in all four cases."""
    pred, ref, _ = folders
    kidney = cube(0, value=2, size=2)
    two = cube(4) + cube(13, size=4)
    nothing = np.zeros_like(two)
    cases = {
        "half": (cube(4), two),
        "gone": (nothing, cube(4)),
        "none": (nothing,) * 2,
        "false": (cube(9), nothing),
    }
    for case, (found, true) in cases.items():
        save(pred / f"{case}.nii.gz", found + kidney)
        save(ref / f"{case}.nii.gz", true + kidney)
    return folders


def test_numbers_are_printed_and_say_which_cases_they_are_of(
    lesions: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Dice of half: 2 * 216 / (216 + 280). Deviations by hand: values d, 0, 0 and d, 0."""
    assert run(lesions, "--instances", "--boundary", "voxel", "--tolerance-mm", "2") == 0
    out = capsys.readouterr().out
    cells = {
        title: [re.split("  +", line.strip()) for line in lines]
        for title, *lines in (block.splitlines() for block in out.split("\n\n"))
    }
    assert "Mean ± standard deviation." in out
    everything = cells["All cases: a miss and a false positive count"]
    present = cells["Target present: only cases whose reference has the label"]
    absent = cells["Target absent: only cases whose reference does not have the label"]
    names = ["dsc", "hit", "voxel_hd95_mm", "voxel_assd_mm", "voxel_nsd_2mm", "instance_f1"]
    assert everything[0] == present[0] == ["label", *names]
    dice = 2 * 216 / (216 + 280)
    assert everything[1][:3] == ["1", f"{dice / 3:.3f} ± {dice / 3**0.5:.3f}", "0.333 ± 0.577"]
    assert present[1][:3] == ["1", f"{dice / 2:.3f} ± {dice / 2**0.5:.3f}", "0.500 ± 0.707"]
    assert everything[1][3].endswith(" [2 left out]")
    assert present[1][3].endswith(" [1 left out]")
    assert present[1][-1] == f"{1 / 3:.3f} ± {2 / 3 / 2**0.5:.3f}"  # F1 of 2/3 and 0
    assert present[3][:3] == ["mean over labels", f"{(dice / 2 + 1) / 2:.3f}", "0.750"]
    millilitres = 216 * 0.8 * 1.1 * 2.5 / 1000
    falsely = f"{millilitres / 2:.3f} ± {millilitres / 2**0.5:.3f}"
    assert absent[1:] == [["1", "1 of 2 (0.500)", falsely]]  # no reference is without label 2


def test_report_and_summary_have_the_same_numbers(lesions: tuple[Path, Path, Path]) -> None:
    out = lesions[2]
    assert run(lesions, "--instances") == 0
    summary = json.loads((out / "summary.json").read_text())
    lesion = summary["labels"]["1"]
    assert lesion["absent"]["rejected"] == 0.5
    assert lesion["metrics_present"]["instance_recall"]["mean"] == pytest.approx(0.25)
    assert summary["mean_over_labels_present"]["hit"] == pytest.approx(0.75)
    assert [rows_of(out)["half", "1"][name] for name in ("parts_pred", "parts_ref")] == ["1", "2"]
    reader = Reader()
    reader.feed((out / "report.html").read_text())
    for text in (
        "All cases: a miss and a false positive count",
        "Target present: only cases whose reference has the label",
        "1 of 2 (0.500)",
        "instance_recall",
        "2 left out",
    ):
        assert text in reader.text, text


@pytest.mark.parametrize("distances", [True, False])
def test_slices_are_measured_in_their_own_plane(folders: tuple[Path, Path, Path], distances: bool) -> None:
    """Cubes one voxel of 0.8 mm apart in slices 3 to 8; a label that no reference has gets no slices."""
    pred, ref, out = folders
    save(pred / "a.nii.gz", cube(5) + cube(13, value=7, size=3))
    save(ref / "a.nii.gz", cube(4))
    assert run(folders, *(["--slice-distances"] if distances else [])) == 1
    rows = list(csv.DictReader((out / "slices.csv").open()))
    assert [(row["label"], int(row["slice"])) for row in rows] == [("1", index) for index in range(3, 9)]
    assert [float(row["dsc"]) for row in rows] == pytest.approx([60 / 72] * 6)
    measured = json.loads((out / "summary.json").read_text())["slices"]["labels"]["1"]["metrics"]
    assert measured["dsc"]["n"] == 6
    if distances:
        assert [float(row["surfel_hd95_mm"]) for row in rows] == pytest.approx([0.8] * 6, rel=1e-6)
        assert measured["surfel_hd95_mm"]["mean"] == pytest.approx(0.8, rel=1e-6)
    else:
        assert "surfel_hd95_mm" not in rows[0]


def test_a_name_with_several_numbers_means_all_of_their_voxels(
    folders: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    """A liver with its tumour: the liver is right where liver and tumour are mistaken for each other."""
    pred, ref, out = folders
    whole, tumour = cube(4), cube(5, size=3) > 0
    save(ref / "a.nii.gz", np.where(tumour, 2, whole).astype(np.uint8))
    save(pred / "a.nii.gz", whole)
    names = tmp_path / "labels.json"
    names.write_text(json.dumps({"labels": {"1": "liver", "2": ["liver", "liver tumour"]}}))
    assert run(folders, "--labels", str(names)) == 0
    rows = rows_of(out)
    assert (float(rows["a", "liver"]["dsc"]), rows["a", "liver tumour"]["status"]) == (1.0, "missed")


def test_rows_stand_in_the_order_of_the_labels(folders: tuple[Path, Path, Path], tmp_path: Path) -> None:
    """Of the names that have several numbers, and beside those that have one, in every run."""
    pred, ref, out = folders
    for folder in (pred, ref):
        save(folder / "a.nii.gz", cube(4, value=1))
    organs = [f"organ {number}" for number in range(9)]
    order = [*organs[:4], "alone", *organs[4:]]
    labels = {"1": order, "2": organs}  # all have the cube, and all but "alone" a second number
    names = tmp_path / "labels.json"
    names.write_text(json.dumps({"labels": labels}))
    assert run(folders, "--labels", str(names)) == 0
    for file in ("metrics.csv", "slices.csv"):
        found = [row["label"] for row in csv.DictReader((out / file).open())]
        assert list(dict.fromkeys(found)) == order, file


def test_what_absent_targets_got_says_its_unit() -> None:
    """A volume, an area in a slice, and an area in a 2D image each have a column."""
    row = {"case": "a", "label": "lesion", "status": "false_positive", "dsc": 0.0}
    counts = {"voxels_both": 0, "voxels_pred_only": 3, "voxels_ref_only": 0}
    sizes = {
        "volume_pred_ml": "volume in ml",
        "area_pred_mm2": "area in mm²",
        "area_pred_px2": "area in pixels",
    }
    rows = [row | counts | {"label": name, name: 3.0} for name in sizes]
    for (column, unit), one in zip(sizes.items(), rows, strict=True):
        (table,) = absent_tables(summarise([one]))
        assert table.head[2:] == [f"false positive {unit}"]
        assert table.lines == [[column, "0 of 1 (0.000)", "3.000"]]
    (table,) = absent_tables(summarise(rows))
    assert table.head[2:] == [f"false positive {unit}" for unit in sizes.values()]
    assert [line[2:] for line in table.lines] == [
        *(["3.000", "-", "-"], ["-", "3.000", "-"], ["-", "-", "3.000"])
    ]


def test_what_does_not_fit_is_named_and_the_rest_is_measured(
    folders: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    pred, ref, out = folders
    for case in ("good", "moved", "cut", "broken", "lonely"):
        save(ref / f"{case}.nii.gz", cube(4))
    save(pred / "good.nii.gz", cube(5) + cube(13, value=7, size=3))
    save(pred / "moved.nii.gz", cube(4), AFFINE + np.eye(4)[0][:, None] * np.eye(4)[3])
    save(pred / "cut.nii.gz", cube(4)[:, :, :10])
    (pred / "broken.nii.gz").write_bytes(b"no image")
    save(pred / "extra.nii.gz", cube(4))
    assert run(folders) == 1
    assert list(rows_of(out)) == [("good", "1")]
    said = capsys.readouterr().err
    for sentence in (
        "lonely.nii.gz: this reference has no prediction in",
        "extra.nii.gz: this prediction has no reference in",
        "the labels' affine differs from that of the image",
        "the labels have 10 x 18 x 20 voxels",
        "broken.nii.gz: cannot be read as NIfTI",
        "good.nii.gz: label 7, which no reference has, was not measured",
    ):
        assert sentence in said, sentence
    assert len(json.loads((out / "summary.json").read_text())["problems"]) == 6
    assert "6 problems" in (out / "report.html").read_text()


def test_nrrd_and_nifti_of_one_place_are_the_same(folders: tuple[Path, Path, Path]) -> None:
    pred, ref, out = folders
    save(ref / "a.nii.gz", cube(4))
    pred.mkdir()
    save_nrrd(pred / "a.nrrd", cube(4))
    assert run(folders) == 0
    row = rows_of(out)["a", "1"]
    assert (float(row["dsc"]), float(row["surfel_hd_mm"])) == (1.0, 0.0)
    nrrd, nifti = read_label_map(pred / "a.nrrd"), read_label_map(ref / "a.nii.gz")
    assert nrrd.spacing_mm == pytest.approx(nifti.spacing_mm)
    np.testing.assert_allclose(nrrd.affine, nifti.affine, atol=1e-6)


@pytest.mark.parametrize("ending", ["nii", "nii.gz", "nrrd", "mha"])
def test_every_format_that_inference_writes_is_measured(
    folders: tuple[Path, Path, Path], ending: str
) -> None:
    pred, ref, out = folders
    save(ref / "a.nii.gz", cube(4))
    volume = read_label_map(ref / "a.nii.gz")
    pred.mkdir()
    write = write_labels if ending.startswith("nii") else write_labels_itk
    write(pred / f"a.{ending}", volume.slices.astype(np.uint8), like=volume)
    assert run(folders) == 0
    row = rows_of(out)["a", "1"]
    assert (float(row["dsc"]), float(row["surfel_hd_mm"])) == (1.0, 0.0)


def test_what_inference_writes_of_a_case_is_paired_with_its_reference(
    folders: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Beside `ct_seg` lie masks, probabilities, a preview and a report; a name that fits goes first."""
    pred, ref, out = folders
    for case in ("ct", "b_seg", "c"):
        save(ref / f"{case}.nii.gz", cube(4))
    for name in ("ct_seg", "ct_mask_1_liver", "ct_prob_1_liver", "b", "c", "c_seg", "lonely_mask_1_liver"):
        save(pred / f"{name}.nii.gz", cube(9 if name == "c_seg" else 4))
    Image.new("RGB", (30, 20)).save(pred / "ct_seg.png")
    (pred / "ct_seg.json").write_text("{}")
    assert run(folders) == 1
    assert {key[0]: float(row["dsc"]) for key, row in rows_of(out).items()} == {"ct": 1, "b_seg": 1, "c": 1}
    problems = [line for line in capsys.readouterr().err.splitlines() if line.startswith("problem")]
    assert [line.split(": ")[1] for line in problems] == [
        str(pred / "c_seg.nii.gz"),
        str(pred / "lonely_mask_1_liver.nii.gz"),
    ]


def test_a_name_that_inference_cuts_is_paired_with_its_reference(folders: tuple[Path, Path, Path]) -> None:
    pred, ref, out = folders
    name = "ü" * 110
    save(ref / f"{name}.nii.gz", cube(4))
    (case,) = find_cases(ref, pred)
    assert name not in case.output(".nii.gz").name
    save(case.output(".nii.gz"), cube(4))
    assert run(folders) == 0
    assert [key[0] for key in rows_of(out)] == [name]


def test_a_label_of_any_number_takes_no_memory_for_it(folders: tuple[Path, Path, Path]) -> None:
    """One voxel of the largest number of 32 bits: a table up to it would have 16 GiB."""
    pred, ref, out = folders
    stray = cube(4).astype(np.int32)
    stray[0, 0, 0] = 2**31 - 1
    save(pred / "a.nii.gz", stray)
    save(ref / "a.nii.gz", stray)
    tracemalloc.start()
    assert run(folders) == 0
    assert tracemalloc.get_traced_memory()[1] < 200 << 20
    tracemalloc.stop()
    rows = rows_of(out)
    assert {key[1]: float(row["dsc"]) for key, row in rows.items()} == {"1": 1.0, "2147483647": 1.0}
    assert rows["a", "2147483647"]["voxels_both"] == "1"


@pytest.mark.parametrize("penalty", ["-1", "nan", "inf"])
def test_a_penalty_that_is_no_distance(
    folders: tuple[Path, Path, Path], penalty: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pred, ref, out = folders
    save(pred / "a.nii.gz", cube(4))
    save(ref / "a.nii.gz", cube(4))
    assert run(folders, f"--penalty-mm={penalty}") == 2
    assert f"--penalty-mm: found {penalty}, expected a distance in mm from 0" in capsys.readouterr().err
    assert not out.exists()


def save_png(path: Path, square_at: int, value: int = 1) -> None:
    """A square of 6 x 6 pixels."""
    labels = np.zeros((20, 30), np.uint8)
    labels[4:10, square_at : square_at + 6] = value
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(labels).save(path)


def test_png_files_are_measured_in_pixels(folders: tuple[Path, Path, Path]) -> None:
    """A square, moved by three columns: half of its pixels are right, and its border is 3 pixels away."""
    pred, ref, out = folders
    save_png(pred / "flat.png", 7)
    save_png(ref / "flat.png", 4)
    save_png(ref / "two.png", 4, value=2)
    save_png(pred / "two.png", 4, value=2)
    assert run(folders, "--boundary", "voxel", "--tolerance-mm", "2") == 0
    row = rows_of(out)["flat", "1"]
    assert not [name for name in row if name.endswith(("mm", "mm2", "ml"))]
    assert (float(row["dsc"]), float(row["voxel_hd_px"]), float(row["area_pred_px2"])) == (0.5, 3.0, 36.0)
    assert 0 < float(row["voxel_nsd_2px"]) < 1
    assert rows_of(out)["two", "1"]["status"] == "absent"
    assert "voxel_hd95_px" in (out / "report.html").read_text()


def test_png_files_and_volumes_may_lie_in_one_folder(folders: tuple[Path, Path, Path]) -> None:
    """Each has its own columns."""
    pred, ref, out = folders
    for folder in (pred, ref):
        save_png(folder / "flat.png", 4)
        save(folder / "deep.nii.gz", cube(4) * 2)
    assert run(folders, "--instances") == 0
    rows = rows_of(out)
    found = {key: (row["surfel_hd95_mm"], row["surfel_hd95_px"]) for key, row in rows.items()}
    assert found == {
        ("deep", "1"): ("nan", ""),
        ("deep", "2"): ("0.0", ""),
        ("flat", "1"): ("", "0.0"),
        ("flat", "2"): ("", "nan"),
    }


def test_previews_are_no_label_maps(
    folders: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Inference writes them beside the label maps, under the same name."""
    pred, ref, out = folders
    for folder in (pred, ref):
        save(folder / "a.nii.gz", cube(4))
    for name in ("a.png", "b_preview.png"):
        Image.new("RGB", (30, 20)).save(pred / name)
    assert run(folders) == 0
    assert list(rows_of(out)) == [("a", "1")]
    save_png(ref / "b_preview.png", 4)
    assert run(folders) == 1
    assert "b_preview.png: found a PNG of mode RGB as label map" in capsys.readouterr().err
    save_png(pred / "a.png", 4)
    assert run(folders) == 2
    assert "found a.nii.gz and a.png; keep one of them" in capsys.readouterr().err


def test_a_broken_nrrd_is_a_problem(
    folders: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    pred, ref, _ = folders
    for case in ("a", "b"):
        save(ref / f"{case}.nii.gz", cube(4))
    save(pred / "b.nii.gz", cube(4))
    (pred / "a.nrrd").write_text("NRRD0004\n")
    assert run(folders) == 1
    assert "a.nrrd: cannot be read as NRRD" in capsys.readouterr().err


class Reader(HTMLParser):
    """Collects what a browser would load from elsewhere, and the text."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loaded += [
            value or "" for name, value in attrs if name == "src" or (tag, name) == ("link", "href")
        ]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_report_stands_alone_and_shows_misses_and_the_worst(
    folders: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    pred, ref, out = folders
    for case, at in (("fine", 4), ("worse", 6), ("worst", 9), ("<b>&", 5)):
        save(ref / f"{case}.nii.gz", cube(4))
        save(pred / f"{case}.nii.gz", cube(at))
    save(ref / "gone.nii.gz", cube(4))
    save(pred / "gone.nii.gz", cube(4, size=0))
    assert run(folders) == 0
    reader = Reader()
    html = (out / "report.html").read_text()
    reader.feed(html)
    assert len(reader.loaded) == 3
    assert all(source.startswith("data:image/png;base64,") for source in reader.loaded)
    assert "<b>&amp;" not in html
    assert re.findall(r"1 of (\S+), slice", reader.text) == ["gone", "worst", "worse"]
    assert "1 left out" in reader.text
    assert "1, 1 infinite" in html
    assert "Every file had its partner" in reader.text
    assert html.count("<svg") == 6  # Dice, HD95, ASSD and three NSD


@pytest.mark.parametrize(
    ("prepare", "sentence"),
    [
        (lambda pred, ref: None, "there is no such folder"),
        (lambda pred, ref: (pred.mkdir(), ref.mkdir()), "found no label map"),
        (
            lambda pred, ref: (save(pred / "a.nii.gz", cube(4)), save(ref / "b.nii.gz", cube(4))),
            "no file named like",
        ),
        (
            lambda pred, ref: [save(pred / f"a.{end}", cube(4)) for end in ("nii", "nii.gz")],
            "found a.nii and a.nii.gz; keep one of them",
        ),
        (
            lambda pred, ref: (save(pred / "a.nii.gz", cube(4)), save(ref / "a.nii.gz", cube(4)[:9])),
            "no case could be measured",
        ),
    ],
)
def test_nothing_to_measure_is_an_error(
    folders: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str], prepare: object, sentence: str
) -> None:
    pred, ref, out = folders
    prepare(pred, ref)
    assert run(folders) == 2
    assert sentence in capsys.readouterr().err
    assert not out.exists()


def test_help_answers() -> None:
    done = subprocess.run([sys.executable, "-m", "tools.evaluate", "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    assert "report.html" in done.stdout


def test_labels_that_the_report_names_otherwise_are_a_problem(
    folders: tuple[Path, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Inference numbers prompts in their order: its 1 is not the 1 of the reference."""
    pred, ref, _ = folders
    names = tmp_path / "datalist.json"
    names.write_text(json.dumps({"labels": {"1": "liver", "2": "spleen"}}))
    for case, prompts in (("a", [("spleen", 1)]), ("b", [("liver", 1), ("heart", 3)])):
        save(ref / f"{case}.nii.gz", cube(4))
        save(pred / f"{case}_seg.nii.gz", cube(4))
        rows = [{"name": name, "label": label} for name, label in prompts]
        (pred / f"{case}_seg.json").write_text(json.dumps({"prompts": rows}))
    assert run(folders, "--labels", str(names)) == 1
    (problem,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("problem:"))
    assert problem.endswith(
        "a_seg.nii.gz: its report says that label 1 is 'spleen', expected 2 as in --labels, so other organs "
        'were compared; give each prompt its number ("label" in a prompts file) and segment again.'
    )

"""The OpenKBP preparer: on a synthetic source, and on the real patients where they are at hand."""

import csv
import json
import lzma
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - the name its own manual uses

from common.data.datalist import SECTIONS, load_datalist, load_label_values
from common.data.label_maps import check_same_grid, read_label_map
from common.data.volumes import read_volume
from common.errors import InputError
from tools.prepare.__main__ import main
from tools.prepare.openkbp import find_patients, gives_answer_away, label_map, prepare

SHAPE = (128, 128, 128)
REAL = Path(__file__).parents[4] / "shared" / "data" / "ct_openkbp_headneck"
BODY = (slice(24, 70), slice(36, 84), slice(34, 60))
BOXES = {
    "Mandible": (slice(30, 40), slice(50, 70), slice(40, 50)),
    "RightParotid": (slice(50, 60), slice(40, 45), slice(38, 48)),
    "LeftParotid": (slice(50, 60), slice(75, 80), slice(38, 48)),
}


def box_indices(box):
    array = np.zeros(SHAPE, dtype=bool)
    array[box] = True
    return np.flatnonzero(array)


def write_patient(folder, boxes=BOXES, *, packed=True):
    """A patient as the source stores one: a box of water with structures that are brighter by 100 HU each."""
    folder.mkdir(parents=True)
    values = np.zeros(SHAPE, dtype=int)
    values[BODY] = 1000
    for number, (organ, box) in enumerate(boxes.items(), start=1):
        values[box] = 1000 + 100 * number
        rows = "".join(f"{index},\n" for index in box_indices(box))
        (folder / f"{organ}.csv").write_text(",data\n" + rows)
    rows = "".join(f"{index},{values.flat[index]}.0\n" for index in np.flatnonzero(values))
    if packed:
        (folder / "ct.csv.xz").write_bytes(lzma.compress((",data\n" + rows).encode(), preset=0))
    else:
        (folder / "ct.csv").write_text(",data\n" + rows)
    (folder / "voxel_dimensions.csv").write_text("4.0e+00\n4.0e+00\n2.5e+00\n")


@pytest.fixture
def source(tmp_path):
    """Three patients with a split.csv that lists the first two."""
    root = tmp_path / "source"
    for name in ("pt_2", "pt_10", "pt_30"):
        write_patient(root / "train-pats" / name)
    with (root / "split.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["item", "patient_or_group", "split", "organs"])
        writer.writerows([f"train-pats/{name}", name, "open", ";".join(BOXES)] for name in ("pt_10", "pt_2"))
    return root


def test_world_position_of_structures(source, tmp_path):
    prepare(source, tmp_path / "out")

    image = sitk.ReadImage(str(tmp_path / "out" / "images" / "pt_2.nii.gz"))
    labels = sitk.ReadImage(str(tmp_path / "out" / "labels" / "pt_2.nii.gz"))
    shape = sitk.LabelShapeStatisticsImageFilter()
    shape.Execute(labels)

    # By hand: a box's centre index c lies (c - 63.5) voxels from the array's centre. ITK's world is LPS:
    # x grows to the left (axis 1), y to the back (axis 0), z to the head (axis 2, reversed).
    for value, (row, column, layer) in {
        3: (54.5, 42, 42.5),
        4: (54.5, 77, 42.5),
        7: (34.5, 59.5, 44.5),
    }.items():
        expected = ((column - 63.5) * 4, (row - 63.5) * 4, (63.5 - layer) * 2.5)
        np.testing.assert_allclose(shape.GetCentroid(value), expected, atol=1e-3)
    assert sitk.GetArrayFromImage(image).dtype == np.int16
    assert image.GetDirection() == labels.GetDirection()


def test_values_are_hounsfield_units(source, tmp_path):
    prepare(source, tmp_path / "out")
    volume = read_volume(tmp_path / "out" / "images" / "pt_2.nii.gz")
    labels = read_label_map(tmp_path / "out" / "labels" / "pt_2.nii.gz")
    check_same_grid(labels, volume)
    assert volume.spacing_mm == (2.5, 4.0, 4.0)
    assert volume.slices.min() == -1000
    assert {v: set(volume.slices[labels.slices == v]) for v in (3, 4, 7)} == {3: {200}, 4: {300}, 7: {100}}
    inside = read_volume(tmp_path / "out" / "images" / "pt_2.nii.gz").to_stored(volume.slices)[BODY]
    assert set(np.unique(inside)) == {0, 100, 200, 300}


def test_linked_folders_are_found_and_loops_end(tmp_path):
    """A link to a folder of patients, a patient that is a link, and links that lead back."""
    store = tmp_path / "store"
    for name in ("pt_1", "elsewhere"):
        write_patient(store / name)
    root = tmp_path / "source"
    root.mkdir()
    (root / "train-pats").symlink_to(store)
    (root / "pt_9").symlink_to(store / "elsewhere")
    (root / "pt_loop").symlink_to(root / "pt_loop")
    (store / "back").symlink_to(root)
    (root / "latest").symlink_to(store / "pt_1")
    assert [patient.name for patient in find_patients(root)] == ["pt_1", "pt_9"]


def test_datalist(source, tmp_path):
    prepare(source, tmp_path / "out")
    path = tmp_path / "out" / "datalist.json"
    cases = [case for section in SECTIONS for case in load_datalist(path, section)]
    assert sorted(case.case for case in cases) == ["pt_10", "pt_2"]
    assert all(case.targets == ("right parotid gland", "left parotid gland", "mandible") for case in cases)
    assert all({"liver", "spleen", "prostate"} < set(case.absent) for case in cases)
    assert all(not {"lungs", "larynx", "mandible"} & set(case.absent) for case in cases)
    assert list(load_label_values(path)) == [
        "brainstem",
        "spinal cord",
        "right parotid gland",
        "left parotid gland",
        "esophagus",
        "larynx",
        "mandible",
    ]
    item = json.loads(path.read_text())["training"][0]
    assert item["image"] == f"images/{item['case']}.nii.gz"


def test_the_original_layout_needs_no_split_file(tmp_path):
    write_patient(tmp_path / "provided-data" / "valid-pats" / "pt_201", packed=False)
    prepare(tmp_path / "provided-data", tmp_path / "out")
    assert (tmp_path / "out" / "images" / "pt_201.nii.gz").is_file()


def test_done_cases_are_skipped(source, tmp_path):
    prepare(source, tmp_path / "out")
    images = tmp_path / "out" / "images"
    times = {path: path.stat().st_mtime_ns for path in images.iterdir()}
    (images / "pt_10.nii.gz").unlink()
    prepare(source, tmp_path / "out")
    assert (images / "pt_2.nii.gz").stat().st_mtime_ns == times[images / "pt_2.nii.gz"]
    assert (images / "pt_10.nii.gz").stat().st_mtime_ns != times[images / "pt_10.nii.gz"]


def test_the_smallest_structure_gets_a_shared_voxel():
    labels = label_map({"Larynx": np.arange(10), "Esophagus": np.arange(8, 12)}).ravel()
    assert labels[:13].tolist() == [6] * 8 + [5] * 4 + [0]


def test_slices_with_ct_in_the_structures_alone():
    structures = np.zeros((40, 40, 4), dtype=bool)
    structures[10:20, 10:20, 1:] = True
    known = structures.copy()
    known[5:30, 5:30, 1] = True  # body all around
    known[5:30, 5:15, 2] = True  # body around the left half only
    assert gives_answer_away(known, structures).tolist() == [False, False, True, True]


def test_such_slices_are_blank_and_an_organ_that_is_nowhere_else_is_no_target(tmp_path):
    low = (slice(50, 55), slice(60, 65), slice(100, 110))  # the body's CT ends above it
    write_patient(tmp_path / "source" / "pt_1", BOXES | {"Esophagus": low})
    prepare(tmp_path / "source", tmp_path / "out")
    image = read_volume(tmp_path / "out" / "images" / "pt_1.nii.gz")
    assert (image.to_stored(image.slices)[:, :, 60:] == -1000).all()
    (case,) = load_datalist(tmp_path / "out" / "datalist.json", "training")
    assert case.targets == ("right parotid gland", "left parotid gland", "mandible")


def error_of(source, tmp_path):
    with pytest.raises(InputError) as caught:
        prepare(source, tmp_path / "out")
    assert not (tmp_path / "out" / "datalist.json").exists()
    return str(caught.value)


def test_half_a_download(source, tmp_path):
    (source / "train-pats/pt_2/ct.csv.xz").unlink()
    (source / "train-pats/pt_10/Mandible.csv").unlink()
    message = error_of(source, tmp_path)
    assert message.startswith(f"{source}: 2 of 10 files are missing (")
    assert "train-pats/pt_10/Mandible.csv" in message
    assert "train-pats/pt_2/ct.csv.xz" in message
    assert message.endswith(
        "the download is incomplete or of another layout. Get it: https://github.com/ababier/open-kbp, "
        "folder provided-data. Licence: MIT (repository); patients from public TCIA collections."
    )
    assert not (tmp_path / "out").exists()


def test_a_long_list_is_cut(source, tmp_path):
    for name in ("pt_2", "pt_10"):
        for file in (source / "train-pats" / name).iterdir():
            file.unlink()
    message = error_of(source, tmp_path)
    assert message.startswith(f"{source}: 10 of 10 files are missing (train-pats/pt_")
    rows = "".join(f"train-pats/pt_{n},x,open,Larynx\n" for n in range(100, 104))
    (source / "split.csv").write_text("item,patient_or_group,split,organs\n" + rows)
    assert ", train-pats/pt_103/ct.csv.xz and 2 more), expected OpenKBP" in error_of(source, tmp_path)


def test_another_layout(tmp_path):
    (tmp_path / "empty").mkdir()
    assert error_of(tmp_path / "empty", tmp_path).startswith(
        f"{tmp_path / 'empty'}: no case of it found, expected OpenKBP as its authors give it: folders pt_N"
    )
    (tmp_path / "empty" / "split.csv").write_text("a,b\n1,2\n")
    assert error_of(tmp_path / "empty", tmp_path) == (
        f'{tmp_path / "empty" / "split.csv"}: found no rows with the columns "item" and "organs", '
        "expected one for each patient; fetch it again."
    )


def test_broken_files(source, tmp_path):
    ct = source / "train-pats/pt_2/ct.csv.xz"
    ct.write_bytes(ct.read_bytes()[:500])
    message = error_of(source, tmp_path)
    assert message.startswith(f"{ct}: cannot be read (")
    assert message.endswith("), so it is broken or cut off; fetch it again.")
    assert not (tmp_path / "out" / "images" / "pt_2.nii.gz").exists()
    ct.write_bytes(lzma.compress(b",data\n3000000,1.0\n"))
    assert error_of(source, tmp_path) == (
        f"{ct}: found 1 voxel indices up to 3000000, expected some from 0 to 2097151 (an array of 128^3); "
        "fetch it again."
    )
    spacing = ct.with_name("voxel_dimensions.csv")
    spacing.write_text("4.0\n4.0\n")
    assert error_of(source, tmp_path) == (
        f"{spacing}: found the voxel sizes [4.0, 4.0], expected three numbers above 0; fetch it again."
    )


def test_command_line(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert main(["openkbp", "--source", str(tmp_path / "empty"), "--out", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err.startswith(f"error: {tmp_path / 'empty'}: no case of it found")
    write_patient(tmp_path / "source" / "pt_1")
    assert main(["openkbp", "--source", str(tmp_path / "source"), "--out", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out == (
        f"{tmp_path / 'out' / 'datalist.json'}: 1 training (1 patients), 0 validation (0 patients), "
        "0 test (0 patients)\n"
    )


def test_help_loads_nothing_heavy():
    code = "import sys, tools.prepare.__main__; sys.exit('numpy' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3], check=False).returncode
        == 0
    )


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    if not REAL.is_dir():
        pytest.skip(
            f"REAL DATA ABSENT: OpenKBP patients expected in {REAL}; orientation of real CT is not checked"
        )
    out = tmp_path_factory.mktemp("openkbp")
    prepare(REAL, out)
    return out


def centroids_mm(path):
    """Centroid of each label in ITK's world, LPS mm: +x left, +y posterior, +z superior."""
    shape = sitk.LabelShapeStatisticsImageFilter()
    shape.Execute(sitk.ReadImage(str(path)))
    return {value: np.array(shape.GetCentroid(value)) for value in shape.GetLabels()}


def test_anatomy_of_every_real_patient(real):
    """Right is right, front is front, up is up, and distances are those of adults."""
    labels = sorted((real / "labels").iterdir())
    assert len(labels) == 64
    seen = dict.fromkeys(("sides", "front", "height"), 0)
    for path in labels:
        where = centroids_mm(path)
        if {3, 4} <= where.keys():
            apart = where[4] - where[3]
            assert 75 < apart[0] < 140, (
                f"{path.name}: left parotid is {apart[0]:.0f} mm to the left of the right one"
            )
            seen["sides"] += 1
        if {2, 7} <= where.keys():
            assert 40 < where[2][1] - where[7][1] < 150, (
                f"{path.name}: spinal cord is not behind the mandible"
            )
            seen["front"] += 1
        if {1, 6} <= where.keys():
            assert 60 < where[1][2] - where[6][2] < 200, f"{path.name}: brainstem is not above the larynx"
            seen["height"] += 1
    assert seen["sides"] == 64
    assert min(seen.values()) > 50


def test_tissue_of_every_real_patient(real):
    """Brain is 25 to 40 HU (one scan a little off is its scanner's), bone above 300 HU, air -1000 HU."""
    brainstems = []
    for path in sorted((real / "images").iterdir()):
        image = read_volume(path)
        labels = read_label_map(real / "labels" / path.name)
        check_same_grid(labels, image)
        assert image.slices[0, 0, 0] == -1000
        medians = {v: np.median(image.slices[labels.slices == v]) for v in np.unique(labels.slices)[1:]}
        brainstems += [medians[1]] if 1 in medians else []
        assert medians.get(7, 500) > 300, f"{path.name}: mandible at {medians[7]} HU"
    assert 25 <= np.median(brainstems) <= 40
    assert min(brainstems) > 0
    assert max(brainstems) < 50


def test_real_split(real):
    sizes = [len(load_datalist(real / "datalist.json", section)) for section in SECTIONS]
    assert sizes == [44, 8, 12]
    assert len(find_patients(REAL)) == 64

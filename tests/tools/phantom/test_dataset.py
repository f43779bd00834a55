import json
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

from common.errors import InputError
from common.text.vocabulary import Vocabulary
from tools.phantom.__main__ import main
from tools.phantom.anatomy import draw_scene
from tools.phantom.dataset import SIZES, Size, Split, absent_organs, draw_grid, write_set

NAMES = {
    "liver",
    "spleen",
    "left kidney",
    "right kidney",
    "pancreas",
    "stomach",
    "gallbladder",
    "aorta",
    "vertebrae",
    "lungs",
}
TINY = Size((48,), (12.0, 12.0))  # 7 mm in plane: quick, and coarse enough to be hard
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("set")
    write_set(folder, split=Split(8, 2, 2), seed=3, size=TINY)
    return folder


@pytest.fixture(scope="module")
def datalist(folder):
    return json.loads((folder / "datalist.json").read_text())


def items(datalist):
    return [item for part in ("training", "validation", "test") for item in datalist[part]]


def test_datalist_names_labels_and_splits_by_patient(folder, datalist):
    assert set(datalist) == {"labels", "training", "validation", "test"}
    assert set(datalist["labels"].values()) == NAMES
    assert sorted(datalist["labels"], key=int) == [str(value) for value in range(1, 11)]
    assert [len(datalist[part]) for part in ("training", "validation", "test")] == [8, 2, 2]
    assert len({item["patient"] for item in items(datalist)}) == 12
    for item in items(datalist):
        assert set(item["targets"]) == NAMES
        assert len(item["absent"]) == 10
        assert not NAMES & set(item["absent"])
        assert all(Vocabulary.load().organ(name).name == name for name in item["absent"])
        assert (folder / item["image"]).is_file()
        assert (folder / item["label"]).is_file()


def test_monai_reads_the_datalist(folder):
    from monai.data import load_decathlon_datalist

    loaded = load_decathlon_datalist(folder / "datalist.json", is_segmentation=True, data_list_key="training")
    assert len(loaded) == 8
    assert all(Path(item["image"]).is_file() and Path(item["label"]).is_file() for item in loaded)


def test_files_are_int16_in_hounsfield_units_and_uint8_on_one_grid(folder, datalist):
    for item in items(datalist):
        image, label = nibabel.load(folder / item["image"]), nibabel.load(folder / item["label"])
        assert (image.get_data_dtype(), label.get_data_dtype()) == (np.int16, np.uint8)
        assert image.shape == label.shape
        np.testing.assert_array_equal(image.affine, label.affine)
        values = np.asarray(image.dataobj)
        assert -1024 <= values.min() < -950
        assert 250 < values.max() <= 3071


def test_a_set_holds_all_axis_orders_and_both_directions_of_each_axis(folder, datalist):
    codes = [nibabel.aff2axcodes(nibabel.load(folder / item["image"]).affine) for item in items(datalist)]
    assert len(set(codes)) == 12
    unsigned = str.maketrans("LPI", "RAS")
    assert len({"".join(code).translate(unsigned) for code in codes}) == 6
    assert {letter for code in codes for letter in code} == set("LRPAIS")


def test_left_and_right_hold_in_the_world_of_every_file(folder, datalist):
    values = {name: int(value) for value, name in datalist["labels"].items()}

    def world_x(label, name):
        where = np.argwhere(np.asarray(label.dataobj) == values[name])
        return float((label.affine @ [*where.mean(axis=0), 1])[0]) if len(where) else None

    for item in items(datalist):
        label = nibabel.load(folder / item["label"])
        spine, liver = world_x(label, "vertebrae"), world_x(label, "liver")
        assert liver > spine + 15
        for name, side in (("spleen", -1), ("left kidney", -1), ("stomach", -1), ("right kidney", 1)):
            x = world_x(label, name)
            assert x is None or side * (x - spine) > 10, (item["patient"], name)


def test_every_third_patient_lacks_one_organ_and_sets_lack_different_ones(folder, datalist):
    names = {int(value): name for value, name in datalist["labels"].items()}
    lacking = []
    for item in items(datalist):
        present = np.unique(np.asarray(nibabel.load(folder / item["label"]).dataobj))
        lacking.append(NAMES - {names[value] for value in present.tolist() if value})
    assert [len(absent) for absent in lacking] == [0, 0, 1] * 4
    assert set().union(*lacking) == {"gallbladder", "spleen", "left kidney", "right kidney"}
    assert [absent_organs(3, case) for case in (2, 5)] == [tuple(lacking[2]), tuple(lacking[5])]


def test_the_same_seed_gives_the_same_bytes_whatever_the_number_of_cases(folder, tmp_path):
    write_set(tmp_path, split=Split(2, 0, 0), seed=3, size=TINY)
    for file in ("images/phantom_001.nii.gz", "labels/phantom_001.nii.gz"):
        assert (tmp_path / file).read_bytes() == (folder / file).read_bytes()


def test_workers_write_the_same_bytes_and_tell_of_each_patient(folder, tmp_path):
    told = []

    def progress(done, total):
        told.append((done, total))

    write_set(tmp_path, split=Split(8, 2, 2), seed=3, size=TINY, workers=2, progress=progress)
    assert told == [(done, 12) for done in range(1, 13)]
    files = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    assert len(files) == 25
    assert sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()) == files
    for file in files:
        assert (tmp_path / file).read_bytes() == (folder / file).read_bytes(), file


@pytest.mark.parametrize("workers", [0, -2])
def test_no_worker_is_refused(tmp_path, workers):
    with pytest.raises(
        InputError, match=rf"^--workers: found {workers}, expected 1 or more; give another number\.$"
    ):
        write_set(tmp_path / "set", split=Split(1, 0, 0), seed=1, size=TINY, workers=workers)
    assert not (tmp_path / "set").exists()


def test_another_seed_gives_another_patient(folder, tmp_path):
    write_set(tmp_path, split=Split(1, 0, 0), seed=4, size=TINY)
    file = "images/phantom_000.nii.gz"
    assert (tmp_path / file).read_bytes() != (folder / file).read_bytes()


def test_nothing_but_the_set_is_left_in_the_folder(folder):
    assert sorted(path.name for path in folder.iterdir()) == ["datalist.json", "images", "labels"]
    assert len(list((folder / "images").iterdir())) == 12


@pytest.mark.parametrize(
    ("size", "in_plane", "slices"), [("small", (2.0, 2.9), (4, 5)), ("full", (0.7, 1.5), (2, 5))]
)
def test_scans_have_the_spacing_of_their_size_and_hold_the_body(size, in_plane, slices):
    spacings = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        grid = draw_grid(rng, draw_scene(rng), SIZES[size])
        spacings.append(grid.spacing_mm)
        assert 180 < grid.shape[2] * grid.spacing_mm[2] < 235
        assert 270 < grid.shape[0] * grid.spacing_mm[0] < 370
    x, y, z = np.array(spacings).T
    np.testing.assert_array_equal(x, y)
    assert in_plane[0] <= x.min()
    assert x.max() <= in_plane[1]
    assert slices[0] <= z.min()
    assert z.max() <= slices[1]
    assert len(set(z)) > 3


def test_splits_leave_a_sixth_each_where_nothing_is_said():
    assert Split.of(12) == Split(8, 2, 2)
    assert Split.of(3) == Split(3, 0, 0)
    assert Split.of(5, validation=1, test=2) == Split(2, 1, 2)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({"cases": 0}, "--cases: found 0, expected 1 or more; give another number."),
        ({"cases": 4, "validation": -1}, "--validation: found -1, expected 0 or more; give another number."),
        ({"cases": 4, "test": -2}, "--test: found -2, expected 0 or more; give another number."),
        (
            {"cases": 4, "validation": 2, "test": 2},
            "--cases: found 4 with 2 for validation and 2 for test, expected at least one more for training; "
            "raise --cases to 5 or hold out fewer.",
        ),
    ],
)
def test_counts_that_cannot_be_are_refused(counts, message):
    with pytest.raises(InputError) as error:
        Split.of(**counts)
    assert str(error.value) == message


def test_a_negative_seed_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"^--seed: found -1, expected 0 or more; give another number\.$"):
        write_set(tmp_path, split=Split(1, 0, 0), seed=-1, size=TINY)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_command_line_says_where_it_cannot_write_and_leaves_nothing(tmp_path, capsys, workers):
    (tmp_path / "file").write_text("in the way")
    assert main(["--out", str(tmp_path / "file" / "set"), "--cases", "1", "--workers", workers]) == 2
    assert "cannot write there" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_command_line_shows_progress_and_writes_the_set(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(SIZES, "small", TINY)
    assert (
        main(["--out", str(tmp_path), "--cases", "3", "--validation", "1", "--test", "0", "--seed", "7"]) == 0
    )
    output = capsys.readouterr()
    assert output.out == f"wrote {tmp_path / 'datalist.json'}\n"
    assert "phantom 3/3" in output.err
    assert [path.name for path in sorted((tmp_path / "labels").iterdir())] == [
        f"phantom_00{case}.nii.gz" for case in range(3)
    ]


def test_help_needs_no_heavy_import():
    code = (
        "import sys; from tools.phantom.__main__ import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit(any(name in sys.modules for name in ('numpy', 'torch', 'nibabel', 'scipy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True).returncode == 0

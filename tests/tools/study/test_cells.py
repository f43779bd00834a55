"""Results that are kept: found by all that they depend on, and by nothing else."""

from pathlib import Path

import pytest

from common.data.datalist import Case
from common.errors import InputError
from tools.study.cells import Cell, data_sha256, slug


def test_a_result_is_found_by_its_settings_alone(tmp_path: Path) -> None:
    cell = Cell(tmp_path, "UNet, tuned (image only)", {"minutes": 20, "rate": 1e-3})
    assert cell.read() is None
    assert cell.path.name.startswith("unet-tuned-image-only-")
    written = cell.write({"rows": [1.5, float("inf")]})
    again = Cell(tmp_path, "UNet, tuned (image only)", {"rate": 1e-3, "minutes": 20})
    assert again.read() == written == {"settings": cell.settings, "rows": [1.5, float("inf")]}
    assert Cell(tmp_path, "UNet, tuned (image only)", {"minutes": 21, "rate": 1e-3}).read() is None
    assert [path.name for path in tmp_path.iterdir()] == [cell.path.name]  # nothing half written


def test_a_result_ends_its_snapshot(tmp_path: Path) -> None:
    cell = Cell(tmp_path, "a", {})
    cell.snapshot.touch()
    cell.write({})
    assert not cell.snapshot.exists()


def test_a_file_that_is_no_result_is_refused(tmp_path: Path) -> None:
    cell = Cell(tmp_path, "a", {})
    cell.path.write_text("{")
    with pytest.raises(InputError, match=r"cannot be read as the result of a training .* delete the file"):
        cell.read()


def test_data_is_known_by_content(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("image", "label")]
    for file in files:
        file.write_bytes(b"1")
    case = Case("a", files[0], files[1], "a", ("liver",))
    before = data_sha256([case], [])
    assert before == data_sha256([case], [])
    assert before != data_sha256([], [case])  # another section
    assert before != data_sha256([Case("a", files[0], files[1], "a", ("spleen",))], [])
    files[1].write_bytes(b"2")
    assert before != data_sha256([case], [])


def test_names_make_files() -> None:
    assert slug("DynUNet, nnU-Net's plan (image only)") == "dynunet-nnu-net-s-plan-image-only"

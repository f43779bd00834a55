"""LIDC-IDRI: counts of readers in patches, and contours of readers in TCIA's layout."""

import csv
import json
import re
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from PIL import Image

from common.data.datalist import SECTIONS, load_referring
from common.data.labelled import LabelledReader
from common.errors import InputError
from tests.common.conftest import write_dicom_series
from tests.tools.prepare.drawings import save
from tools.prepare.__main__ import main
from tools.prepare._lidc_xml import Outline, mask_of
from tools.prepare._readers import agreement
from tools.prepare.lidc import prepare

REAL = Path(__file__).parents[4] / "shared" / "data" / "ct2d_lidc_nodules"
SPACING, STEP = (0.7, 0.7), 2.5


def all_items(out: Path) -> list[dict]:
    content = json.loads((out / "datalist.json").read_text())
    assert all(load_referring(out / "datalist.json", section) is not None for section in SECTIONS)
    return [item for section in SECTIONS for item in content[section]]


def square(top: int, left: int, side: int) -> list[tuple[int, int]]:
    """(column, row) of the pixels just outside of a square, in a closed walk."""
    low, high = -1, side
    walk = [(low, i) for i in range(low, high)] + [(i, high) for i in range(low, high)]
    walk += [(high, i) for i in range(high, low, -1)] + [(i, low) for i in range(high, low - 1, -1)]
    return [(left + column, top + row) for row, column in walk]


def region(uid: str, z: float, edge: list[tuple[int, int]], *, included: bool = True) -> str:
    points = "".join(f"<edgeMap><xCoord>{x}</xCoord><yCoord>{y}</yCoord></edgeMap>" for x, y in edge)
    return (
        f"<roi><imageZposition>{z:g} </imageZposition><imageSOP_UID>{uid}</imageSOP_UID>"
        f"<inclusion>{str(included).upper()}</inclusion>{points}</roi>"
    )


def readings(series: str, sessions: list[list[str]]) -> str:
    """An XML file as LIDC's readers' ones, with a mark that is no nodule in each session."""
    parts = []
    for number, nodules in enumerate(sessions):
        found = "".join(
            f"<unblindedReadNodule><noduleID>Nodule {index}</noduleID><characteristics><subtlety>5</subtlety>"
            f"</characteristics>{regions}</unblindedReadNodule>"
            for index, regions in enumerate(nodules)
        )
        parts.append(
            "<readingSession><annotationVersion>3.12</annotationVersion><servicingRadiologistID>"
            f"{number}</servicingRadiologistID>{found}<nonNodule><nonNoduleID>5</nonNoduleID>"
            "<imageZposition>0</imageZposition><imageSOP_UID>1.2</imageSOP_UID><locus><xCoord>3</xCoord>"
            "<yCoord>3</yCoord></locus></nonNodule></readingSession>"
        )
    return (
        '<?xml version="1.0" encoding="UTF-8"?><LidcReadMessage xmlns="http://www.nih.gov">'
        f"<ResponseHeader><Version>1.8.1</Version><SeriesInstanceUid>{series}</SeriesInstanceUid>"
        f"<StudyInstanceUID>1.2.3</StudyInstanceUID></ResponseHeader>{''.join(parts)}</LidcReadMessage>"
    )


@pytest.fixture
def tcia(tmp_path: Path) -> Path:
    """A series of 6 slices of 32 x 40: a nodule by all four readers, one by one, one of one pixel."""
    source = tmp_path / "source"
    folder = source / "LIDC-IDRI-0007" / "01-01-2000-1" / "3000566"
    slices = np.full((6, 32, 40), -800)
    slices[2:4, 10:16, 20:26] = 40
    series = write_dicom_series(
        folder, slices, spacing=SPACING, step=(0, 0, STEP), PatientID="LIDC-IDRI-0007"
    )
    headers = sorted(
        (pydicom.dcmread(path) for path in folder.glob("*.dcm")), key=lambda h: h.ImagePositionPatient[2]
    )
    at = [(str(h.SOPInstanceUID), float(h.ImagePositionPatient[2])) for h in headers]
    wide = region(*at[2], square(10, 20, 6)) + region(*at[3], square(10, 20, 6))
    wide += region(*at[3], square(13, 23, 1)[:1] + square(13, 23, 1), included=False)
    narrow = region(*at[2], square(10, 20, 4)) + region(*at[3], square(10, 20, 4))
    nodule_b = region(*at[0], square(25, 5, 3))
    single = region(*at[5], [(30, 30)])
    (folder / "069.xml").write_text(readings(series, [[wide, nodule_b], [wide], [narrow], [narrow, single]]))
    (source / "LIDC-IDRI-0007" / "cxr.xml").write_text("<IdriReadMessage/>")
    return source


def test_contours_become_masks_of_readers_and_of_most(tcia: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "out"
    assert main(["lidc", "--source", str(tcia), "--out", str(out)]) == 0
    (item,) = all_items(out)
    case = next(case for section in SECTIONS for case in load_referring(out / "datalist.json", section))
    assert (item["patient"], item["slice"], item["prompts"]) == ("LIDC-IDRI-0007", 2, ["lung nodule"])
    labelled = LabelledReader()(case)
    assert labelled.image.spacing_mm == pytest.approx((STEP, *SPACING))
    expected = np.zeros((6, 32, 40), bool)
    expected[2:4, 10:16, 20:26] = True  # two of four readers: 6 x 6, the other two 4 x 4
    expected[3, 12:15, 22:25] = False  # the hole with its edge, which two readers cut out
    expected[3, 12:14, 22:24] = True  # and two did not
    assert np.array_equal(labelled.meant(case).mask()[2], expected[2])
    assert np.array_equal(labelled.labels > 0, expected)
    assert labelled.image.slices[2, 12, 22] == 40
    masks = [np.asarray(nib.load(out / path).dataobj) > 0 for path in item["readers"]]
    assert [int(mask.sum()) for mask in masks] == [36 + 27 + 9, 36 + 27, 32, 32]
    assert item["readers_asked"] == 4
    assert "1 of 2 nodules left out, which fewer than half" in capsys.readouterr().out


def test_a_series_that_lacks_a_slice_is_named_and_the_others_are_written(
    tcia: Path, tmp_path: Path, capsys
) -> None:
    whole = tcia / "LIDC-IDRI-0007"
    lacking = tcia / "LIDC-IDRI-0006"  # goes first
    shutil.copytree(whole, lacking)
    slices = sorted(lacking.rglob("*.dcm"), key=lambda path: pydicom.dcmread(path).ImagePositionPatient[2])
    slices[3].unlink()
    out = tmp_path / "out"
    assert main(["lidc", "--source", str(tcia), "--out", str(out)]) == 1
    said = capsys.readouterr().err
    (error,) = re.findall(r"error: .*", said)
    assert "LIDC-IDRI-0006" in error
    assert "LIDC-IDRI-0007" not in error
    (item,) = all_items(out)
    assert (item["patient"], item["slice"]) == ("LIDC-IDRI-0007", 2)


def test_an_edge_is_outside_of_a_nodule_and_inside_of_a_hole() -> None:
    outer = Outline("a", 0.0, True, np.array(square(2, 3, 7)))
    hole = Outline("a", 0.0, False, np.array(square(4, 5, 2)))
    mask = mask_of([outer, hole], ["a"], [0.0], (12, 14))[0]
    expected = np.zeros((12, 14), bool)
    expected[2:9, 3:10] = True
    expected[3:7, 4:8] = False
    assert np.array_equal(mask, expected)


def test_slices_are_found_by_uid_else_by_position_and_no_others_are() -> None:
    outline = Outline("unknown", 2.5, True, np.array(square(2, 3, 2)))
    assert mask_of([outline], ["a", "b"], [0.0, 2.5], (9, 9))[1].sum() == 4
    with pytest.raises(
        InputError, match=r"imageSOP_UID: found unknown at 2.5 mm, which no image of the series"
    ):
        mask_of([outline], ["a", "b"], [0.0, 5.0], (9, 9))
    with pytest.raises(InputError, match=r"edgeMap: found the pixel \(5, 4\) on an image of 5 x 9"):
        mask_of([outline], ["unknown"], [2.5], (9, 5))


def test_a_folder_without_readings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no case of it found, expected LIDC-IDRI as its authors give it"):
        prepare(tmp_path, tmp_path / "out")


def test_agreement_is_the_dice_of_all_pairs_of_readers() -> None:
    first, second = np.zeros((2, 10, 10), int)
    first[2:6, 2:6], second[2:6, 2:8] = 1, 1
    assert agreement(first + second, 2) == pytest.approx(2 * 16 / (16 + 24))
    assert agreement(3 * first, 3) == 1
    assert agreement(3 * first, 4) == pytest.approx(3 * 2 * 16 / (3 * 32 + 3 * 16))  # one saw nothing
    assert np.isnan(agreement(0 * first, 4))


def test_patches_get_the_majority_and_are_split_by_patient(tmp_path: Path) -> None:
    source = tmp_path / "source"
    rows = []
    for number in range(20):
        name = f"LIDC-IDRI-{number // 2:04d}_nodule-{number % 2}"
        counts = np.zeros((64, 64), np.uint8)
        counts[20:40, 20:40], counts[24:36, 24:36] = 60, 120
        save(source / "images" / f"{name}.png", counts)
        save(source / "readers" / f"{name}.png", counts)
        rows.append((f"images/{name}.png", f"LIDC-IDRI-{number // 2:04d}", 3 + number % 2, 144))
    with (source / "split.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("item", "patient_or_group", "readers", "pixels_majority"), *rows])
    prepare(source, tmp_path / "out")
    found = all_items(tmp_path / "out")
    assert len({item["patient"] for item in found}) == 10
    for item in found:
        mask = np.asarray(Image.open(tmp_path / "out" / item["label"]))
        assert mask.sum() == 144  # two of three, and two of four; one of four is not enough
        assert item["levels"]["p1"] == ["lung nodule"]
    (source / "split.csv").write_text("item,readers\n")
    with pytest.raises(InputError, match=r"split.csv: found no row of LIDC-IDRI-0000_nodule-0, expected one"):
        prepare(source, tmp_path / "out")


@pytest.mark.skipif(not REAL.is_dir(), reason="NO ../shared/data: real patches not prepared")
def test_real_patches_have_the_stated_pixels_of_the_majority(tmp_path: Path) -> None:
    with (REAL / "split.csv").open() as file:
        rows = list(csv.DictReader(file))[::40]
    for kind in ("images", "readers"):
        (tmp_path / "source" / kind).mkdir(parents=True)
        for row in rows:
            name = Path(row["item"]).name
            (tmp_path / "source" / kind / name).symlink_to(REAL / kind / name)
    (tmp_path / "source" / "split.csv").symlink_to(REAL / "split.csv")
    prepare(tmp_path / "source", tmp_path / "out")
    areas = {
        item["case"]: np.count_nonzero(Image.open(tmp_path / "out" / item["label"]))
        for item in all_items(tmp_path / "out")
    }
    assert areas == {Path(row["item"]).stem: int(row["pixels_majority"]) for row in rows}

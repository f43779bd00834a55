"""The report of an evaluation: three files, of every process's cases once."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ignite.distributed as idist
import numpy as np
import pytest
from ignite.engine import Engine
from monai.bundle import ConfigParser

from common.data.evaluation_cases import EvaluationCase, Target
from common.data.labelled import Region
from common.metrics import CaseReport, measure_mask
from common.text.prompts import Prompt
from tests.common.made_up import segmentation

SPACINGS = [(2.5, 0.8, 0.8), (5.0, 1.5, 1.0), (1.0, 1.0, 3.0)]
LIVER = Prompt("liver", "liver", 1)


def reference(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((6, 9, 10)) < 0.3


def result(name: str, ref: np.ndarray, spacing: tuple[float, float, float]) -> dict[str, Any]:
    """What an evaluator's step leaves, of a mask that lies one column from the reference."""
    image: Any = SimpleNamespace(spacing_mm=spacing, in_mm=True)
    target = Target(name, "p", "liver", Region(ref.astype(np.uint8), (1,)))
    case = EvaluationCase(name, image, None, (LIVER,), (target,))
    found = segmentation([LIVER], [np.roll(ref, 1, axis=-1)], spacing_mm=spacing)
    return {"label": case, "pred": found}


def table(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def evaluate(report: CaseReport, results: list[dict[str, Any]], epochs: int = 1) -> None:
    engine = Engine(lambda _, batch: batch)
    report.attach(engine)
    engine.run(results, max_epochs=epochs)


@pytest.fixture
def report(tmp_path: Path) -> CaseReport:
    """As a config asks for it."""
    config = {
        "_target_": "common.metrics.CaseReport",
        "output_dir": str(tmp_path),
        "boundaries": ["surfel", "voxel"],
        "slice_boundaries": ["surfel"],
        "tolerances_mm": [2],
        "penalty_mm": 100,
    }
    parsed = ConfigParser({"report": config}).get_parsed_content("report")
    assert isinstance(parsed, CaseReport)
    return parsed


def test_the_three_files_have_every_case_with_its_spacing(report: CaseReport, tmp_path: Path) -> None:
    evaluate(report, [result(f"case{n}", reference(n), spacing) for n, spacing in enumerate(SPACINGS)])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["slices.csv", "summary.json", "volumes.csv"]
    rows = table(tmp_path / "volumes.csv")
    assert [(row["case"], row["label"], row["patient"]) for row in rows] == [
        (f"case{n}", "liver", "p") for n in range(3)
    ]
    for seed, row in enumerate(rows):
        ref = reference(seed)
        expected = measure_mask(
            np.roll(ref, 1, axis=-1), ref, spacing_mm=SPACINGS[seed], boundaries=("surfel", "voxel")
        )
        for name in ("dsc", "surfel_hd95_mm", "voxel_assd_mm", "surfel_nsd_2mm"):
            assert float(row[name]) == pytest.approx(expected[name], rel=1e-12)
    slices = table(tmp_path / "slices.csv")
    assert len(slices) == 18
    ref = reference(1)[4]
    pred = np.roll(ref, 1, axis=-1)
    (row,) = [row for row in slices if (row["case"], row["slice"]) == ("case1", "4")]
    assert float(row["dsc"]) == pytest.approx(2 * (pred & ref).sum() / (pred.sum() + ref.sum()))
    assert {"surfel_hd_mm", "surfel_nsd_2mm"} <= row.keys()
    assert "voxel_hd_mm" not in row
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert [summary[key] for key in ("boundaries", "slice_boundaries", "tolerances_mm")] == [
        *(["surfel", "voxel"], ["surfel"], [2])
    ]
    liver = summary["volumes"]["labels"]["liver"]
    assert liver["cases"]["found"] == 3
    assert liver["metrics"]["surfel_hd95_mm"]["penalty"] == 100
    dice = [float(row["dsc"]) for row in rows]
    assert liver["metrics"]["dsc"]["mean"] == pytest.approx(np.mean(dice))
    assert summary["slices"]["labels"]["liver"]["metrics"]["dsc"]["n"] == 18


def test_a_missed_slice_and_a_missed_volume_count_as_the_same_distance(
    report: CaseReport, tmp_path: Path
) -> None:
    """Of two slices and of two volumes, one is right and one is missed: both means are half the penalty."""
    cases = []
    for name, mask in (("right", np.ones((1, 4, 4), bool)), ("missed", np.zeros((1, 4, 4), bool))):
        one = result(name, np.ones((1, 4, 4), bool), SPACINGS[0])
        cases.append({**one, "pred": segmentation([LIVER], [mask], spacing_mm=SPACINGS[0])})
    evaluate(report, cases)
    summary = json.loads((tmp_path / "summary.json").read_text())
    for rows in ("volumes", "slices"):
        distance = summary[rows]["labels"]["liver"]["metrics"]["surfel_hd95_mm"]
        assert (distance["n"], distance["penalty"], distance["mean"]) == (2, 100, 50.0), rows


def test_volumes_single_slices_and_2d_images_of_one_organ_stand_in_one_report(
    report: CaseReport, tmp_path: Path
) -> None:
    """Each has its own columns: none is a number of another unit, and none is missing."""
    ref = np.ones((2, 4, 4), bool)
    whole, in_slice, flat = (result(name, ref, (2.0, 1.0, 3.0)) for name in ("ct", "slice", "photo"))
    for one, in_mm in ((in_slice, True), (flat, False)):
        case = one["label"]
        target = replace(case.targets[0], region=Region(ref.astype(np.uint8), (1,), 1))
        spacing = (2.0, 1.0, 3.0) if in_mm else (1.0, 1.0, 1.0)
        image: Any = SimpleNamespace(spacing_mm=spacing, in_mm=in_mm)
        one["label"] = replace(case, image=image, targets=(target,))
    evaluate(report, [whole, in_slice, flat])
    rows = {row["case"]: row for row in table(tmp_path / "volumes.csv")}
    sizes = {"ct": "volume_ref_ml", "slice": "area_ref_mm2", "photo": "area_ref_px2"}
    assert {case: [row[name] for name in sizes.values()] for case, row in rows.items()} == {
        "ct": [str(32 * 6 / 1000), "", ""],
        "slice": ["", "48.0", ""],
        "photo": ["", "", "16.0"],
    }
    liver = json.loads((tmp_path / "summary.json").read_text())["volumes"]["labels"]["liver"]
    for name in sizes.values():
        stats = liver["metrics"][name]
        assert (stats["n"], stats["mean"]) == (
            1,
            pytest.approx(sum(float(r[name] or 0) for r in rows.values())),
        )
    counts = {name: liver["metrics"][name]["n"] for name in ("dsc", "surfel_hd95_mm", "surfel_hd95_px")}
    assert counts == {"dsc": 3, "surfel_hd95_mm": 2, "surfel_hd95_px": 1}


def test_every_epoch_writes_its_own_cases_alone(report: CaseReport, tmp_path: Path) -> None:
    """A validation runs many times with one handler."""
    evaluate(report, [result("a", reference(0), SPACINGS[0])], epochs=2)
    evaluate(report, [result("b", reference(1), SPACINGS[1])])
    assert [row["case"] for row in table(tmp_path / "volumes.csv")] == ["b"]


def _share(rank: int, folder: str) -> None:
    """A process of two: measures case `rank`, and case 0 again, which all have where there are too few."""
    ref = np.ones((1, 2, 2), bool)
    results = [result(name, ref, (1.0, 1.0, 1.0)) for name in (["a", "b"] if rank else ["a"])]
    evaluate(CaseReport(folder), results)


@pytest.mark.slow
def test_rows_that_several_processes_measured_stand_once(tmp_path: Path) -> None:
    with idist.Parallel(backend="gloo", nproc_per_node=2) as parallel:
        parallel.run(_share, str(tmp_path))
    assert [row["case"] for row in table(tmp_path / "volumes.csv")] == ["a", "b"]

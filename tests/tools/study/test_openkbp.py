"""The comparison on OpenKBP, from rows whose means can be done in the head."""

import math
from typing import Any

import pytest

from common.text.vocabulary import Vocabulary
from tools.study import openkbp
from tools.study.openkbp import UNET

NAMES = "Med-VLM compact, names"
ORGANS = ("larynx", "mandible")


def row(case: str, label: str, dsc: float, mm: float) -> dict[str, Any]:
    status = "missed" if math.isinf(mm) else "found"
    counts = {"voxels_both": 1, "voxels_pred_only": 1, "voxels_ref_only": 1}
    return {
        "case": case,
        "label": label,
        "status": status,
        **counts,
        "dsc": dsc,
        "surfel_hd95_mm": mm,
        "surfel_assd_mm": mm / 4,
    }


def seed(*patients: tuple[tuple[float, float], tuple[float, float]]) -> list[dict[str, Any]]:
    """(Dice, HD95) of larynx and mandible of patients a, b, ..."""
    return [
        row(case, label, *scores)
        for case, of_patient in zip("abc", patients, strict=False)
        for label, scores in zip(ORGANS, of_patient, strict=True)
    ]


@pytest.fixture
def rows() -> dict[str, list[list[dict[str, Any]]]]:
    """Two seeds of two patients; with names, Dice is 0.1 better everywhere, and HD95 once by 1 mm."""
    return {
        UNET: [
            seed(((0.5, 8.0), (0.7, 4.0)), ((0.6, 6.0), (0.8, 2.0))),
            seed(((0.6, 6.0), (0.8, 2.0)), ((0.7, 4.0), (0.9, 2.0))),
        ],
        NAMES: [
            seed(((0.6, 8.0), (0.8, 4.0)), ((0.7, 6.0), (0.9, 2.0))),
            seed(((0.7, 6.0), (0.9, 2.0)), ((0.8, 4.0), (1.0, 1.0))),
        ],
    }


def test_scores_are_means_over_organs_and_seeds_of_patients(rows: dict[str, Any]) -> None:
    networks = openkbp.compare(rows)["networks"]
    unet = networks[UNET]
    # Patient a: 0.6 and 0.7 in the seeds, patient b: 0.7 and 0.8.
    assert unet["dsc"]["n"] == 2
    assert unet["dsc"]["mean"] == pytest.approx((0.65 + 0.75) / 2)
    assert unet["dsc"]["ci95"] == pytest.approx([0.65, 0.75])
    assert unet["dsc_by_seed"] == pytest.approx([0.65, 0.75])
    assert unet["organs"] == pytest.approx({"larynx": 2.4 / 4, "mandible": 3.2 / 4})
    assert unet["surfel_hd95_mm"]["mean"] == pytest.approx((5 + 3.5) / 2)
    assert unet["missed"] == 0


def test_a_missed_organ_has_a_dice_of_0_and_no_distance(rows: dict[str, Any]) -> None:
    rows[NAMES][1][2] = row("b", "larynx", 0.0, math.inf)
    names = openkbp.compare(rows)["networks"][NAMES]
    assert names["missed"] == 1
    assert names["dsc"]["mean"] == pytest.approx((0.75 + (0.8 + 0.5) / 2) / 2)
    # Patient a: 6 and 4 mm; patient b: 4 mm and, of the mandible alone, 1 mm.
    assert names["surfel_hd95_mm"]["mean"] == pytest.approx((5 + 2.5) / 2)


def test_differences_are_paired(rows: dict[str, Any]) -> None:
    """Patients differ by 0.1 from each other, but each by exactly 0.1 from itself: there is no interval."""
    differences = openkbp.compare(rows)["differences"]
    assert list(differences) == [f"{NAMES} - {UNET}"]
    dice = differences[f"{NAMES} - {UNET}"]["dsc"]
    assert dice["mean"] == pytest.approx(0.1)
    assert dice["ci95"] is None
    # Patient a: 0 mm in both seeds; patient b: 0 and 2.5 - 3 mm.
    assert differences[f"{NAMES} - {UNET}"]["surfel_hd95_mm"]["mean"] == pytest.approx(-0.125)


def test_tables(rows: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    facts = {"0": {"steps": 100, "slices_per_s": 8}, "1": {"steps": 200, "slices_per_s": 10}}
    openkbp.print_tables({**openkbp.compare(rows), "training": {UNET: facts, NAMES: facts}})
    said = capsys.readouterr().out
    assert f"| {UNET} | 0.700 (0.650 to 0.750) | 4.2 (3.5 to 5.0) | " in said
    assert "| 0 | 0.650, 0.750 | 150 | 9 |" in said
    assert "| larynx | 0.600 | 0.700 |" in said
    assert f"| {NAMES} - {UNET} | +0.100 | -0.1 (-0.2 to +0.0) |" in said


def test_arms_have_no_words_names_and_descriptions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openkbp.MedVLM, "from_preset", lambda preset, *, image_size: (preset, image_size))
    arms = openkbp.build(["larynx", "mandible"], seed=0)
    assert [(name, arm.level) for name, arm in arms.items()] == [
        (UNET, "simple"),
        ("Med-VLM compact, no words", "none"),
        ("Med-VLM compact, names", "simple"),
        ("Med-VLM compact, descriptions", "complex"),
    ]
    texts = [arm.texts["larynx"] for arm in arms.values()]
    assert texts == ["larynx", "", "larynx", Vocabulary.load().organ("larynx").descriptions[0]]

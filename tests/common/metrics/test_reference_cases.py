"""Every reference case under both boundary models, to 1e-9 mm."""

import math

import pytest

from common.metrics.segmentation import measure_mask
from tests.common.metrics.reference_cases import Case, load

CASES = load()
BOTH = ("surfel", "voxel")


def measured(case: Case) -> dict:
    return measure_mask(
        case.mask("pred"),
        case.mask("ref"),
        spacing_mm=case.spacing_mm,
        boundaries=BOTH,
        tolerances_mm=case.tolerances_mm,
    )


@pytest.mark.parametrize("name", CASES)
def test_case_has_the_values_of_brute_force_and_the_rules(name: str) -> None:
    case = CASES[name]
    row = measured(case)
    for boundary in BOTH:
        expected = case.truth.get(boundary) or case.truth["rule"]
        for key, value in expected.items():
            found = row[key if key in ("dsc", "iou") else f"{boundary}_{key}"]
            assert found == pytest.approx(value, abs=1e-9, nan_ok=True), (boundary, key)
    for key, value in case.truth.get("overlap", {}).items():
        assert row[key] == pytest.approx(value, abs=1e-12), key


FORMULAS = {name: case.truth["formula"] for name, case in CASES.items() if "formula" in case.truth}


@pytest.mark.parametrize("name", FORMULAS)
def test_largest_distance_of_boxes_is_the_formula(name: str) -> None:
    row = measured(CASES[name])
    formula = FORMULAS[name]
    if "hd_voxel_centre" in formula:
        assert row["voxel_hd_mm"] == pytest.approx(formula["hd_voxel_centre"], abs=1e-12)
        return
    assert row["surfel_hd_mm"] == pytest.approx(formula["hd_mm"], abs=1e-12)
    if "hd95_pooled_mm" in formula:  # a false component of 7 % of the surface: pooling hides it
        assert row["voxel_hd95_mm"] == pytest.approx(formula["hd95_mm"], abs=0.5)
        assert row["voxel_hd95_pooled_mm"] == formula["hd95_pooled_mm"] == 0.0


@pytest.mark.parametrize("name", [name for name, truth in FORMULAS.items() if "assd_mm" in truth])
def test_weighted_mean_distance_of_boxes_is_near_the_integral(name: str) -> None:
    """The worst published relative error of the surfel model on boxes is 3.1 %."""
    row, formula = measured(CASES[name]), FORMULAS[name]
    assert row["surfel_assd_mm"] == pytest.approx(formula["assd_mm"], rel=0.032)
    assert row["surfel_masd_mm"] == pytest.approx(formula["masd_mm"], rel=0.032)


def test_a_distance_of_exactly_the_tolerance_is_within_it() -> None:
    case = CASES["box_shift3_tau_equals_2p4"]
    row = measured(case)
    assert 3 * 0.8 > 2.4, "three voxels of 0.8 mm are more than 2.4 mm in float64"
    assert row["surfel_nsd_2.4mm"] == row["voxel_nsd_2.4mm"] == 1.0
    assert row["surfel_nsd_2.39mm"] < 0.9


def test_status_of_empty_masks() -> None:
    status = {name: measured(CASES[name])["status"] for name in CASES if "empty" in name}
    assert status == {
        "empty_pred_3d": "missed",
        "empty_pred_2d": "missed",
        "empty_ref_3d": "false_positive",
        "empty_ref_near_origin_3d": "false_positive",
        "both_empty_3d": "absent",
        "both_empty_2d": "absent",
    }
    missed = measured(CASES["empty_pred_3d"])
    assert (missed["precision"], missed["recall"]) == (0.0, 0.0)
    assert missed["volume_difference_ml"] == pytest.approx(-20 * 20 * 10 * 0.8 * 0.8 * 2.5 / 1000)
    assert math.isnan(measured(CASES["both_empty_2d"])["precision"])

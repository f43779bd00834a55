"""What is said of several cases: misses count, and means and pooled overlap are told apart."""

import csv
import json
import math

import numpy as np
import pytest
from scipy.stats import bootstrap

from common.errors import InputError
from common.metrics import (
    describe,
    measure_case,
    pooled_overlap,
    summarise,
    with_interval,
    write_rows,
    write_summary,
)

INF, NAN = float("inf"), float("nan")


def square(size: int, at: int = 2) -> np.ndarray:
    mask = np.zeros((1, 40, 40), np.uint8)
    mask[0, at : at + size, at : at + size] = 1
    return mask


def rows_of(*pairs: tuple[np.ndarray, np.ndarray]) -> list[dict]:
    return [
        row
        for index, (pred, ref) in enumerate(pairs)
        for row in measure_case(f"case{index}", pred, ref, {1: "liver"}, spacing_mm=(2, 1, 1)).volumes
    ]


def test_half_of_the_cases_missed_is_seen_in_every_number() -> None:
    """MONAI's mean HD95 stays 4.0 here."""
    found, missed = (square(10, at=6), square(10)), (square(0), square(10))
    rows = rows_of(*[found] * 5, *[missed] * 5)
    liver = summarise(rows)["labels"]["liver"]
    assert liver["cases"] == {"found": 5, "missed": 5, "false_positive": 0, "absent": 0}
    assert liver["metrics"]["dsc"]["mean"] == pytest.approx((2 * 36 / 200) / 2)
    assert liver["metrics"]["surfel_nsd_2mm"]["n"] == 10
    distance = liver["metrics"]["surfel_hd95_mm"]
    assert (distance["n"], distance["left_out"], distance["mean"]) == (
        5,
        5,
        pytest.approx(math.hypot(4, 4), 0.3),
    )
    punished = summarise(rows, penalty_mm=100)["labels"]["liver"]["metrics"]["surfel_hd95_mm"]
    assert (punished["n"], punished["left_out"], punished["penalty"]) == (10, 0, 100)
    assert punished["mean"] == pytest.approx((distance["mean"] + 100) / 2)


def test_pooled_overlap_weighs_voxels_and_the_mean_weighs_cases() -> None:
    rows = rows_of((square(30), square(30)), (square(2, at=30), square(2)))
    assert pooled_overlap(rows)["dsc"] == pytest.approx(900 / 904)
    assert summarise(rows)["labels"]["liver"]["metrics"]["dsc"]["mean"] == pytest.approx(0.5)
    assert summarise(rows)["labels"]["liver"]["pooled"]["iou"] == pytest.approx(900 / 908)


def test_cases_without_the_label_say_nothing_and_are_counted() -> None:
    rows = rows_of((square(0), square(0)), (square(4), square(4)), (square(4), square(0)))
    liver = summarise(rows, penalty_mm=50)["labels"]["liver"]
    assert liver["cases"] == {"found": 1, "missed": 0, "false_positive": 1, "absent": 1}
    assert liver["metrics"]["dsc"] == describe([1.0, 0.0])
    assert liver["metrics"]["surfel_assd_mm"]["mean"] == 25.0


def test_interval_is_that_of_scipy() -> None:
    values = np.random.default_rng(1).gamma(2.0, 1.5, 40)
    found = describe(values.tolist())
    assert (found["mean"], found["median"]) == (
        pytest.approx(values.mean()),
        pytest.approx(np.median(values)),
    )
    peer = bootstrap((values,), np.mean, method="percentile", n_resamples=20000, rng=0).confidence_interval
    assert found["ci95"] == pytest.approx([peer.low, peer.high], abs=0.1)


def test_interval_over_patients_is_that_of_their_means_where_all_have_as_many() -> None:
    means = np.random.default_rng(1).gamma(2.0, 1.5, 40)
    around = np.array([-1.0, 0.5, 0.5])  # each patient's three values have the patient's mean
    values = (means[:, None] + around).ravel()
    groups = [f"patient {number:02d}" for number in range(40) for _ in around]
    found = describe(values, groups=groups)
    assert found["n"] == 120
    assert found["mean"] == pytest.approx(means.mean())
    assert found["ci95"] == pytest.approx(describe(means)["ci95"])
    low, high = found["ci95"]
    alone = describe(np.repeat(means, 3))["ci95"]  # each value taken for a patient's own: too sure of itself
    assert (high - low) / (alone[1] - alone[0]) == pytest.approx(math.sqrt(3), rel=0.1)


def test_interval_over_patients_with_few_and_many_values() -> None:
    """Half-width 1.96 times the linearised standard error of a ratio (Cochran, Sampling Techniques, 6.3)."""
    rng = np.random.default_rng(2)
    sizes = rng.integers(1, 9, 150)
    of = np.repeat(np.arange(150), sizes)
    values = rng.normal(0, 1, 150)[of] + rng.normal(0, 0.3, len(of))
    shuffled = rng.permutation(len(of))
    found = describe(values[shuffled], groups=[str(number) for number in of[shuffled]])
    mean = values.mean()
    residuals = np.bincount(of, weights=values) - mean * sizes
    error = math.sqrt((residuals**2).sum()) / len(of)
    low, high = found["ci95"]
    assert (high - low) / 2 == pytest.approx(1.96 * error, rel=0.08)
    assert (low + high) / 2 == pytest.approx(mean, abs=0.2 * error)


@pytest.mark.parametrize(
    ("values", "groups"),
    [
        ([0.2, 0.4], ["a", "a"]),  # one patient
        ([0.2, 0.4, 0.3, 0.3], list("aabb")),  # two patients of one mean, whatever is drawn
        ([0.1 + 0.2, 0.3], ["a", "b"]),  # which differ by rounding alone
        ([0.2, 0.4, 0.3], list("aab")),
    ],
)
def test_no_interval_of_one_patient_or_of_equal_means(values: list[float], groups: list[str]) -> None:
    assert describe(values, groups=groups)["ci95"] is None


def test_slices_of_one_case_are_no_strangers() -> None:
    """Rows without a patient are grouped by their case: slices of a single one have no interval."""
    row = {"label": "liver", "status": "found", "voxels_both": 1, "voxels_pred_only": 0, "voxels_ref_only": 0}
    rows = [
        {**row, "case": case, "slice": n, "dsc": n / 10 + (case == "b")} for n in range(4) for case in "ab"
    ]
    one = [row for row in rows if row["case"] == "a"]
    assert summarise(one)["labels"]["liver"]["metrics"]["dsc"]["ci95"] is None
    low, high = summarise(rows)["labels"]["liver"]["metrics"]["dsc"]["ci95"]
    assert (low, high) == (pytest.approx(0.15), pytest.approx(1.15))  # always both slices of a, or of b


def test_a_patient_without_a_value_is_not_drawn() -> None:
    """Of three patients one has none: two patients of mean 0 and 1 remain, and their interval is 0 to 1."""
    found = describe([0.0, 0.0, 1.0, NAN, INF], groups=["a", "a", "b", "c", "c"])
    assert (found["n"], found["left_out"], found["mean"]) == (3, 1, pytest.approx(1 / 3))
    assert found["ci95"] == [0.0, 1.0]


@pytest.mark.parametrize(("values", "groups"), [([1.0] * 23, None), ([0.0], None), ([0.0, 1.0], ["a", "a"])])
def test_values_or_patients_that_do_not_differ_have_no_interval(
    values: list[float], groups: list[str] | None
) -> None:
    """23 of 23 leave shares down to 0.85 possible (Clopper-Pearson); all resamples say 1."""
    found = describe(values, groups=groups)
    assert found["ci95"] is None
    assert with_interval(found) == f"{np.mean(values):.3f}"


def test_tables_show_means_with_intervals() -> None:
    stats = {"mean": 12.26, "ci95": [-1.0, 13.5]}
    assert with_interval(stats) == "12.260 (-1.000 to 13.500)"
    assert with_interval(stats, sign="+", digits=1) == "+12.3 (-1.0 to +13.5)"
    assert with_interval(describe([])) == with_interval(None) == "-"


def test_rows_that_say_whose_they_are_are_drawn_by_patient() -> None:
    rows = rows_of(*[(square(4), square(4))] * 4, *[(square(0), square(4))] * 4)
    for index, row in enumerate(rows):
        row |= {"patient": "ab"[index // 4], "sentence": f"sentence {index}"}
    metrics = summarise(rows)["labels"]["liver"]["metrics"]
    assert metrics["dsc"]["ci95"] == [0.0, 1.0]  # two patients: always found, and never
    assert not {"patient", "sentence"} & metrics.keys()


def test_nothing_to_average_is_no_number() -> None:
    assert describe([NAN, INF]) == {
        "n": 0,
        "left_out": 1,
        "penalty": None,
        "mean": None,
        "median": None,
        "std": None,
        "ci95": None,
    }
    assert summarise([]) == {"labels": {}, "mean_over_labels": {}, "mean_over_labels_present": {}}


def test_standard_deviation_is_that_of_a_sample() -> None:
    values = np.random.default_rng(3).normal(2.0, 1.5, 30)
    assert describe([*values, NAN, INF])["std"] == pytest.approx(np.std(values, ddof=1))
    assert describe([1.0, 3.0])["std"] == pytest.approx(math.sqrt(2))
    assert describe([1.0, INF], penalty=3.0)["std"] == pytest.approx(math.sqrt(2))
    assert describe([2.0, 2.0])["std"] == 0.0
    assert describe([2.0])["std"] is None


def test_cases_with_the_label_have_statistics_of_their_own() -> None:
    """Dice 1 and 0 (missed) where the reference has the label; a false positive counts in `metrics` alone."""
    right, missed = (square(4), square(4)), (square(0), square(4))
    false, rejected = (square(5), square(0)), (square(0), square(0))
    liver = summarise(rows_of(right, missed, false, rejected, rejected), penalty_mm=50)["labels"]["liver"]
    assert liver["metrics"]["dsc"] == describe([1.0, 0.0, 0.0])
    assert liver["metrics_present"]["dsc"] == describe([1.0, 0.0])
    assert liver["metrics_present"]["hit"]["mean"] == 0.5
    assert liver["metrics_present"]["surfel_hd95_mm"] == describe([0.0, INF], penalty=50)
    assert liver["metrics_present"]["volume_ref_ml"]["mean"] == pytest.approx(16 * 2 / 1000)
    assert liver["absent"] == {
        "cases": 3,
        "rejected": pytest.approx(2 / 3),
        "false_positive_ml": describe([25 * 2 / 1000, 0.0, 0.0]),
    }


def test_what_was_falsely_found_in_volumes_and_in_slices_is_told_apart() -> None:
    """The mean volume is that of the volumes, and all cases have a share of their own in `rejected`."""
    volumes = rows_of((square(5), square(0)), (square(0), square(0)))
    plane = measure_case("a", square(5)[0], square(0)[0], {1: "liver"}, spacing_mm=(2, 1)).volumes
    for rows in (volumes + plane, plane + volumes):
        liver = summarise(rows)["labels"]["liver"]
        assert liver["absent"] == {
            "cases": 3,
            "rejected": pytest.approx(1 / 3),
            "false_positive_ml": describe([25 * 2 / 1000, 0.0]),
            "false_positive_mm2": describe([50.0]),
        }
        assert (liver["metrics"]["dsc"]["n"], liver["metrics"]["area_pred_mm2"]["n"]) == (2, 1)


def test_without_absent_targets_nothing_was_rejected() -> None:
    liver = summarise(rows_of((square(4), square(4)), (square(0), square(4))))["labels"]["liver"]
    assert liver["metrics_present"] == liver["metrics"]
    assert liver["absent"] == {"cases": 0, "rejected": None, "false_positive_ml": describe([])}


def test_false_positives_of_images_are_in_square_millimetres() -> None:
    pair = square(5)[0], square(0)[0]
    rows = measure_case("a", *pair, {1: "lesion"}, spacing_mm=(2, 1)).volumes
    assert summarise(rows)["labels"]["lesion"]["absent"]["false_positive_mm2"]["mean"] == 50.0


def test_slices_say_nothing_of_absent_labels_since_empty_ones_have_no_row() -> None:
    pred, ref = np.zeros((2, 5, 4, 4), np.int16)
    ref[1:3], pred[2:4] = 1, 1
    rows = measure_case("a", pred, ref, {1: "liver"}, spacing_mm=(2, 1, 1)).slices
    liver = summarise(rows)["labels"]["liver"]
    assert "absent" not in liver
    assert (liver["metrics"]["dsc"]["mean"], liver["metrics_present"]["dsc"]["mean"]) == (
        pytest.approx(1 / 3),
        0.5,
    )


def test_patients_are_drawn_in_the_statistics_of_cases_with_the_label_too() -> None:
    rows = rows_of(*[(square(4), square(4))] * 4, *[(square(0), square(4))] * 4, (square(4), square(0)))
    for index, row in enumerate(rows):
        row["patient"] = "abc"[index // 4]
    liver = summarise(rows)["labels"]["liver"]
    assert liver["metrics_present"]["dsc"]["ci95"] == [0.0, 1.0]
    assert liver["metrics_present"]["dsc"] == describe([1.0] * 4 + [0.0] * 4, groups=list("aaaabbbb"))


def test_labels_count_alike_in_the_mean_over_labels() -> None:
    pred, ref = np.array([[[1, 1, 2, 2]]]), np.array([[[1, 1, 2, 0]]])
    rows = measure_case("a", pred, ref, {1: "liver", 2: "spleen"}, spacing_mm=(1, 1, 1)).volumes
    rows += measure_case("b", pred, ref, {1: "liver"}, spacing_mm=(1, 1, 1)).volumes
    assert summarise(rows)["mean_over_labels"]["dsc"] == pytest.approx((1 + 2 / 3) / 2)


def test_a_label_that_no_reference_has_is_not_in_the_mean_over_labels() -> None:
    """The spleen is falsely found once: no model could do better than nothing there."""
    pred, ref = np.array([[[1, 1, 2, 3, 3]]]), np.array([[[1, 0, 0, 3, 3]]])
    names = {1: "liver", 2: "spleen", 3: "kidney"}
    rows = measure_case("a", pred, ref, names, spacing_mm=(1, 1, 1)).volumes
    rows += measure_case("b", pred, ref * (ref == 1), names, spacing_mm=(1, 1, 1)).volumes
    summary = summarise(rows)
    assert summary["labels"]["spleen"]["metrics"]["dsc"]["mean"] == 0.0
    assert summary["mean_over_labels"]["dsc"] == pytest.approx((2 / 3 + (1 + 0) / 2) / 2)
    assert summary["mean_over_labels_present"]["dsc"] == pytest.approx((2 / 3 + 1) / 2)
    assert summary["mean_over_labels_present"]["hit"] == 1.0


def test_rows_of_slices_are_those_with_the_label_in_either_map() -> None:
    pred, ref = np.zeros((2, 5, 4, 4), np.int16)
    ref[1:3], pred[2:4] = 1, 1
    rows = measure_case("a", pred, ref, {1: "liver"}, spacing_mm=(2, 1, 1)).slices
    assert [(row["slice"], row["status"], row["dsc"]) for row in rows] == [
        (1, "missed", 0.0),
        (2, "found", 1.0),
        (3, "false_positive", 0.0),
    ]


def test_tables_keep_infinity_and_the_summary_is_plain_json(tmp_path) -> None:
    rows = rows_of((square(0), square(4)), (square(4), square(4)))
    write_rows(tmp_path / "rows.csv", rows)
    read = list(csv.DictReader((tmp_path / "rows.csv").open()))
    assert [float(row["surfel_hd_mm"]) for row in read] == [INF, 0.0]
    assert [row["status"] for row in read] == ["missed", "found"]
    write_summary(tmp_path / "deep" / "summary.json", {"a": [NAN, 1.5], "b": {"c": INF}})
    assert json.loads((tmp_path / "deep" / "summary.json").read_text()) == {
        "a": [None, 1.5],
        "b": {"c": None},
    }


def test_a_folder_that_is_a_file_is_named(tmp_path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(InputError, match="taken: cannot write there"):
        write_rows(tmp_path / "taken" / "rows.csv", [])

"""Scores of networks on volumes with organs and differences between them, with intervals."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from common.metrics import summarise, with_interval
from common.metrics.segmentation import Row

from .image_scores import over_seeds_and_patients

METRICS = {"dsc": "Dice", "hd95_median_mm": "HD95 mm, median", "hd95_p90_mm": "HD95 mm, 90th percentile"}
DIGITS = {"dsc": 3, "hd95_median_mm": 1, "hd95_p90_mm": 1}
PERCENTILES = {"hd95_median_mm": 50, "hd95_p90_mm": 90}


def compare(
    rows: Mapping[str, Sequence[Sequence[Row]]], differences: Sequence[tuple[str, str]]
) -> dict[str, Any]:
    """Scores of each network and differences between them, with intervals over seeds and patients.

    Dice is the mean over patients of their mean over organs, a missed organ 0. Distances are percentiles over
    patients and organs of what was found; what was missed has no distance, and is counted.

    Args:
        rows: for each network and seed a row of each patient and organ, in one order.
        differences: pairs of networks, of which the second is subtracted from the first; those of networks
            that are not in `rows`, or not of as many seeds, are left out.
    """
    return {
        "networks": {name: _of_network(seeds) for name, seeds in rows.items()},
        "differences": {
            f"{a} - {b}": _scores([rows[a], rows[b]])
            for a, b in differences
            if a in rows and b in rows and len(rows[a]) == len(rows[b])
        },
    }


def _of_network(seeds: Sequence[Sequence[Row]]) -> dict[str, Any]:
    every = [row for rows in seeds for row in rows]
    organs = summarise(every)["labels"]
    return {
        **_scores([seeds]),
        "dsc_by_seed": _dice_of_patients(seeds)[0].mean(axis=1).tolist(),
        "organs": {organ: values["metrics"]["dsc"]["mean"] for organ, values in organs.items()},
        "missed": sum(row["status"] == "missed" for row in every),
        "asked": len(every),
    }


def _scores(networks: Sequence[Sequence[Sequence[Row]]]) -> dict[str, Any]:
    """Of one network, or the first's minus the second's."""
    dice = [_dice_of_patients(seeds) for seeds in networks]
    found: dict[str, Any] = {
        "dsc": over_seeds_and_patients(lambda values: values, [values for values, _ in dice], dice[0][1])
    }
    distances = [_distances(seeds) for seeds in networks]
    patients = [str(row["case"]) for row in networks[0][0]]
    for name, percent in PERCENTILES.items():
        found[name] = _finite(over_seeds_and_patients(_percentile(percent), distances, patients))
    return found


def _dice_of_patients(seeds: Sequence[Sequence[Row]]) -> tuple[np.ndarray, list[str]]:
    """(seeds, patients) means over organs, and the patients; organs that are rightly empty do not count."""
    patients = list(dict.fromkeys(str(row["case"]) for row in seeds[0]))
    values = [
        [np.nanmean([float(row["dsc"]) for row in rows if row["case"] == patient]) for patient in patients]
        for rows in seeds
    ]
    return np.array(values), patients


def _distances(seeds: Sequence[Sequence[Row]]) -> np.ndarray:
    """(seeds, rows) HD95 in mm, NaN where nothing was found."""
    values = np.array([[float(row["surfel_hd95_mm"]) for row in rows] for rows in seeds])
    return np.where(np.isfinite(values), values, np.nan)


def _percentile(percent: int) -> Callable[[np.ndarray], np.ndarray]:
    def of_seeds(values: np.ndarray) -> np.ndarray:
        with warnings.catch_warnings():  # nothing found at all: NaN, which `_finite` says
            warnings.simplefilter("ignore", RuntimeWarning)
            return np.nanpercentile(values, percent, axis=1)

    return of_seeds


def _finite(stats: Mapping[str, Any]) -> dict[str, Any]:
    """Without numbers where there are none: a network that finds nothing has no distance."""
    mean, ends = stats["mean"], stats["ci95"]
    return {
        "mean": mean if np.isfinite(mean) else None,
        "ci95": ends if np.isfinite(ends).all() else None,
    }


def print_tables(report: Mapping[str, Any]) -> None:
    """Scores and speed, organs, and differences as Markdown tables."""
    networks = report["networks"]
    heads = ["network", *METRICS.values(), "missed", "Dice by seed", "minutes", "steps", "slices/s"]
    _head(heads)
    for name, row in networks.items():
        training = list(report["training"][name].values())
        minutes, steps, speed = (
            np.mean([seed[key] for seed in training]) for key in ("minutes", "steps", "slices_per_s")
        )
        by_seed = ", ".join(f"{value:.3f}" for value in row["dsc_by_seed"])
        cells = [with_interval(row[metric], digits=DIGITS[metric]) for metric in METRICS]
        cells += [f"{row['missed']} of {row['asked']}", by_seed]
        print(f"| {name} | {' | '.join(cells)} | {minutes:.1f} | {steps:.0f} | {speed:.0f} |")
    print()
    _head(["organ (Dice)", *networks])
    for organ in next(iter(networks.values()))["organs"]:
        print(f"| {organ} | " + " | ".join(f"{row['organs'][organ]:.3f}" for row in networks.values()) + " |")
    print()
    _head(["difference", *METRICS.values()])
    for name, row in report["differences"].items():
        cells = [with_interval(row[metric], sign="+", digits=DIGITS[metric]) for metric in METRICS]
        print(f"| {name} | {' | '.join(cells)} |")


def _head(names: Sequence[str]) -> None:
    print("| " + " | ".join(names) + " |\n|" + "---|" * len(names))

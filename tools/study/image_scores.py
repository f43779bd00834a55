"""Scores of networks that segment the same images, with intervals, and the differences between them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from common.metrics import with_interval

RESAMPLES = 2000


def compare(
    counts: Mapping[str, np.ndarray], patients: Sequence[str], differences: Sequence[tuple[str, str]]
) -> dict[str, Any]:
    """Scores of each network and differences between them, see `over_seeds_and_patients`.

    Args:
        counts: for each network (seeds, images, 3) pixels, see `image_arms.segment`.
        patients: for each image whose it is.
        differences: pairs of networks, of which the second is subtracted from the first.
    """
    pairs = [(a, b) for a, b in differences if a in counts and b in counts]
    return {
        "networks": {
            name: {
                **{key: over_seeds_and_patients(score, [found], patients) for key, score in SCORES.items()},
                "dice_by_seed": dice(found).mean(axis=1).tolist(),
            }
            for name, found in counts.items()
        },
        "differences": {
            f"{a} - {b}": {
                **{
                    key: over_seeds_and_patients(SCORES[key], [counts[a], counts[b]], patients)
                    for key in ("dice", "iou")
                },
                "dice_by_seed": (dice(counts[a]) - dice(counts[b])).mean(axis=1).tolist(),
            }
            for a, b in pairs
        },
    }


def over_seeds_and_patients(
    score: Callable[[np.ndarray], np.ndarray], counts: Sequence[np.ndarray], patients: Sequence[str]
) -> dict[str, Any]:
    """A score of one network, or the first's minus the second's, with its 95 % interval.

    What is said of a way to train holds for other seeds and other patients: so both are drawn anew, each seed
    with all of its images and each patient with all of theirs (a bootstrap of crossed factors, which for
    few seeds is rather too narrow than too wide).

    Args:
        score: counts -> (seeds,) or (seeds, images) values, of which the mean is the score.
        counts: one network's (seeds, images, 3) pixels, or (seeds, images) of any other measure; or two of
            the same seeds and images.
        patients: for each image whose it is.
    """
    seeds, of = len(counts[0]), np.unique(list(patients), return_inverse=True)[1]
    of_patient = [np.flatnonzero(of == patient) for patient in range(of.max() + 1)]

    def value(some_seeds: np.ndarray, some_images: np.ndarray) -> float:
        means = [score(each[some_seeds][:, some_images]).mean() for each in counts]
        return float(means[0] - means[1] if len(means) == 2 else means[0])

    rng = np.random.default_rng(0)
    draws = [
        value(
            rng.integers(0, seeds, seeds),
            np.concatenate(
                [of_patient[number] for number in rng.integers(0, len(of_patient), len(of_patient))]
            ),
        )
        for _ in range(RESAMPLES)
    ]
    low, high = np.percentile(draws, (2.5, 97.5)).tolist()
    return {"mean": value(np.arange(seeds), np.arange(len(of))), "ci95": [low, high]}


def dice(counts: np.ndarray) -> np.ndarray:
    """Of counts (..., 3): (...); a miss is 0. No reference is empty, see `LabelledImage.meant`."""
    both, extra, missed = np.moveaxis(counts, -1, 0)
    return 2 * both / (2 * both + extra + missed)


def iou(counts: np.ndarray) -> np.ndarray:
    """As `dice`."""
    both, extra, missed = np.moveaxis(counts, -1, 0)
    return both / (both + extra + missed)


# Per image, and pooled: all images as one.
SCORES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "dice": dice,
    "iou": iou,
    "pooled_dice": lambda counts: dice(counts.sum(axis=1)),
    "pooled_iou": lambda counts: iou(counts.sum(axis=1)),
}


def print_tables(report: Mapping[str, Any]) -> None:
    """Scores, differences and speed as Markdown tables."""
    print("| | Dice per image | IoU per image | pooled Dice | pooled IoU | Dice by seed |")
    print("|---|---|---|---|---|---|")
    for name, row in report["networks"].items():
        cells = [with_interval(row[key]) for key in ("dice", "iou", "pooled_dice", "pooled_iou")]
        print(f"| {name} | " + " | ".join([*cells, _by_seed(row["dice_by_seed"], "")]) + " |")
    print("\n| difference | Dice per image | IoU per image | Dice by seed |\n|---|---|---|---|")
    for name, row in report["differences"].items():
        cells = [with_interval(row[key], sign="+") for key in ("dice", "iou")]
        print(f"| {name} | " + " | ".join([*cells, _by_seed(row["dice_by_seed"], "+")]) + " |")
    print("\n| | minutes | steps | images/s in training |\n|---|---|---|---|")
    for name, seeds in report["training"].items():
        keys = ("minutes", "steps", "slices_per_s")
        minutes, steps, speed = (np.mean([row[key] for row in seeds.values()]) for key in keys)
        print(f"| {name} | {minutes:.1f} | {steps:.0f} | {speed:.0f} |")


def _by_seed(values: Sequence[float], sign: str) -> str:
    return ", ".join(f"{value:{sign}.3f}" for value in values)

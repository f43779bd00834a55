"""Which lesions a mask took, and what is said of all of them.

The lesion that a mask overlaps most is the one that was taken; where several are asked for, those of which it
covers more than half. Lesions share pictures and patients, so all
95 % intervals are bootstraps over patients.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from common.metrics import describe, with_interval
from common.metrics.referred import takes
from common.text.referring import Fact

SENTENCE, SWAPPED = "sentence", "sentence, swapped"


def score(
    counts: Sequence[Mapping[str, np.ndarray]],
    facts: Sequence[Sequence[Sequence[Fact]]],
    patients: Sequence[str],
) -> dict[str, Any]:
    """What is said of each way to ask, each number as `common.metrics.describe` gives it over patients.

    Args:
        counts: for each picture and way (N, N, 3) pixels: mask asked for lesion i, lesion j, and both.
        facts: for each picture and lesion what its sentence rests on.
        patients: for each picture whose it is.

    Returns:
        ways: for each way `right` (share of lesions, which is of pairs of a picture and a sentence, that were
        taken when asked for), `pictures` (share of pictures of which all lesions were) and `dice` (of the
        lesion asked for). For the swapped sentence, `right` is a share of the pairs of lesions of a picture:
        by its own sentence the mask is on the one, and by the other's sentence it goes to the other.
        right_by_attribute: for each attribute the share of lesions, over the sentences that rest on it.
    """
    hits = {name: [taken(picture[name]) for picture in counts] for name in counts[0]}
    ways: dict[str, Any] = {
        name: {
            "right": _over_patients(of_way, patients),
            "pictures": _over_patients([[all(of_picture)] for of_picture in of_way], patients),
            "dice": _over_patients([own_dice(picture[name]) for picture in counts], patients),
        }
        for name, of_way in hits.items()
    }
    followed = [[a and b for a, b in combinations(of_picture, 2)] for of_picture in hits[SENTENCE]]
    ways[SWAPPED] = {"right": _over_patients(followed, patients), "pictures": None, "dice": None}
    by_attribute: dict[str, list[tuple[bool, str]]] = {}
    for of_picture, said, patient in zip(hits[SENTENCE], facts, patients, strict=True):
        for hit, of_lesion in zip(of_picture, said, strict=True):
            for fact in of_lesion:
                by_attribute.setdefault(fact.attribute, []).append((hit, patient))
    return {
        "ways": ways,
        "right_by_attribute": _by_attribute(by_attribute),
    }


def score_groups(
    counts: Sequence[np.ndarray],
    asked: Sequence[Sequence[tuple[str, tuple[int, ...]]]],
    patients: Sequence[str],
) -> dict[str, Any] | None:
    """What is said of sentences that mean some of N lesions, as `score` says it; None if there are none.

    Args:
        counts: for each picture (G, N, 3) pixels: mask of group g, lesion j, and both.
        asked: for each picture what the members of each of the G groups share, and their places.
        patients: for each picture whose it is.

    Returns:
        `right`: share of the groups of which all lesions were taken and no other one. `dice`: of the mask and
        the members together. `right_by_attribute`: of the groups that share it.
    """
    if not any(asked):
        return None
    right: list[list[float]] = [[] for _ in counts]
    dice: list[list[float]] = [[] for _ in counts]
    by_attribute: dict[str, list[tuple[bool, str]]] = {}
    for place, (of_picture, groups, patient) in enumerate(zip(counts, asked, patients, strict=True)):
        for pixels, (attribute, members) in zip(of_picture, groups, strict=True):
            mask, lesions, both = pixels[0, 0], pixels[:, 1], pixels[:, 2]
            meant = np.isin(np.arange(len(lesions)), members)
            hit = bool(((both > lesions / 2) == meant).all())
            right[place].append(hit)
            dice[place].append(float(2 * both[meant].sum() / (mask + lesions[meant].sum())))
            by_attribute.setdefault(attribute, []).append((hit, patient))
    return {
        "right": _over_patients(right, patients),
        "dice": _over_patients(dice, patients),
        "right_by_attribute": _by_attribute(by_attribute),
    }


def _by_attribute(found: Mapping[str, Sequence[tuple[bool, str]]]) -> dict[str, Any]:
    """`describe` of the hits of each attribute, which come with the patient."""
    return {
        name: describe([hit for hit, _ in hits], groups=[patient for _, patient in hits])
        for name, hits in sorted(found.items())
    }


def _over_patients(values: Sequence[Sequence[float]], patients: Sequence[str]) -> dict[str, Any]:
    """`describe` of all values of all pictures."""
    groups = [patient for patient, of_picture in zip(patients, values, strict=True) for _ in of_picture]
    return describe([value for of_picture in values for value in of_picture], groups=groups)


def taken(pixels: np.ndarray) -> list[bool]:
    """Whether each mask overlaps its own lesion, and that one most; `pixels` (N, N, 3) as in `score`."""
    both = pixels[..., 2]
    return [takes(int(row[index]), np.delete(row, index).tolist()) for index, row in enumerate(both)]


def own_dice(pixels: np.ndarray) -> list[float]:
    """Dice of each mask with its own lesion; `pixels` (N, N, 3) as in `score`."""
    mask, lesion, both = (np.diagonal(part) for part in np.moveaxis(pixels, -1, 0))
    return (2 * both / (mask + lesion)).tolist()


def print_tables(report: Mapping[str, Any]) -> None:
    """Both results as Markdown."""
    print(
        f"{report['lesions']} lesions in {report['pictures']} pictures of {report['patients']} patients "
        f"({report['section']}), each asked for by a sentence of its own; taking one by chance is right for "
        f"{report['chance']:.2f}; 95 % intervals by a bootstrap over patients\n"
    )
    print(
        "| asked by | right lesion (share of lesions) | all lesions of the picture right (share of pictures) "
        "| Dice of the referred lesion |\n|---|---|---|---|"
    )
    for name, found in report["ways"].items():
        cells = [with_interval(found[key]) for key in ("right", "pictures", "dice")]
        print(f"| {name} | " + " | ".join(cells) + " |")
    pairs = report["ways"][SWAPPED]["right"]["n"]
    print(
        f"\n{SWAPPED}: share of the {pairs} pairs of lesions of a picture of which the mask took each by its "
        "own sentence, so that changing the words moved it from the one to the other."
    )
    print("\n| sentences that rest on | right lesion | sentences |\n|---|---|---|")
    for name, found in report["right_by_attribute"].items():
        print(f"| {name} | {with_interval(found)} | {found['n']} |")
    if (groups := report["groups"]) is None:
        return
    print(
        f"\nSentences that mean some lesions of a picture, not all ({groups['right']['n']}, one a picture): "
        f"these taken and no other {with_interval(groups['right'])}, Dice {with_interval(groups['dice'])}\n"
    )
    print("| all that share | exactly these taken | sentences |\n|---|---|---|")
    for name, found in groups["right_by_attribute"].items():
        print(f"| {name} | {with_interval(found)} | {found['n']} |")

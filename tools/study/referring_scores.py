"""Which lesions a mask took, and their summaries.

The lesion that a mask overlaps most is the one that was taken; where several are asked for, those of which it
covers more than half. Lesions share images and patients, so all 95 % intervals are bootstraps over
patients.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from common.metrics import describe, with_interval
from common.metrics.prompts import hits_target
from common.text.expressions import Fact

SENTENCE, SWAPPED = "sentence", "sentence, swapped"


def score(
    counts: Sequence[Mapping[str, np.ndarray]],
    facts: Sequence[Sequence[Sequence[Fact]]],
    patients: Sequence[str],
) -> dict[str, Any]:
    """Scores of each way to ask, each number as `common.metrics.describe` gives it over patients.

    Args:
        counts: for each image and way (N, N, 3) pixels: mask asked for lesion i, lesion j, and both.
        facts: for each image and lesion what its sentence rests on.
        patients: for each image whose it is.

    Returns:
        ways: for each way `right` (share of lesions, which is of pairs of an image and a sentence, that were
        taken when asked for), `images` (share of images of which all lesions were) and `dice` (of the
        lesion asked for). For the swapped sentence, `right` is a share of the pairs of lesions of an image:
        by its own sentence the mask is on the one, and by the other's sentence it goes to the other.
        right_by_attribute: for each attribute the share of lesions, over the sentences that rest on it.
    """
    hits = {name: [taken(image[name]) for image in counts] for name in counts[0]}
    ways: dict[str, Any] = {
        name: {
            "right": _over_patients(of_way, patients),
            "images": _over_patients([[all(of_image)] for of_image in of_way], patients),
            "dice": _over_patients([own_dice(image[name]) for image in counts], patients),
        }
        for name, of_way in hits.items()
    }
    followed = [[a and b for a, b in combinations(of_image, 2)] for of_image in hits[SENTENCE]]
    ways[SWAPPED] = {"right": _over_patients(followed, patients), "images": None, "dice": None}
    by_attribute: dict[str, list[tuple[bool, str]]] = {}
    for of_image, said, patient in zip(hits[SENTENCE], facts, patients, strict=True):
        for hit, of_lesion in zip(of_image, said, strict=True):
            for fact in of_lesion:
                by_attribute.setdefault(fact.attribute, []).append((hit, patient))
    return {
        "ways": ways,
        "right_by_attribute": _by_attribute(by_attribute),
    }


def score_groups(
    counts: Mapping[str, Sequence[np.ndarray]],
    groups: Sequence[tuple[str, tuple[int, ...]]],
    patients: Sequence[str],
) -> dict[str, Any]:
    """Scores of sentences that mean several lesions of an image, as `score` gives them.

    Args:
        counts: for each way to ask and group (N, 3) pixels: mask, lesion j of its image, and both.
        groups: what the members of each share, and their indices.
        patients: for each group whose it is.

    Returns:
        ways: for each way `right` (share of groups of which all lesions were taken and no other one) and
        `dice` (of the mask and the members together).
        right_by_attribute: of the first way, of the groups that share it.
    """
    hits = {
        name: [_exactly(pixels, who) for pixels, (_, who) in zip(of_way, groups, strict=True)]
        for name, of_way in counts.items()
    }
    ways = {
        name: {
            "right": describe(hits[name], groups=list(patients)),
            "dice": describe(
                [_dice_of(pixels, who) for pixels, (_, who) in zip(of_way, groups, strict=True)],
                groups=list(patients),
            ),
        }
        for name, of_way in counts.items()
    }
    by_attribute: dict[str, list[tuple[bool, str]]] = {}
    for hit, (attribute, _), patient in zip(next(iter(hits.values())), groups, patients, strict=True):
        by_attribute.setdefault(attribute, []).append((hit, patient))
    return {"ways": ways, "right_by_attribute": _by_attribute(by_attribute)}


def _exactly(pixels: np.ndarray, members: Sequence[int]) -> bool:
    """Whether a mask covers more than half of each member and of no other lesion; `pixels` (N, 3)."""
    lesions, both = pixels[:, 1], pixels[:, 2]
    return bool(((both > lesions / 2) == np.isin(np.arange(len(pixels)), members)).all())


def _dice_of(pixels: np.ndarray, members: Sequence[int]) -> float:
    """Dice of a mask with all members together; `pixels` (N, 3)."""
    chosen = pixels[list(members)]
    return float(2 * chosen[:, 2].sum() / (pixels[0, 0] + chosen[:, 1].sum()))


def _by_attribute(found: Mapping[str, Sequence[tuple[bool, str]]]) -> dict[str, Any]:
    """`describe` of the hits of each attribute, which come with the patient."""
    return {
        name: describe([hit for hit, _ in hits], groups=[patient for _, patient in hits])
        for name, hits in sorted(found.items())
    }


def _over_patients(values: Sequence[Sequence[float]], patients: Sequence[str]) -> dict[str, Any]:
    """`describe` of all values of all images."""
    groups = [patient for patient, of_image in zip(patients, values, strict=True) for _ in of_image]
    return describe([value for of_image in values for value in of_image], groups=groups)


def taken(pixels: np.ndarray) -> list[bool]:
    """Whether each mask overlaps its own lesion, and that one most; `pixels` (N, N, 3) as in `score`."""
    both = pixels[..., 2]
    return [hits_target(int(row[index]), np.delete(row, index).tolist()) for index, row in enumerate(both)]


def own_dice(pixels: np.ndarray) -> list[float]:
    """Dice of each mask with its own lesion; `pixels` (N, N, 3) as in `score`."""
    mask, lesion, both = (np.diagonal(part) for part in np.moveaxis(pixels, -1, 0))
    return (2 * both / (mask + lesion)).tolist()


def print_tables(report: Mapping[str, Any]) -> None:
    """Both results as Markdown."""
    print(
        f"{report['lesions']} lesions in {report['images']} images of {report['patients']} patients "
        f"({report['section']}), each asked for by a sentence of its own; taking one by chance is right for "
        f"{report['chance']:.2f}; 95 % intervals by a bootstrap over patients\n"
    )
    print(
        "| asked by | right lesion (share of lesions) | all lesions of the image right (share of images) "
        "| Dice of the referred lesion |\n|---|---|---|---|"
    )
    for name, found in report["ways"].items():
        cells = [with_interval(found[key]) for key in ("right", "images", "dice")]
        print(f"| {name} | " + " | ".join(cells) + " |")
    pairs = report["ways"][SWAPPED]["right"]["n"]
    print(
        f"\n{SWAPPED}: share of the {pairs} pairs of lesions of an image of which the mask took each by its "
        "own sentence, so that changing the words moved it from the one to the other."
    )
    print("\n| sentences that rest on | right lesion | sentences |\n|---|---|---|")
    for name, found in report["right_by_attribute"].items():
        print(f"| {name} | {with_interval(found)} | {found['n']} |")
    if report["groups"] is not None:
        _print_groups(report["groups"])


def _print_groups(found: Mapping[str, Any]) -> None:
    first = next(iter(found["ways"].values()))
    print(
        f"\n{first['right']['n']} sentences that mean several lesions of an image, not all: more than half "
        "of each of these covered, and of no other one\n"
    )
    print("| asked for several by | exactly these taken | Dice |\n|---|---|---|")
    for name, of_way in found["ways"].items():
        print(f"| {name} | {with_interval(of_way['right'])} | {with_interval(of_way['dice'])} |")
    print("\n| all that share | exactly these taken | sentences |\n|---|---|---|")
    for name, of_attribute in found["right_by_attribute"].items():
        print(f"| {name} | {with_interval(of_attribute)} | {of_attribute['n']} |")

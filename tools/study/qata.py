"""Do words help? LSMS with and without its sentences, beside an image-only UNet, on real chest X-rays."""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from common.data.datalist import Case, load_referring
from common.data.evaluation_cases import LESION
from common.errors import InputError
from common.networks.lsms.network import FRAMING, LSMS
from tools.prepare.qata import prepare

from .image_arms import Arm, Question, run_arms, trainings
from .image_only import ImageOnlyUNet
from .training import Training

SIDES = {"compact": 128, "paper_t": 480}  # at 192 pixels, compact's own, minutes would be too few steps
WITH, WITHOUT, SHUFFLED, UNET = "LSMS, its sentence", "LSMS, no text", "LSMS, shuffled sentences", "UNet"
SWAPPED = "LSMS, another image's sentence at the test"
# First minus second: what is said of the paper's claim.
DIFFERENCES = ((WITH, WITHOUT), (WITH, SHUFFLED), (WITH, UNET), (WITHOUT, UNET), (WITH, SWAPPED))


def run(source: Path, work: Path, *, minutes: float, seeds: Sequence[int], device: str) -> dict[str, Any]:
    """Train all networks for each seed, segment the test images, print tables and write `results.json`.

    Returns:
        What `results.json` holds, see `run_arms`.
    """
    prepare(source, work / "data")
    datalist = work / "data" / "datalist.json"
    training, test = load_referring(datalist, "training"), load_referring(datalist, "test")

    def questions(seed: int) -> dict[str, Question]:
        asked = {name: Question(name, test) for name in (WITH, WITHOUT, SHUFFLED, UNET)}
        return asked | {SWAPPED: Question(WITH, shuffled(test, seed))}

    return run_arms(
        lambda seed: build(training, minutes=minutes, seed=seed, device=device),
        questions,
        work,
        seeds=seeds,
        differences=DIFFERENCES,
        about={"minutes": minutes, "images": {"training": len(training), "test": len(test)}},
        device=device,
    )


def build(training: Sequence[Case], *, minutes: float, seed: int, device: str) -> dict[str, Training]:
    """The four trainings of a seed. On a GPU LSMS is the preset `paper_t`, else `compact`."""
    preset = "paper_t" if device.startswith("cuda") else "compact"
    size = SIDES[preset]
    torch.manual_seed(seed)
    others = shuffled(training, seed)
    arms = {
        WITH: Arm(LSMS.from_preset(preset, image_size=size), "prompt", training),
        WITHOUT: Arm(LSMS.from_preset(preset, image_size=size, language=False), "target", training),
        SHUFFLED: Arm(LSMS.from_preset(preset, image_size=size), "prompt", others),
    }
    unet = ImageOnlyUNet([LESION], image_size=size, framing=FRAMING)
    arms[UNET] = Arm(unet, "target", training)
    return trainings(arms, minutes=minutes, seed=seed, device=device)


def shuffled(items: Sequence[Case], seed: int) -> list[Case]:
    """The same images with one another's sentences, none with its own or with the same words.

    How often each sentence occurs stays the same. What a permutation leaves with its own words changes places
    with one of those for which both are new.

    Raises:
        InputError: more than half of the items have one sentence, so that some would keep it.
    """
    words = [item.prompts for item in items]
    most = max(Counter(words).values())
    if 2 * most > len(items):
        raise InputError(
            f"shuffled: found {most} of {len(items)} items with one sentence, expected half or fewer: they "
            "cannot all get another one; use data with more sentences."
        )
    rng = np.random.default_rng(seed)
    given = [words[index] for index in rng.permutation(len(items))]
    for place, own in enumerate(words):
        if given[place] == own:
            fit = [j for j, theirs in enumerate(words) if theirs != own != given[j]]
            other = int(rng.choice(fit))
            given[place], given[other] = given[other], given[place]
    return [dataclasses.replace(item, prompts=texts) for item, texts in zip(items, given, strict=True)]

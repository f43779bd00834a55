"""Do words help? LSMS with and without its sentences, beside an image-only UNet, on real chest X-rays."""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common.data.datalist import Case, load_referring
from common.data.evaluation_cases import LESION, EvaluationCases
from common.errors import InputError
from common.networks.base import TextSegmenter
from common.networks.lsms.network import FRAMING, LSMS
from tools.prepare.qata import prepare

from .arms import Arm
from .cells import data_sha256
from .image_arms import Items, image_arm, run_arms
from .image_only import ImageOnlyUNet, plain_unet
from .tuning import VALIDATION, Opponent, Setting

LEARNING_RATE = 1e-3  # of LSMS
UNET_LEVELS = 5  # a width of 16 means 16 to 256 channels
# What the UNet's search tries; each but the first changes one thing.
SETTINGS = (
    Setting(1e-3, batch_dice=False, width=16),
    Setting(4e-3, batch_dice=False, width=16),
    Setting(1e-3, batch_dice=True, width=16),
    Setting(1e-3, batch_dice=False, width=32),
)
SIDES = {"compact": 128, "paper_t": 480}  # at 192 pixels, compact's own, minutes would be too few steps
WITH, WITHOUT, SHUFFLED, UNET = "LSMS, its sentence", "LSMS, no text", "LSMS, shuffled sentences", "UNet"
SWAPPED = "LSMS, another image's sentence at the test"
# First minus second: what is said of the paper's claim.
DIFFERENCES = ((WITH, WITHOUT), (WITH, SHUFFLED), (WITH, UNET), (WITHOUT, UNET), (WITH, SWAPPED))


def run(
    source: Path, work: Path, *, minutes: float, cap_minutes: float, seeds: Sequence[int], device: str
) -> dict[str, Any]:
    """Train all networks for each seed, segment the test images, print tables and write `results.json`.

    Returns:
        What `results.json` holds, see `run_arms`.
    """
    prepare(source, work / "data")
    datalist = work / "data" / "datalist.json"
    training, validation, test = (
        load_referring(datalist, section) for section in ("training", "validation", "test")
    )
    return run_arms(
        lambda setting: arms(training, test, setting, device=device),
        opponent(training, validation, test, device=device),
        test,
        work,
        data=data_sha256(training, validation, test),
        minutes=minutes,
        cap_minutes=cap_minutes,
        seeds=seeds,
        differences=DIFFERENCES,
        about={
            "images": {"training": len(training), "validation": len(validation), "test": len(test)},
        },
        device=device,
    )


def arms(training: Sequence[Case], test: Sequence[Case], setting: Setting, *, device: str) -> dict[str, Arm]:
    """The four arms. On a GPU LSMS is the preset `paper_t`, else `compact`."""

    def lsms(name: str, *, language: bool = True, items: Items = lambda _: training) -> Arm:
        preset = _preset(device)
        return image_arm(
            lambda: LSMS.from_preset(preset, image_size=SIDES[preset], language=language),
            words="prompt" if language else "target",
            items=items,
            asked=lambda seed: {name: test, SWAPPED: shuffled(test, seed)} if name == WITH else {name: test},
            learning_rate=LEARNING_RATE,
            settings={"preset": preset, "image_size": SIDES[preset]},
        )

    return {
        WITH: lsms(WITH),
        WITHOUT: lsms(WITHOUT, language=False),
        SHUFFLED: lsms(SHUFFLED, items=lambda seed: shuffled(training, seed)),
        UNET: _unet(setting, training, {UNET: test}, device=device),
    }


def opponent(
    training: Sequence[Case], validation: Sequence[Case], test: Sequence[Case], *, device: str
) -> Opponent:
    """The UNet, whose settings are searched."""
    found = Opponent(
        UNET,
        SETTINGS,
        searching=lambda setting: _unet(setting, training, {VALIDATION: validation}, device=device),
        converging=lambda setting: _unet(setting, training, {found.converged: test}, device=device),
        validation=EvaluationCases(validation),
    )
    return found


def _unet(
    setting: Setting, training: Sequence[Case], asked: Mapping[str, Sequence[Case]], *, device: str
) -> Arm:
    size = SIDES[_preset(device)]

    def network() -> TextSegmenter:
        body = plain_unet(1, 1, [setting.width * 2**level for level in range(UNET_LEVELS)])
        return ImageOnlyUNet([LESION], image_size=size, framing=FRAMING, body=body)

    return image_arm(
        network,
        words="target",
        items=lambda _: training,
        asked=lambda _: asked,
        learning_rate=setting.learning_rate,
        batch_dice=setting.batch_dice,
        settings={"image_size": size, "width": setting.width},
    )


def _preset(device: str) -> str:
    return "paper_t" if device.startswith("cuda") else "compact"


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

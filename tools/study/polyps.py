"""What are a pretrained trunk and words worth on polyps? LSMS by prompts of three levels, beside a U-Net."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from common.data.datalist import Case, load_referring
from common.data.evaluation_cases import LESION
from common.data.framing import RGB
from common.networks.lsms.network import FRAMING, LSMS
from tools.prepare.hyperkvasir import prepare

from .image_arms import Arm, Question, run_arms, trainings
from .image_only import ImageOnlyUNet
from .training import Training
from .trunk_unet import TrunkUNet

SIDES = {"lsms": 192, "unet": 224}  # pixels: each network's own
LEVELS = ("p0", "p1", "p6")
PLACED = ("p6",)  # levels whose words name a place, so that images are neither mirrored nor turned
UNET = "U-Net on the pretrained trunk (image only)"
PLAIN = "U-Net on the trunk, random weights (image only)"
LEARNING_RATE = 2e-3


def run(source: Path, work: Path, *, minutes: float, seeds: Sequence[int], device: str) -> dict[str, Any]:
    """Train all networks for each seed, segment the validation images, print tables, write `results.json`.

    The published split's validation part is the test here: nothing is chosen on it.

    Returns:
        What `results.json` holds, see `run_arms`.
    """
    datalist = source / "datalist.json"
    if not datalist.is_file():  # as its authors give it
        prepare([source], work / "data")
        datalist = work / "data" / "datalist.json"
    training = {level: load_referring(datalist, "training", level=level) for level in LEVELS}
    test = {level: load_referring(datalist, "validation", level=level) for level in LEVELS}
    first = LEVELS[0]
    asked = {UNET: Question(UNET, test[first]), PLAIN: Question(PLAIN, test[first])}
    asked |= {by(level): Question(by(level), test[level]) for level in LEVELS}
    differences = [(UNET, PLAIN), *((by(level), UNET) for level in LEVELS), (by("p6"), by("p0"))]
    return run_arms(
        lambda seed: build(training, minutes=minutes, seed=seed, device=device),
        lambda _: asked,
        work,
        seeds=seeds,
        differences=differences,
        about={"minutes": minutes, "images": {"training": len(training[first]), "test": len(test[first])}},
        device=device,
    )


def by(level: str) -> str:
    """The name of LSMS trained and asked by the prompts of a level."""
    return f"LSMS by {level.upper()}"


def build(training: dict[str, list[Case]], *, minutes: float, seed: int, device: str) -> dict[str, Training]:
    """The trainings of a seed: the U-Net with and without ImageNet's weights, and LSMS at each level."""
    torch.manual_seed(seed)
    framing = FRAMING.changed({"channels": RGB})
    arms = {}
    for name, pretrained in ((UNET, True), (PLAIN, False)):
        body = TrunkUNet(len(RGB), 1, pretrained=pretrained)
        unet = ImageOnlyUNet([LESION], image_size=SIDES["unet"], framing=framing, body=body)
        arms[name] = Arm(unet, "target", training[LEVELS[0]], "all")
    for level in LEVELS:
        lsms = LSMS.from_preset("compact", image_size=SIDES["lsms"], framing=framing)
        arms[by(level)] = Arm(lsms, "prompt", training[level], "none" if level in PLACED else "all")
    return trainings(arms, minutes=minutes, seed=seed, device=device, learning_rate=LEARNING_RATE)

"""What are a pretrained trunk and words worth on polyps? LSMS by prompts of three levels, beside a U-Net."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common.data.datalist import Case, load_referring, split_by_patient
from common.data.evaluation_cases import LESION, EvaluationCases
from common.data.framing import RGB
from common.networks.base import TextSegmenter
from common.networks.lsms.network import FRAMING, LSMS
from tools.prepare.hyperkvasir import prepare

from .arms import Arm
from .cells import data_sha256
from .image_arms import image_arm, run_arms
from .image_only import ImageOnlyUNet
from .trunk_unet import TrunkUNet
from .tuning import VALIDATION, Opponent, Setting

SIDES = {"lsms": 192, "unet": 224}  # pixels: each network's own
LEVELS = ("p0", "p1", "p6")
PLACED = ("p6",)  # levels whose words name a place, so that images are neither mirrored nor turned
UNET = "U-Net on the pretrained trunk (image only)"
PLAIN = "U-Net on the trunk, random weights (image only)"
LEARNING_RATE = 2e-3  # of LSMS
HELD_BACK = 0.1  # of the training images, for the search of the opponent's settings
FIELD = FRAMING.changed({"channels": RGB})
# What the U-Net's search tries; each but the first changes one thing.
SETTINGS = (
    Setting(2e-3, batch_dice=False, width=64),
    Setting(5e-4, batch_dice=False, width=64),
    Setting(2e-3, batch_dice=True, width=64),
    Setting(2e-3, batch_dice=False, width=128),
)


def run(
    source: Path, work: Path, *, minutes: float, cap_minutes: float, seeds: Sequence[int], device: str
) -> dict[str, Any]:
    """Train all networks for each seed, segment the validation images, print tables, write `results.json`.

    The published split's validation part is the test here: nothing is chosen on it. The settings of the U-Net
    are chosen on a tenth of the training patients; then all networks learn from the whole training part.

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
    rest, held_back = held_back_of(training[first])
    return run_arms(
        lambda setting: arms(training, test, setting),
        opponent(rest, held_back, test[first]),
        test[first],
        work,
        data=data_sha256(*training.values(), *test.values()),
        minutes=minutes,
        cap_minutes=cap_minutes,
        seeds=seeds,
        differences=[(UNET, PLAIN), *((by(level), UNET) for level in LEVELS), (by("p6"), by("p0"))],
        about={
            "images": {
                "training": len(training[first]),
                "of these held back in the search": len(held_back),
                "test": len(test[first]),
            }
        },
        device=device,
    )


def held_back_of(training: Sequence[Case]) -> tuple[list[Case], list[Case]]:
    """The training images without a tenth of the patients, and those of that tenth."""
    split = split_by_patient(training, {"rest": 1 - HELD_BACK, VALIDATION: HELD_BACK}, seed=0)
    return split["rest"], split[VALIDATION]


def by(level: str) -> str:
    """The name of LSMS trained and asked by the prompts of a level."""
    return f"LSMS by {level.upper()}"


def arms(
    training: Mapping[str, Sequence[Case]], test: Mapping[str, Sequence[Case]], setting: Setting
) -> dict[str, Arm]:
    """The U-Net with and without ImageNet's weights, and LSMS at each level, of cases by level."""
    first = LEVELS[0]
    return {
        UNET: _unet(setting, training[first], {UNET: test[first]}),
        PLAIN: _unet(setting, training[first], {PLAIN: test[first]}, pretrained=False),
        **{by(level): _lsms(level, training[level], test[level]) for level in LEVELS},
    }


def opponent(rest: Sequence[Case], held_back: Sequence[Case], test: Sequence[Case]) -> Opponent:
    """The U-Net, whose settings are searched on what is held back of the training images."""
    found = Opponent(
        UNET,
        SETTINGS,
        searching=lambda setting: _unet(setting, rest, {VALIDATION: held_back}),
        converging=lambda setting: _unet(setting, rest, {found.converged: test}),
        validation=EvaluationCases(held_back),
    )
    return found


def _lsms(level: str, training: Sequence[Case], test: Sequence[Case]) -> Arm:
    return image_arm(
        lambda: LSMS.from_preset("compact", image_size=SIDES["lsms"], framing=FIELD),
        words="prompt",
        items=lambda _: training,
        asked=lambda _: {by(level): test},
        turns="none" if level in PLACED else "all",
        learning_rate=LEARNING_RATE,
        settings={"image_size": SIDES["lsms"]},
    )


def _unet(
    setting: Setting,
    training: Sequence[Case],
    asked: Mapping[str, Sequence[Case]],
    *,
    pretrained: bool = True,
) -> Arm:
    def network() -> TextSegmenter:
        body = TrunkUNet(len(RGB), 1, width=setting.width, pretrained=pretrained)
        return ImageOnlyUNet([LESION], image_size=SIDES["unet"], framing=FIELD, body=body)

    return image_arm(
        network,
        words="target",
        items=lambda _: training,
        asked=lambda _: asked,
        turns="all",
        learning_rate=setting.learning_rate,
        batch_dice=setting.batch_dice,
        settings={"image_size": SIDES["unet"], "width": setting.width, "images": len(training)},
    )

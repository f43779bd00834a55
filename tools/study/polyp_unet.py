"""How good is the image-only U-Net on the pretrained trunk, trained by a fixed recipe on polyps?"""

import json
import math
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch

from common.data.datalist import load_referring
from common.data.evaluation_cases import LESION, EvaluationCases
from common.data.framing import RGB
from common.data.sentence_draws import ReferringImages
from common.files import atomic_path
from common.metrics import describe, with_interval
from common.networks.lsms.network import FRAMING
from common.training import Augmentation
from common.weights.checkpoints import save_trained

from .image_arms import counts_of
from .image_only import ImageOnlyUNet
from .image_scores import dice
from .objectives import PromptObjective, dice_and_bce
from .training import Recipe, Training, machine, score, train_in_turns
from .trunk_unet import TrunkUNet

SIDE = 224  # pixels
RECIPE = Recipe(batch_size=8, learning_rate=2e-3)  # AdamW, 3 % warm-up, then a cosine
# Endoscopes see polyps from any side and at any distance, in any light.
AUGMENTATION: dict[str, Any] = {
    "affine": 1.0,
    "turn_rad": math.pi,
    "shift": 0.15,
    "zoom": 0.25,
    "turns": "all",
    "keep_masks": True,
    "intensity": 0.8,
    "intensity_range": 0.25,
    "gamma": 0.5,
    "gamma_range": (0.7, 1.4),
}
LEVEL = "p0"  # no words


def run(source: Path, work: Path, *, minutes: float, seed: int, device: str) -> dict[str, Any]:
    """Train on the published training images, segment the 100 validation images, write `results.json`.

    The recipe is fixed: nothing is chosen on the validation images. A killed run goes on from its last turn.

    Returns:
        What `results.json` holds.
    """
    datalist = source / "datalist.json"
    training = load_referring(datalist, "training", level=LEVEL)
    test = load_referring(datalist, "validation", level=LEVEL)
    torch.manual_seed(seed)
    framing = FRAMING.changed({"channels": RGB})
    network = ImageOnlyUNet([LESION], image_size=SIDE, framing=framing, body=TrunkUNet(len(RGB), 1))
    done = Training(
        network,
        ReferringImages(training, network=network, seed=seed),
        augmentation=Augmentation(seed=seed, **AUGMENTATION),
        objective=PromptObjective("target", dice_and_bce()),
        recipe=RECIPE,
        minutes=minutes,
        device=torch.device(device),
        snapshot=work / f"seed{seed}.pt",
    )
    train_in_turns([done])
    save_trained(network, work / "model.pt", half=False)
    values = dice(counts_of(score(network, EvaluationCases(test), by_name=True, boundaries=()), test))
    scores = describe(values)
    report = {
        "date": date.today().isoformat(),
        "machine": machine(device),
        "minutes": minutes,
        "seed": seed,
        "images": {"training": len(training), "test": len(test)},
        "training": done.facts(),
        "dice": scores,
        "median_dice": float(np.median(values)),
    }
    with atomic_path(work / "results.json") as path:
        path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(
        f"Dice of {len(test)} images after {minutes:g} min: mean {with_interval(scores)}, "
        f"median {report['median_dice']:.3f}"
    )
    return report

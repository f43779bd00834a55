"""Do words help? LSMS with and without its sentences, beside an image-only UNet, on real chest X-rays."""

import dataclasses
import json
from collections import Counter
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from common.data.datalist import Case, load_referring
from common.data.evaluation_cases import LESION, EvaluationCases
from common.data.sentence_draws import ReferringImages
from common.errors import InputError
from common.files import atomic_path
from common.metrics.overlap import COUNT_NAMES
from common.networks.base import TextSegmenter
from common.networks.lsms.network import FRAMING, LSMS
from common.weights.checkpoints import save_trained
from tools.prepare.qata import prepare

from .image_only import ImageOnlyUNet
from .qata_scores import SHUFFLED, SWAPPED, UNET, WITH, WITHOUT, compare, print_tables
from .training import Training, augmentation, machine, score, train_in_turns

BATCH = 8
SIDES = {"compact": 128, "paper_t": 480}  # at 192 pixels, compact's own, minutes would be too few steps


class Arm(NamedTuple):
    """A network of the comparison: what builds it, and which words it is given (a key of a batch)."""

    network: TextSegmenter
    words: str


def run(source: Path, work: Path, *, minutes: float, seeds: Sequence[int], device: str) -> dict[str, Any]:
    """Train all networks for each seed, segment the test images, print tables and write `results.json`.

    Returns:
        What `results.json` holds, among it what `compare` gives.
    """
    prepare(source, work / "data")
    datalist = work / "data" / "datalist.json"
    training, test = load_referring(datalist, "training"), load_referring(datalist, "test")
    counts: dict[str, np.ndarray] = {}
    facts: dict[str, dict[str, dict[str, float]]] = {}
    for seed in seeds:
        trainings = build(training, minutes=minutes, seed=seed, device=device)
        train_in_turns(list(trainings.values()))
        for name, done in trainings.items():
            folder = work / f"seed{seed}" / name.replace(",", "").replace(" ", "-").lower()
            save_trained(done.network, folder / "model.pt", half=False)
            facts.setdefault(name, {})[str(seed)] = done.facts()
            _append(counts, name, segment(done.network, test, words=done.words))
        _append(counts, SWAPPED, segment(trainings[WITH].network, shuffled(test, seed), words="prompt"))
        report = {
            "date": date.today().isoformat(),
            "machine": machine(device),
            "minutes": minutes,
            "seeds": [seed for seed in seeds if str(seed) in facts[WITH]],
            "images": {"training": len(training), "test": len(test)},
            "training": facts,
            **compare(counts, [item.patient for item in test]),
        }
        with atomic_path(work / "results.json") as path:
            path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print_tables(report)
    return report


def build(training: Sequence[Case], *, minutes: float, seed: int, device: str) -> dict[str, Training]:
    """The four trainings of a seed. On a GPU LSMS is the preset `paper_t`, else `compact`."""
    preset = "paper_t" if device.startswith("cuda") else "compact"
    size = SIDES[preset]
    torch.manual_seed(seed)
    networks = {
        WITH: Arm(LSMS.from_preset(preset, image_size=size), "prompt"),
        WITHOUT: Arm(LSMS.from_preset(preset, image_size=size, language=False), "target"),
        SHUFFLED: Arm(LSMS.from_preset(preset, image_size=size), "prompt"),
    }
    networks[UNET] = Arm(ImageOnlyUNet([LESION], image_size=size, framing=FRAMING), "target")
    return {
        name: Training(
            arm.network,
            ReferringImages(
                shuffled(training, seed) if name == SHUFFLED else training,
                network=arm.network,
                transform=augmentation(),
                seed=seed,
                progress=False,
            ),
            words=arm.words,
            minutes=minutes,
            device=torch.device(device),
            batch_size=BATCH,
        )
        for name, arm in networks.items()
    }


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


def segment(network: TextSegmenter, items: Sequence[Case], *, words: str) -> np.ndarray:
    """(images, 3) pixels in both, in the prediction only and in the reference only, in the files' grids."""
    rows = score(network, EvaluationCases(items), by_name=words == "target", boundaries=())
    found = {row["case"]: [row[name] for name in COUNT_NAMES] for row in rows}
    return np.array([found[item.case] for item in items])


def _append(counts: dict[str, np.ndarray], name: str, of_seed: np.ndarray) -> None:
    before = counts.get(name, np.empty((0, *of_seed.shape), dtype=int))
    counts[name] = np.concatenate([before, of_seed[None]])

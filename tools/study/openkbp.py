"""Do words cost accuracy? Med-VLM compact beside MONAI's image-only UNet on real CT, at equal time."""

import json
from datetime import date
from pathlib import Path

import numpy as np
import torch

from common.checkpoints import save_trained
from common.data.datalist import Case, load_datalist, load_label_names
from common.data.organ_slices import OrganSlices
from common.data.volumes import read_labels
from common.files import atomic_path
from common.inference import CaseRunner, VolumeInferer
from common.networks import MedVLM
from common.networks.base import TextSegmenter
from common.text.prompts import Prompt
from tools.prepare.openkbp import prepare

from .image_only import ImageOnlyUNet
from .training import Training, augmentation, machine, train_in_turns
from .words import dice

IMAGE_SIZE = 128  # the data's own: a spinal cord is three pixels wide
BATCH = 4


def run(source: Path, work: Path, *, minutes: float, device: str, seed: int) -> dict[str, dict[str, float]]:
    """Train both networks, segment the test patients, print and write `results.json`.

    Returns:
        {network: {organ: mean volume Dice over the test patients}}.
    """
    data = work / "data"
    prepare(source, data)
    datalist = data / "datalist.json"
    names = load_label_names(datalist)
    training, test = load_datalist(datalist, "training"), load_datalist(datalist, "test")
    torch.manual_seed(seed)
    trainings = {
        "UNet (image only)": Training(
            ImageOnlyUNet(list(names.values()), image_size=IMAGE_SIZE),
            slices_of(training, names=names, seed=seed),
            words="target",
            minutes=minutes,
            device=torch.device(device),
            batch_size=BATCH,
        ),
        "Med-VLM compact": Training(
            MedVLM.from_preset("compact", image_size=IMAGE_SIZE),
            slices_of(training, names=names, seed=seed),
            words="prompt",
            minutes=minutes,
            device=torch.device(device),
            batch_size=BATCH,
        ),
    }
    train_in_turns(list(trainings.values()))
    scores = {}
    for name, done in trainings.items():
        folder = work / name.split()[0].lower()
        save_trained(done.network, folder / "model.pt", half=False)
        scores[name] = evaluate(done.network, test, names=names, folder=folder)
    facts = {name: done.facts() for name, done in trainings.items()}
    report = {
        "date": date.today().isoformat(),
        "machine": machine(device),
        "minutes": minutes,
        "seed": seed,
        "patients": {"training": len(training), "test": len(test)},
        "training": facts,
        "dice": scores,
    }
    with atomic_path(work / "results.json") as path:
        path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print_table(scores, facts)
    return scores


def slices_of(cases: list[Case], *, names: dict[int, str], seed: int) -> OrganSlices:
    """The same slices, organs and words in the same order for every network; each is asked for all organs."""
    return OrganSlices(
        cases,
        label_names=names,
        size=IMAGE_SIZE,
        length=len(cases) * 100,
        prompts_per_slice=len(names),
        level_block=BATCH,
        transform=augmentation(),
        seed=seed,
    )


def evaluate(
    network: TextSegmenter, cases: list[Case], *, names: dict[int, str], folder: Path
) -> dict[str, float]:
    """Mean volume Dice by organ of masks written as NIfTI and read back, over cases that have the organ."""
    scores: dict[str, list[float]] = {name: [] for name in names.values()}
    output = folder / "test"
    runner = CaseRunner(
        [case.image for case in cases],
        output,
        network=network,
        inferer=VolumeInferer(slice_batch=16),
        prompts=[Prompt(text=name, name=name, label=number) for number, name in names.items()],
        outputs=("labels",),
    )
    runner.run()
    for case in cases:
        assert case.label is not None  # the preparer writes one for every patient
        predicted = read_labels(output / f"{case.case}_seg.nii.gz").slices
        reference = read_labels(case.label).slices
        for number, name in names.items():
            if name in case.targets:
                scores[name].append(dice(predicted == number, reference == number))
    return {name: float(np.mean(values)) for name, values in scores.items()}


def print_table(scores: dict[str, dict[str, float]], facts: dict[str, dict[str, float]]) -> None:
    """Volume Dice as a Markdown table."""
    print("| organ | " + " | ".join(scores) + " |")
    print("|---|" + "---|" * len(scores))
    for organ in next(iter(scores.values())):
        print(f"| {organ} | " + " | ".join(f"{row[organ]:.3f}" for row in scores.values()) + " |")
    means = [float(np.mean(list(row.values()))) for row in scores.values()]
    print("| **mean** | " + " | ".join(f"**{mean:.3f}**" for mean in means) + " |")
    print(
        "| slices/s in training | "
        + " | ".join(f"{row['slices_per_s']:.0f}" for row in facts.values())
        + " |"
    )

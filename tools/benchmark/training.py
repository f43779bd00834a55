"""Training of Med-VLM: does the data path keep up with the steps?"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.command_line import Parser

from ._output import report

if TYPE_CHECKING:
    import torch
    from torch.utils.data import DataLoader

    from common.data import OrganSlices
    from common.networks.medvlm.network import MedVLM

Batch = dict[str, Any]

# Dense bfloat16 tensor operations a second (10^12), from the makers' data sheets.
PEAK_TFLOPS = {"H100": 989.0, "H200": 989.0, "A100": 312.0, "L40S": 362.0, "L4": 121.0, "V100": 125.0}


def main(arguments: list[str]) -> int:
    """Measure and print a table."""
    parser = Parser(
        prog="python -m tools.benchmark training",
        description="Slices a second of the feed alone, of the step alone on random tensors, and of both "
        "together: with the same words in every step, and with those drawn, of which new ones are encoded; "
        "milliseconds to read one slice in each way there is; on a GPU, model FLOP utilisation. "
        "Weights are random: speed depends on sizes alone.",
    )
    add = parser.add_argument
    add("--preset", choices=("compact", "paper"), default="compact", help="of Med-VLM")
    add("--datalist", type=Path, help="training cases to read (default: four CT-like volumes made for this)")
    add("--batch-size", type=int, default=8, help="slices a step (default 8)")
    add("--prompts", type=int, default=4, help="prompts a slice (default 4)")
    add("--workers", type=int, default=0, help="loader processes (default 0: in the training process)")
    add("--steps", type=int, default=8, help="of each measurement (default 8)")
    add("--rounds", type=int, default=3, help="of measurements, in turns; the median counts (default 3)")
    add("--device", default="cpu", help="cpu (default) or cuda")
    add("--amp", action="store_true", help="bfloat16")
    add("--out", type=Path, help="also write the numbers as JSON to this file")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        results = _measure(options, Path(name))
    return report(results, table, options.out)


def _measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    import torch
    from torch.utils.data import DataLoader

    from common.data import EpochSampler, collate_slices
    from common.data.datalist import load_datalist, load_label_values

    from ._networks import build

    torch.manual_seed(0)
    network = build("MedVLM", options.preset).to(options.device).train()
    datalist = options.datalist or _write_cases(folder)
    labels = load_label_values(datalist)
    cases = load_datalist(datalist, "training")
    data = _dataset(cases, labels, network, options, store=folder / "store")
    loader = DataLoader(
        data,
        options.batch_size,
        sampler=EpochSampler(data),
        collate_fn=collate_slices,
        num_workers=options.workers,
        persistent_workers=options.workers > 0,
        pin_memory=options.device != "cpu",
    )
    step = Step(network, torch.device(options.device), amp=options.amp, prompts=data.prompts_per_slice)
    given = step.random_batch(next(iter(loader)))
    step(given)  # encodes the texts, chooses kernels
    texts, begin = data.texts(), time.perf_counter()
    with torch.no_grad():
        for first in range(0, len(texts), 64):
            network.encode_text(texts[first : first + 64])
    step.wait()
    encoding = time.perf_counter() - begin
    speeds = _speeds(loader, step, given, options)
    flops = step.flops(given)
    return {
        "preset": options.preset,
        "image_size": network.image_size,
        "batch_size": options.batch_size,
        "prompts": options.prompts,
        "workers": options.workers,
        "amp": options.amp,
        "device": torch.cuda.get_device_name() if options.device != "cpu" else "cpu",
        "threads": torch.get_num_threads(),
        "texts": len(texts),
        "encoding_s": encoding,
        "slices_per_s": speeds,
        "tflop_a_step": flops / 1e12,
        "tflops": flops / 1e12 * speeds["step"] / options.batch_size,
        "ms_a_slice": _reading(cases, data, network, folder),
    }


class Step:
    """One optimiser step, as the bundle's trainer makes it."""

    def __init__(self, network: "MedVLM", device: "torch.device", *, amp: bool, prompts: int) -> None:
        import torch
        from monai.losses import DiceLoss

        from common.losses import PromptCompetition, WeightedSum
        from common.training import Augmentation, PrecisionInferer

        self.network, self.device = network, device
        parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(parameters, lr=1e-4)
        self.loss = WeightedSum(
            {
                "dice": DiceLoss(sigmoid=True, smooth_nr=0.0),
                "bce": torch.nn.BCEWithLogitsLoss(),
                "competition": PromptCompetition(prompts),
            }
        )
        self.inferer = PrecisionInferer(amp=amp)
        self.augmentation = Augmentation()  # of the bundle's config

    def feed(self, batch: Batch) -> tuple["torch.Tensor", "torch.Tensor"]:
        """Image and label on the device, augmented unless they are random numbers."""
        image = batch["image"].to(self.device, non_blocking=True)
        label = batch["label"].to(self.device, non_blocking=True)
        return self.augmentation(image, label, batch) if "draw" in batch else (image, label)

    def __call__(self, batch: Batch) -> None:
        image, label = self.feed(batch)
        self.optimizer.zero_grad()
        self.loss(self.inferer(image, self.network, guidance=batch["prompt"]), label).backward()
        self.optimizer.step()

    def random_batch(self, like: Batch) -> Batch:
        """Noise in the shapes of a batch, on the device already, with the batch's own prompts."""
        import torch

        image = torch.rand(like["image"].shape, device=self.device)
        label = (torch.rand(like["label"].shape, device=self.device) > 0.5).float()
        return {"image": image, "label": label, "prompt": like["prompt"]}

    def flops(self, batch: Batch) -> float:
        """Floating-point operations of a step, forwards and backwards."""
        from torch.utils.flop_counter import FlopCounterMode

        with FlopCounterMode(display=False) as counter:
            self(batch)
        return float(counter.get_total_flops())

    def wait(self) -> None:
        import torch

        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def _speeds(
    loader: "DataLoader[Batch]", step: Step, given: Batch, options: argparse.Namespace
) -> dict[str, float]:
    """Median slices a second; the ways take turns, so that other load meets all of them."""
    batches: Iterator[Batch] = (batch for epoch in cycle([loader]) for batch in epoch)
    next(batches)

    def load() -> None:
        for batch in islice(batches, options.steps):
            step.feed(batch)

    def compute() -> None:
        for _ in range(options.steps):
            step(given)

    def train(words: list[str] | None) -> None:
        for batch in islice(batches, options.steps):
            step(batch if words is None else {**batch, "prompt": words})

    ways: dict[str, Callable[[], None]] = {
        "feed": load,
        "step": compute,
        "together": lambda: train(given["prompt"]),  # which are encoded already
        "words as drawn": lambda: train(None),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(options.rounds):
        for name, way in ways.items():
            print(f"{name}, round {turn + 1} of {options.rounds}", file=sys.stderr)
            begin = time.perf_counter()
            way()
            step.wait()
            seconds[name].append(time.perf_counter() - begin)
    slices = options.steps * options.batch_size
    return {name: slices / sorted(taken)[len(taken) // 2] for name, taken in seconds.items()}


def _reading(cases: Any, stored: "OrganSlices", network: "MedVLM", folder: Path) -> dict[str, float]:
    """Milliseconds to get one slice and its labels, at random, from each kind of keeping them."""
    import numpy as np
    from monai.data import PersistentDataset

    from common.data.framed_cases import frame_case

    framed = [frame_case(case, size=network.image_size, framing=network.framing) for case in cases[:4]]
    places = [(index, number) for index, case in enumerate(framed) for number in range(len(case))]

    def as_item(place: dict[str, int]) -> dict[str, Any]:
        image, label = framed[place["case"]].read(place["slice"])
        return {"image": image, "label": label}

    items = [{"case": index, "slice": number} for index, number in places]
    persistent = PersistentDataset(items, transform=as_item, cache_dir=folder / "persistent")
    for index in range(len(places)):
        persistent[index]  # written to its files the first time
    ways: dict[str, Callable[[int], Any]] = {
        "memory": lambda place: framed[places[place][0]].read(places[place][1]),
        "slice store": lambda place: stored.cases[places[place][0]].read(places[place][1]),
        "MONAI PersistentDataset": lambda place: persistent[place],
    }
    drawn = np.random.default_rng(0).integers(len(places), size=300)
    found = {}
    for name, read in ways.items():
        begin = time.perf_counter()
        for place in drawn:
            read(int(place))
        found[name] = (time.perf_counter() - begin) / len(drawn) * 1000
    return found


def _dataset(
    cases: Any,
    labels: dict[str, tuple[int, ...]],
    network: "MedVLM",
    options: argparse.Namespace,
    *,
    store: Path,
) -> "OrganSlices":
    from common.data import OrganSlices

    return OrganSlices(
        cases,
        labels=labels,
        network=network,
        length=10**6,
        prompts_per_slice=options.prompts,
        noise=0.2,
        level_block=options.batch_size,
        store=store,
    )


def _write_cases(folder: Path) -> Path:
    """Four CT-like volumes with boxes as organs, and their datalist."""
    import nibabel as nib
    import numpy as np

    from ._volumes import ORGANS, write_volume

    side, slices = 256, 24
    items = []
    for number in range(4):
        image = write_volume(folder / f"case{number}.nii.gz", slices=slices, side=side)
        labels = np.zeros((side, side, slices), np.uint8)
        for label in range(1, len(ORGANS) + 1):
            row, column = divmod(label, 4)
            labels[60 + 30 * row : 80 + 30 * row, 60 + 30 * column : 80 + 30 * column, number + 2 : 20] = (
                label
            )
        scanned: Any = nib.load(image)
        nib.save(nib.Nifti1Image(labels, scanned.affine), folder / f"case{number}_label.nii.gz")
        items.append({"image": image.name, "label": f"case{number}_label.nii.gz"})
    names = {str(label): name for label, name in enumerate(ORGANS, start=1)}
    path = folder / "datalist.json"
    path.write_text(json.dumps({"labels": names, "training": items}))
    return path


def table(results: dict[str, Any]) -> str:
    """The numbers as Markdown."""
    speeds = results["slices_per_s"]
    slower = min(speeds["feed"], speeds["step"])
    lines = [
        f"Med-VLM {results['preset']}, {results['image_size']} pixels, batches of {results['batch_size']} "
        f"slices with {results['prompts']} prompts each, {results['workers']} loader processes, "
        f"{results['device']}, "
        f"{results['threads']} threads, bfloat16 {'on' if results['amp'] else 'off'}\n",
        "| | slices/s |",
        "|---|---|",
        f"| feed alone: slices, words and augmentation | {speeds['feed']:.1f} |",
        f"| step alone, random tensors | {speeds['step']:.1f} |",
        f"| both together, the same words in every step | {speeds['together']:.1f} |",
        f"| both together, words as drawn | {speeds['words as drawn']:.1f} |",
        "",
        f"Feed: {speeds['feed'] / speeds['step']:.1f} times what the step takes.",
        f"Together: {speeds['together'] / slower:.0%} of the slower one alone; with words as drawn "
        f"{speeds['words as drawn'] / slower:.0%}.",
        f"All {results['texts']} texts of the table are encoded once, in {results['encoding_s']:.0f} s.",
        f"A step takes {results['tflop_a_step']:.3g} TFLOP: {results['tflops']:.3g} TFLOP/s alone.",
    ]
    peak = next((value for name, value in PEAK_TFLOPS.items() if name in results["device"]), None)
    if peak is not None:
        share = results["tflops"] / peak
        lines.append(f"Model FLOP utilisation: {share:.1%} of {peak:g} TFLOP/s (bfloat16, dense).")
    lines += ["", "| a slice and its labels from | ms |", "|---|---|"]
    lines += [f"| {name} | {milliseconds:.2f} |" for name, milliseconds in results["ms_a_slice"].items()]
    return "\n".join(lines)

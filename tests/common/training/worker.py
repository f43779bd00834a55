"""What test_processes.py runs in one process and in two: a step, an evaluation, an accident."""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.engines import SupervisedEvaluator
from monai.handlers import from_engine
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from common.data import (
    CaseSampler,
    EpochSampler,
    MaskInOwnGridd,
    OrganSlices,
    ReferringCases,
    VolumeCases,
    collate_slices,
    load_referring,
    only_item,
)
from common.data.datalist import load_datalist, load_label_names, load_label_values
from common.inference.segmentation import Segmentation, summarise
from common.layers.pyramid import PyramidEncoder
from common.losses import WeightedSum
from common.metrics import CaseReport, SegmentationMetricHandler, SegmentedVolumes, TensorCases
from common.networks.medvlm import MedVLM
from common.text.encoders import TextEncoder
from common.training import LostNeighbour, PreparePrompts, VolumeDice, end_processes, start_processes

SIZE, BATCH = 32, 4


def small_network() -> MedVLM:
    torch.manual_seed(3)
    words = ["left", "right", "liver", "spleen", "kidney", "the"]
    text = {"model_type": "bert", "vocabulary": words, "hidden_size": 16, "num_hidden_layers": 1}
    return MedVLM(
        image_encoder=PyramidEncoder(channels=(8, 8, 16, 16), depths=(0, 1, 1, 1)),
        text_encoder=TextEncoder(None, config={**text, "num_attention_heads": 2, "intermediate_size": 32}),
        image_size=SIZE,
        width=16,
        heads=2,
        mlp_width=32,
        mixers=2,
        decoder_channels=(8, 8),
    )


def gradients(datalist: Path, out: Path) -> None:
    """Those of one step on BATCH slices, shared by the processes."""
    data = OrganSlices(
        load_datalist(datalist, "training"),
        labels=load_label_values(datalist),
        size=SIZE,
        length=8,
        prompts_per_slice=2,
        level_block=BATCH,
        progress=False,
    )
    mine = BATCH // idist.get_world_size()
    (batch, *_) = DataLoader(data, mine, sampler=EpochSampler(data), collate_fn=collate_slices)
    network = small_network()
    several = idist.get_world_size() > 1
    model: Any = DistributedDataParallel(network) if several else network
    loss = WeightedSum({"bce": nn.BCEWithLogitsLoss()})(
        model(batch["image"], batch["prompt"]), batch["label"]
    )
    loss.backward()
    if idist.get_rank() == 0:
        found = {name: value.grad for name, value in network.named_parameters() if value.grad is not None}
        torch.save(found, out / "gradients.pt")


def evaluation(datalist: Path, out: Path) -> None:
    """Scores of wrong answers: the reference, moved by as many pixels as the digit in the case's name."""
    cases = VolumeCases(load_datalist(datalist, "validation"), label_names=load_label_names(datalist))
    loader = DataLoader(cases, sampler=CaseSampler(cases), collate_fn=only_item)

    def segment(_engine: Engine, item: dict[str, Any]) -> dict[str, Any]:
        reference = item["label"]
        labels = np.roll(reference.slices, int(item["case"][-1]), axis=2).astype(np.uint8)
        count = len(item["prompts"])
        results = summarise(
            labels,
            item["prompts"],
            spacing_mm=reference.spacing_mm,
            scores=np.ones(count),
            present=np.ones(count, bool),
            lost=np.zeros(count, int),
        )
        return {"pred": Segmentation(labels, results, {}), "label": reference, "image": item["image"]}

    engine = Engine(segment)
    VolumeDice().attach(engine, "dice")
    CaseReport(str(out / "report"), SegmentedVolumes()).attach(engine)
    engine.run(loader)
    (out / f"metrics-{idist.get_rank()}.json").write_text(json.dumps(engine.state.metrics))


class Brightness(nn.Module):
    """A network that takes what is brighter than half for the lesion, whatever the words."""

    def forward(self, image: torch.Tensor, text: Any = None) -> torch.Tensor:
        return image - 0.5


def lesions(datalist: Path, out: Path) -> None:
    """Scores of items with sentences, by the parts that lsms_lesion's evaluation is made of."""
    cases = ReferringCases(load_referring(datalist.with_name("lesions.json"), "test"), size=SIZE)
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(cases, sampler=CaseSampler(cases), collate_fn=collate_slices),
        prepare_batch=PreparePrompts(),
        network=Brightness(),
        postprocessing=MaskInOwnGridd(),
        key_val_metric={
            "dice": SegmentationMetricHandler(
                "dsc", include_background=True, output_transform=from_engine(["pred", "label"])
            )
        },
        val_handlers=[CaseReport(str(out / "lesions"), TensorCases({1: "lesion"}), boundaries=[])],
    )
    evaluator.run()
    (out / f"lesions-{idist.get_rank()}.json").write_text(json.dumps(evaluator.state.metrics))


def accident(kind: str) -> None:
    """A training in which the last process is killed or stops answering at its third step."""
    network = DistributedDataParallel(nn.Linear(4, 1))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)

    def step(_engine: Engine, batch: torch.Tensor) -> None:
        optimizer.zero_grad()
        network(batch).square().mean().backward()
        optimizer.step()

    engine = Engine(step)
    LostNeighbour().attach(engine)

    @engine.on(Events.ITERATION_STARTED(once=3))
    def _happen() -> None:
        if idist.get_rank() == idist.get_world_size() - 1:
            os.kill(os.getpid(), getattr(signal, kind))

    engine.run([torch.ones(2, 4)] * 10, max_epochs=3)


def main() -> None:
    job, out, datalist = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    torch.set_num_threads(1)
    start_processes(timeout_minutes=0.2 if job == "SIGSTOP" else 2.0)
    if job == "compare":
        gradients(datalist, out)
        evaluation(datalist, out)
        lesions(datalist, out)
    else:
        accident(job)
    end_processes()


if __name__ == "__main__":
    main()

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
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from common.data.datalist import load_datalist, load_label_values
from common.data.draws import EpochSampler, collate_slices
from common.data.evaluation_cases import CaseSampler, EvaluationCase
from common.data.organ_slices import OrganSlices
from common.inference import VolumeInferer
from common.losses import WeightedSum
from common.metrics import CaseReport
from common.networks.medvlm.network import MedVLM
from common.networks.medvlm.pyramid import PyramidEncoder
from common.text.encoders import TextEncoder
from common.training import Evaluator, end_processes, start_processes
from common.training.processes import PeerFailureHandler
from common.training.validation import PromptDice
from tests.common.training.parts import Tiny, Training, answer, image_cases, volume_cases

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
    network = small_network()
    data = OrganSlices(
        load_datalist(datalist, "training"),
        labels=load_label_values(datalist),
        network=network,
        length=8,
        prompts_per_slice=2,
        level_block=BATCH,
        progress=False,
    )
    mine = BATCH // idist.get_world_size()
    (batch, *_) = DataLoader(data, mine, sampler=EpochSampler(data), collate_fn=collate_slices)
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
    cases = volume_cases(datalist)
    loader = DataLoader(cases, batch_size=None, sampler=CaseSampler(cases))

    def segment(_engine: Engine, asked: EvaluationCase) -> dict[str, Any]:
        shift = int(asked.case[-1])
        masks = [np.roll(target.region.mask(), shift, axis=2) for target in asked.targets]
        return {"pred": answer(masks, asked.prompts), "label": asked, "image": asked.image}

    engine = Engine(segment)
    PromptDice().attach(engine, "dice")
    CaseReport(str(out / "report")).attach(engine)
    engine.run(loader)
    (out / f"metrics-{idist.get_rank()}.json").write_text(json.dumps(engine.state.metrics))


class Brightness(Tiny):
    """Takes what is brighter than half for the lesion, whatever the words."""

    def encode_image(self, image: Tensor) -> Tensor:
        return image - 0.5

    def decode(self, image_features: Tensor, guidance: Any) -> Tensor:
        return image_features.repeat_interleave(guidance.count // len(image_features), dim=0)


def lesions(datalist: Path, out: Path) -> None:
    """Scores of 2D images with sentences, by what an evaluation is made of."""
    evaluator = Evaluator(
        device=torch.device("cpu"),
        dataset=image_cases(datalist.with_name("images.json")),
        network=Brightness(),
        inferer=VolumeInferer(),
        val_handlers=[CaseReport(str(out / "lesions"), boundaries=[])],
    )
    evaluator.run()
    (out / f"lesions-{idist.get_rank()}.json").write_text(json.dumps(evaluator.state.metrics))


def steered(out: Path) -> None:
    """Rates, last epoch and scores of a training whose loss weighs nothing, so that its scores stay."""
    loss = WeightedSum({"bce": nn.BCEWithLogitsLoss()}, {"bce": 0.0})
    done = Training(out, epochs=20, loss=loss, plateau=1, patience=7, clip_gradients=1.0).run()
    rates = [float(note.split()[1]) for note in done.order if note.startswith("rate")]
    found = {"epoch": done.trainer.state.epoch, "rates": rates, "scores": done.evaluator.state.metrics}
    (out / f"steered-{idist.get_rank()}.json").write_text(json.dumps(found))


def accident(kind: str) -> None:
    """A training in which the last process is killed or stops answering at its third step."""
    network = DistributedDataParallel(nn.Linear(4, 1))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)

    def step(_engine: Engine, batch: torch.Tensor) -> None:
        optimizer.zero_grad()
        network(batch).square().mean().backward()
        optimizer.step()

    engine = Engine(step)
    PeerFailureHandler().attach(engine)

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
    elif job == "steered":
        steered(out)
    else:
        accident(job)
    end_processes()


if __name__ == "__main__":
    main()

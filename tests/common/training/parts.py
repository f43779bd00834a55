"""What tests of trainings are made of: a network of few weights, volumes and 2D images, given answers."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import nibabel as nib
import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.handlers import ValidationHandler
from PIL import Image
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from common.data.datalist import load_datalist, load_label_values, load_referring
from common.data.evaluation_cases import EvaluationCases
from common.data.framing import Framing
from common.data.organ_slices import OrganSlices
from common.inference import VolumeInferer
from common.inference.segmentation import OwnMasks, Segmentation, summarise
from common.losses import WeightedSum
from common.networks.base import Prediction, TextSegmenter
from common.networks.guidance import Guidance
from common.text.prompts import Prompt
from common.training import Evaluator, PrecisionInferer, Trainer, learning_rate_schedule
from common.training.states import states

CPU = torch.device("cpu")
DRAWS, BATCH = 8, 2
SIZE = 16
LETTERS = 128


class Tiny(TextSegmenter):
    """A logit for each pixel from its brightness and the prompt's letters.

    `predict` gives `words` (P, 2), whose weights no logit depends on: only a loss on them gives a gradient.
    """

    def __init__(self, framing: Framing | None = None) -> None:
        framing = framing or Framing(crop="whole", images=True)
        super().__init__(image_size=SIZE, default_prompt="liver", framing=framing)
        torch.manual_seed(0)
        self.pixel = nn.Conv2d(len(framing.channels), 1, 1)
        self.letters = nn.Embedding(LETTERS, 2)
        self.head = nn.Linear(2, 1)
        self.side = nn.Linear(2, 2)
        self.heard: list[list[str]] = []

    def encode_image(self, image: Tensor) -> Tensor:
        return self.pixel(image)

    def encode_text(self, prompts: Sequence[str]) -> Guidance:
        self.heard.append(list(prompts))
        means = [self.letters(torch.tensor([ord(letter) % LETTERS for letter in p])).mean(0) for p in prompts]
        return Guidance(torch.stack(means)[:, None], torch.ones(len(prompts), 1, dtype=torch.bool))

    def decode(self, image_features: Tensor, guidance: Guidance) -> Tensor:
        assert guidance.tokens is not None
        repeated = image_features.repeat_interleave(guidance.count // len(image_features), dim=0)
        return repeated * (1 + self.head(guidance.tokens[:, 0])[..., None, None])

    def predict(self, image_features: Tensor, guidance: Guidance) -> Prediction:
        assert guidance.tokens is not None
        return Prediction(
            self.decode(image_features, guidance), {"words": self.side(guidance.tokens[:, 0].detach())}
        )


class WordsNearZero(nn.Module):
    """A loss on what `Tiny.predict` gives beside the logits."""

    features = ("words",)

    def forward(self, logits: Tensor, target: Tensor, words: Tensor) -> Tensor:
        return words.square().mean()


def answer(masks: Sequence[np.ndarray], prompts: Sequence[Prompt]) -> Segmentation:
    """A segmentation whose prompts have these own masks (D, H, W); the label map prefers later prompts."""
    own, labels = OwnMasks(masks[0].shape), np.zeros(masks[0].shape, np.uint8)
    for row, mask in enumerate(masks):
        labels[mask] = prompts[row].label
        for index, section in enumerate(mask):
            own.put(row, index, section, top=0, left=0)
    results = summarise(
        labels,
        prompts,
        spacing_mm=(1.0, 1.0, 1.0),
        scores=np.ones(len(prompts)),
        present=np.ones(len(prompts), bool),
        lost=np.zeros(len(prompts), int),
        masks=np.stack([mask.sum(axis=(1, 2)) for mask in masks]),
        removed=np.zeros(len(prompts), int),
    )
    return Segmentation(labels, results, {}, None, own, clean=lambda mask: mask)


def write_volumes(folder: Path) -> Path:
    """A datalist of three volumes, one for training, with a bright liver and a dim spleen."""
    rng = np.random.default_rng(0)
    items = []
    for name in ("a", "b", "c"):
        labels = np.zeros((20, 16, 4), np.uint8)
        labels[2:9, 3:10, 1:4], labels[12:18, 8:14, 0:3] = 1, 2
        image = np.array([-100, 200, 60])[labels] + rng.normal(0, 5, labels.shape)
        for kind, array in (("image", image.astype(np.int16)), ("label", labels)):
            affine = np.diag([-1.0, -1.0, 2.0, 1.0])
            nib.save(nib.Nifti1Image(array, affine), folder / f"{name}_{kind}.nii.gz")
        items.append({"image": f"{name}_image.nii.gz", "label": f"{name}_label.nii.gz", "case": name})
    content = {"labels": {"1": "liver", "2": "spleen"}, "training": items[:1], "validation": items[1:]}
    path = folder / "datalist.json"
    path.write_text(json.dumps(content))
    return path


def volume_cases(datalist: Path) -> EvaluationCases:
    """Its validation."""
    return EvaluationCases(load_datalist(datalist, "validation"), labels=load_label_values(datalist))


def write_images(folder: Path, names: Sequence[str], *, colour: bool = False) -> Path:
    """A datalist of 2D images of noise, 20 x 30 pixels, with a bright lesion and a sentence each."""
    rng = np.random.default_rng(1)
    items: list[dict[str, Any]] = []
    for name in names:
        lesion = np.zeros((20, 30), np.uint8)
        lesion[4:16, rng.integers(1, 8) : rng.integers(12, 28)] = 1
        pixels = (rng.integers(0, 120, lesion.shape) + 100 * lesion).astype(np.uint8)
        shown = np.stack([pixels, pixels // 2, 255 - pixels], axis=-1) if colour else pixels
        for kind, array in (("image", shown), ("label", lesion)):
            Image.fromarray(array).save(folder / f"{name}_{kind}.png")
        files = {"image": f"{name}_image.png", "label": f"{name}_label.png"}
        items.append({**files, "case": name, "lesion": 1, "prompts": [f"the $left$ lesion of {name}"]})
    path = folder / "images.json"
    path.write_text(json.dumps({"labels": {"1": "lesion"}, "test": items}))
    return path


def image_cases(datalist: Path) -> EvaluationCases:
    return EvaluationCases(load_referring(datalist, "test"))


class Training:
    """A trainer in `folder`, and what it is made of; `order` has what the extra handlers saw.

    With `plateau`, the rate waits for so many validations without a lower loss. `scored` gives scores of an
    epoch's validation in place of the measured ones.
    """

    def __init__(
        self,
        folder: Path,
        *,
        epochs: int = 3,
        loss: nn.Module | None = None,
        plateau: int | None = None,
        scored: Callable[[int], dict[str, float]] = lambda epoch: {},
        **options: Any,
    ):
        datalist = folder / "datalist.json" if (folder / "datalist.json").exists() else write_volumes(folder)
        self.network = Tiny()
        self.order: list[str] = []
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=0.1)
        data = load_datalist(datalist, "training")
        labels = load_label_values(datalist)
        draws = OrganSlices(
            data, labels=labels, network=self.network, length=DRAWS, prompts_per_slice=2, progress=False
        )
        self.evaluator = Evaluator(
            device=CPU,
            dataset=volume_cases(datalist),
            network=self.network,
            inferer=VolumeInferer(),
            val_handlers=[
                Noting(lambda engine: self.order.append(f"validated {engine.state.epoch}")),
                Noting(lambda engine: engine.state.metrics.update(scored(engine.state.epoch))),
            ],
        )
        lr = Noting(lambda _engine: self.order.append(f"rate {self.optimizer.param_groups[0]['lr']:g}"))
        kept = Noting(
            lambda _engine: self.order.append(f"states {len(states(folder / 'models' / 'states'))}")
        )
        arguments: dict[str, Any] = {
            "train_handlers": [lr, ValidationHandler(interval=2, validator=self.evaluator), kept],
            "images": 1,
        }
        several = idist.get_world_size() > 1
        self.trainer = Trainer(
            device=CPU,
            max_epochs=epochs,
            dataset=draws,
            network=DistributedDataParallel(self.network, find_unused_parameters=True)
            if several
            else self.network,
            loss_function=loss or WeightedSum({"bce": nn.BCEWithLogitsLoss()}),
            optimizer=self.optimizer,
            lr_scheduler=torch.optim.lr_scheduler.StepLR(self.optimizer, step_size=1, gamma=0.5)
            if plateau is None
            else learning_rate_schedule("plateau", self.optimizer, total=epochs, patience=plateau),
            inferer=PrecisionInferer(),
            batch_size=BATCH,
            datalist=datalist,
            checkpoint=folder / "models" / "model.pt",
            output_dir=folder / "out",
            **(arguments | options),
        )

    def run(self) -> "Training":
        self.trainer.run()
        return self


class Noting:
    """A handler that does something after an epoch."""

    def __init__(self, note: Callable[[Engine], None]) -> None:
        self.note = note

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.note)
